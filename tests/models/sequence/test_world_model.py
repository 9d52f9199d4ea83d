"""Training equals play, no frame depends on later ones, and actions and memory have an effect."""

from __future__ import annotations

import pytest
import torch

from worldsim.core.errors import ConfigError, NonFiniteError, StateError
from worldsim.models.build import build_world_model
from worldsim.models.conditioning import ActionEmbedding, pose_features
from worldsim.models.config import (
    FixedMapConfig,
    FullAttentionConfig,
    GatedDeltaNetConfig,
    LocalAttentionConfig,
    LSTMConfig,
    Mamba2Config,
    MapModelConfig,
    MappedModelConfig,
    ModelConfig,
    NoAttentionConfig,
    NoScanConfig,
    ScanConfig,
    SeparateDenoiserConfig,
    SequenceModelConfig,
    SharedDenoiserConfig,
    SpatialMapConfig,
)
from worldsim.models.mapped import MappedModel
from worldsim.models.maps.map_model import MapModel
from worldsim.models.sequence.two_stream import TwoStreamModel
from worldsim.models.state import WorldState
from worldsim.models.world_model import WorldModel

TOLERANCE = 1e-11
"""float64, through two layers; the largest difference seen was 3e-14."""
LATENT_SHAPE = (4, 4, 6)
ACTION_SIZE = 5
NUM_FRAMES = 9


BLOCKS = ((1, 1), (2, 3))
SCANS: dict[str, ScanConfig] = {
    "mamba2": Mamba2Config(blocks=BLOCKS, state_dim=4),
    "gated_deltanet": GatedDeltaNetConfig(blocks=BLOCKS, state_dim=4),
    "lstm": LSTMConfig(blocks=BLOCKS),
    "none": NoScanConfig(),
}
DENOISERS = {"trunk": SeparateDenoiserConfig(width=32, num_blocks=1), "two-stream": SharedDenoiserConfig()}
FORMS = tuple(DENOISERS)
POSE_KEYED: dict[str, dict[str, object]] = {
    "gated_deltanet": {
        "scan": GatedDeltaNetConfig(blocks=BLOCKS, state_dim=4, key_groups=2, short_conv=3, time_constants=(8, 1000)),
        "denoiser": SharedDenoiserConfig(action_in_tokens=True),
        "pose_octaves": 2,
        "modulation_std": 0.05,
    },
    "mamba2": {
        "scan": Mamba2Config(blocks=BLOCKS, state_dim=4, key_groups=2, short_conv=4, write_gain="frame"),
        "denoiser": SharedDenoiserConfig(action_in_tokens=True),
        "pose_octaves": 2,
    },
}
"""Models whose inputs are poses, which reach keys and values directly."""
MAPS = {
    "fixed": FixedMapConfig(width=32),
    "spatial": SpatialMapConfig(width=32),
    "given": SpatialMapConfig(width=32, pose="given"),
}
MAPPED = {"mapped": DENOISERS["trunk"], "mapped_shared": SharedDenoiserConfig(action_in_tokens=True)}
MAP_FORMS = tuple(f"{kind}-{name}" for kind in ("map", *MAPPED) for name in MAPS)


def make_config(form: str, **changes: object) -> ModelConfig:
    """`form`: trunk or two-stream (sequence models), map-NAME, mapped-NAME or mapped_shared-NAME with one of `MAPS`."""
    kind, _, name = form.partition("-")
    if kind == "map":
        return MapModelConfig(map=MAPS[name])
    options = {"width": 24, "num_heads": 2, "num_layers": 2, "scan": SCANS["mamba2"]}
    options |= {"attention": LocalAttentionConfig(window_frames=3)}
    if kind in MAPPED:
        return MappedModelConfig(map=MAPS[name], **(options | {"denoiser": MAPPED[kind]} | changes))  # type: ignore[arg-type]
    return SequenceModelConfig(**(options | {"denoiser": DENOISERS[form]} | changes))  # type: ignore[arg-type]


def make_model(form: str, **changes: object) -> WorldModel:
    torch.manual_seed(0)
    model = build_world_model(make_config(form, **changes), LATENT_SHAPE, ACTION_SIZE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    if isinstance(model, MapModel):
        torch.nn.init.normal_(model.latent_bias_C)
    return model.double()


def make_clip(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(2, NUM_FRAMES, *shape, generator=generator, dtype=torch.float64)

    return {
        "context": normal(*LATENT_SHAPE),
        "noisy": normal(*LATENT_SHAPE),
        "action": normal(ACTION_SIZE),
        "level": normal().sigmoid(),
        "tau": normal().sigmoid(),
        "step_size": normal().sigmoid(),
    }


def train_form(model: WorldModel, clip: dict[str, torch.Tensor]) -> torch.Tensor:
    history = model.read_history(clip["context"], clip["level"], clip["action"])
    return model.predict(history, clip["noisy"], clip["tau"], clip["step_size"])


def play_form(model: WorldModel, clip: dict[str, torch.Tensor]) -> tuple[torch.Tensor, WorldState]:
    state, outputs = model.initial_state(2, seed=0), []
    for t in range(NUM_FRAMES):
        context = model.begin(state, clip["action"][:, t])
        outputs.append(model.denoise(context, clip["noisy"][:, t], clip["tau"][:, t], clip["step_size"][:, t]))
        state = model.commit(context, clip["context"][:, t], clip["level"][:, t])
    return torch.stack(outputs, 1), state


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        *((form, {"scan": scan}) for form in FORMS for scan in SCANS.values()),
        *(("two-stream", changes) for changes in POSE_KEYED.values()),
        *((form, {}) for form in MAP_FORMS),
    ],
)
def test_training_form_equals_frame_by_frame_play(form: str, changes: dict[str, object]) -> None:
    model, clip = make_model(form, **changes), make_clip()
    difference = (train_form(model, clip) - play_form(model, clip)[0]).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"


CARRIED = [
    *((form, {"scan": scan}) for form in FORMS for scan in SCANS.values()),
    *((form, {"attention": kind()}) for form in FORMS for kind in (FullAttentionConfig, NoAttentionConfig)),
    *(("two-stream", changes) for changes in POSE_KEYED.values()),
    *((form, {}) for form in MAP_FORMS),
]


@pytest.mark.parametrize(("form", "changes"), CARRIED)
def test_a_clip_read_in_parts_equals_the_clip_read_at_once(form: str, changes: dict[str, object]) -> None:
    model, clip = make_model(form, **changes), make_clip()
    state, parts = model.initial_state(2, seed=0), []
    for begin, end in ((0, 4), (4, NUM_FRAMES)):
        part = {name: value[:, begin:end] for name, value in clip.items()}
        history = model.read_history(part["context"], part["level"], part["action"], state=state)
        parts.append(model.predict(history, part["noisy"], part["tau"], part["step_size"]))
        assert history.end
        state = history.end
    difference = (torch.cat(parts, 1) - train_form(model, clip)).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"
    _, played = play_form(model, clip)
    assert state.frame_index == played.frame_index and state.tensors.keys() == played.tensors.keys()
    for name, tensor in played.tensors.items():
        assert (state.tensors[name].double() - tensor.double()).abs().max() < TOLERANCE, name


def test_generated_frames_do_not_change_the_estimated_pose_in_training_or_play() -> None:
    model, clip = make_model("mapped-fixed"), make_clip()
    generated = torch.arange(NUM_FRAMES) >= 4
    changed = clip | {"context": clip["context"].clone()}
    changed["context"][:, 5] += 1.0
    histories = []
    for data in (clip, changed):
        state, poses = model.initial_state(2, seed=0), []
        for t in range(NUM_FRAMES):
            context = model.begin(state, data["action"][:, t])
            poses.append(context.state.tensors["map.pose"])
            state = model.commit(context, data["context"][:, t], data["level"][:, t], generated=bool(generated[t]))
        history = model.read_history(data["context"], data["level"], data["action"], generated.expand(2, -1))
        assert isinstance(model, MappedModel)
        expected = torch.stack([model.map.render(pose) for pose in poses], 1)
        assert (history.inputs.latents[:, :, -expected.shape[2] :] - expected).abs().max() < TOLERANCE
        histories.append(torch.stack(poses, 1))
    assert torch.equal(*histories)


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        *(("two-stream", changes) for changes in POSE_KEYED.values()),
        *((form, {}) for form in MAP_FORMS if form.startswith("mapped_shared")),
    ],
)
def test_queries_are_predicted_as_the_next_frame_after_one_state(form: str, changes: dict[str, object]) -> None:
    model, clip = make_model(form, **changes), make_clip()
    assert isinstance(model, TwoStreamModel)
    _, state = play_form(model, clip)
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}
    inputs = [clip[name].flip(1) for name in ("action", "noisy", "tau", "step_size")]
    found = model.predict_queries(state, *inputs)
    for t in range(NUM_FRAMES):
        action, *rest = (value[:, t] for value in inputs)
        difference = (found[:, t] - model.denoise(model.begin(state, action), *rest)).abs().max()
        assert difference < TOLERANCE, f"frame {t}: {difference:.1e}"
    assert all(torch.equal(before[name], tensor) for name, tensor in state.tensors.items())


@pytest.mark.parametrize("form", ["two-stream", *(f"mapped_shared-{name}" for name in MAPS)])
def test_a_history_written_at_once_is_the_state_after_its_frames(form: str) -> None:
    model, clip = make_model(form), make_clip()
    assert isinstance(model, TwoStreamModel)
    _, played = play_form(model, clip)
    state = model.initial_state(2, seed=0)
    state = model.write_history(clip["context"], clip["level"], clip["action"], state)
    assert state.frame_index == played.frame_index and state.tensors.keys() == played.tensors.keys()
    for name, tensor in played.tensors.items():
        assert (state.tensors[name].double() - tensor.double()).abs().max() < TOLERANCE, name


@pytest.mark.parametrize("memory", ["map.", "layers."])
def test_a_mapped_two_stream_model_reads_the_map_and_its_scans(memory: str) -> None:
    model, clip = make_model("mapped_shared-given"), make_clip()
    _, state = play_form(model, clip)
    unseen = model.initial_state(2, seed=0).tensors
    changed = state.advance({name: unseen[name] for name in unseen if name.startswith(memory)}, 0)
    inputs = [clip[name][:, 0] for name in ("noisy", "tau", "step_size")]
    first, second = (model.denoise(model.begin(s, clip["action"][:, 0]), *inputs) for s in (state, changed))
    assert (first - second).abs().max() > 1e-3


def test_a_pose_reaches_the_keys_before_adaln_has_learned_anything() -> None:
    for in_tokens, std, expected in ((False, 0.0, False), (True, 0.0, True), (False, 0.05, True)):
        torch.manual_seed(0)
        changes = {"modulation_std": std, "denoiser": SharedDenoiserConfig(action_in_tokens=in_tokens)}
        model, clip = (
            build_world_model(make_config("two-stream", **changes), LATENT_SHAPE, ACTION_SIZE).double(),
            make_clip(),
        )
        changed = clip | {"action": clip["action"] + 1.0}
        difference = (train_form(model, clip) - train_form(model, changed)).abs().max()
        assert (difference > 1e-9) == expected, f"{changes}: {difference:.1e}"


def test_pose_features_tell_near_poses_apart_and_know_no_full_turn() -> None:
    angle = torch.tensor([0.3, 0.3 + 2 * torch.pi])
    pose = torch.stack((torch.tensor([0.5, 0.5]), torch.tensor([-0.2, -0.2]), angle.cos(), angle.sin()), -1)
    features = pose_features(pose, 5)
    assert features.shape == (2, 24) and (features[0] - features[1]).abs().max() < 1e-5
    moved = pose[0] + torch.tensor([0.02, 0.0, 0.0, 0.0])
    distance = (pose_features(moved, 5) - features[0]).norm()
    assert distance > 20 * 0.02, "a fiftieth of the way to the wall is seen at the highest octave"
    with pytest.raises(ConfigError, match="needs poses"):
        ActionEmbedding(3, 8, pose_octaves=2)


@pytest.mark.parametrize("key", ["context", "noisy", "action"])
@pytest.mark.parametrize("form", [*FORMS, *POSE_KEYED])
def test_no_frame_depends_on_a_later_one(form: str, key: str) -> None:
    model = make_model("two-stream", **POSE_KEYED[form]) if form in POSE_KEYED else make_model(form)
    clip, changed_at = make_clip(), 5
    changed = clip | {key: clip[key].clone()}
    changed[key][:, changed_at] += 1.0
    difference_T = (train_form(model, clip) - train_form(model, changed)).abs().amax(dim=(0, 2, 3, 4))
    first_seen = changed_at + 1 if key == "context" else changed_at
    assert difference_T[:first_seen].max() == 0, f"leak: {difference_T}"
    assert difference_T[first_seen] > 1e-6, "the change is not seen where it should be"


@pytest.mark.parametrize("form", FORMS)
def test_memory_reaches_beyond_the_window_only_through_the_scan(form: str) -> None:
    denoiser = {"denoiser": SeparateDenoiserConfig(width=32, num_blocks=1, num_past=1)} if form == "trunk" else {}
    for name, expected in (("mamba2", True), ("none", False)):
        model, clip = make_model(form, scan=SCANS[name], **denoiser), make_clip()
        changed = clip | {"context": clip["context"].clone()}
        changed["context"][:, 0] += 1.0
        difference = (train_form(model, clip) - train_form(model, changed))[:, -1].abs().max()
        assert (difference > 1e-9) == expected, f"{name}: {difference:.1e}"


@pytest.mark.parametrize("form", FORMS)
def test_a_denoising_step_changes_no_state(form: str) -> None:
    model, clip = make_model(form), make_clip()
    _, state = play_form(model, clip)
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}
    context = model.begin(state, clip["action"][:, 0])
    model.denoise(context, clip["noisy"][:, 0], clip["tau"][:, 0], clip["step_size"][:, 0])
    model.commit(context, clip["context"][:, 0], clip["level"][:, 0])
    assert all(torch.equal(before[name], tensor) for name, tensor in state.tensors.items())


@pytest.mark.parametrize("form", FORMS)
def test_state_has_the_same_size_after_any_number_of_frames(form: str) -> None:
    model, clip = make_model(form), make_clip()
    start = model.initial_state(2, seed=0)
    _, state = play_form(model, clip)
    assert {n: t.shape for n, t in state.tensors.items()} == {n: t.shape for n, t in start.tensors.items()}
    assert state.frame_index == NUM_FRAMES


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_state_is_restored_bit_for_bit(form: str) -> None:
    model, clip = make_model(form), make_clip()
    _, state = play_form(model, clip)
    restored = WorldState.from_bytes(state.to_bytes(), like=model.initial_state(2, seed=0))
    assert restored.frame_index == state.frame_index and restored.seed == state.seed
    for name, tensor in state.tensors.items():
        assert torch.equal(tensor, restored.tensors[name]), name


def test_states_of_other_models_and_damaged_bytes_are_rejected() -> None:
    trunk, two_stream = make_model("trunk"), make_model("two-stream")
    data = trunk.initial_state(1, seed=0).to_bytes()
    with pytest.raises(StateError, match="another model"):
        WorldState.from_bytes(data, like=two_stream.initial_state(1, seed=0))
    with pytest.raises(StateError, match="damaged"):
        WorldState.from_bytes(data[: len(data) // 2], like=trunk.initial_state(1, seed=0))


def test_a_state_with_nan_is_named() -> None:
    state = make_model("trunk").initial_state(1, seed=0)
    state.tensors["past_latents"].fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="past_latents"):
        state.check_finite()


@pytest.mark.parametrize("form", [*FORMS, *MAP_FORMS])
def test_without_memory_resets_scans_and_map_and_nothing_else(form: str) -> None:
    """So a heading is still one: of length 0 it could never turn again."""
    model, clip = make_model(form), make_clip()
    _, state = play_form(model, clip)
    cleared, unseen = model.without_memory(state), model.initial_state(2, seed=0)
    assert (cleared.frame_index, cleared.seed) == (state.frame_index, state.seed)
    for name, tensor in cleared.tensors.items():
        is_memory = name.endswith(".scan_state") or name.startswith("map.")
        assert torch.equal(tensor, (unseen if is_memory else state).tensors[name]), name
        if name.endswith(".scan_state") or name == "map.pose":
            assert not torch.equal(tensor, state.tensors[name]), name


def test_before_training_the_frame_is_what_the_map_renders() -> None:
    torch.manual_seed(0)
    for form in ("map-fixed", "mapped-fixed"):
        model = build_world_model(make_config(form), LATENT_SHAPE, ACTION_SIZE)
        context = model.begin(model.initial_state(2, seed=0), torch.randn(2, ACTION_SIZE))
        tau, step_size = torch.rand(2), torch.rand(2)
        shown = model.denoise(context, torch.randn(2, *LATENT_SHAPE), tau, step_size)
        assert isinstance(model, MapModel | MappedModel)
        assert torch.equal(shown, model.map.render(context.state.tensors["map.pose"]))  # type: ignore[operator]


@pytest.mark.parametrize("name", MAPS)
def test_a_map_model_has_no_layers_and_no_other_state(name: str) -> None:
    model = make_model(f"map-{name}")
    assert all(key.startswith("map.") or key == "latent_bias_C" for key in model.state_dict())
    assert all(key.startswith("map.") for key in model.initial_state(1, seed=0).tensors)
