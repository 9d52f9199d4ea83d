"""Every model of the paper's tables: its size, its proofs, and what it can and cannot see."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.models.sequence.test_world_model import (
    ACTION_SIZE,
    NUM_FRAMES,
    SCANS,
    TOLERANCE,
    make_clip,
    make_config,
    make_model,
    play_form,
    train_form,
)
from worldsim.core.errors import ConfigError
from worldsim.models.build import build_world_model
from worldsim.models.config import (
    BidirectionalAttentionConfig,
    ChunkAttentionConfig,
    FixedMapConfig,
    LocalAttentionConfig,
    LSTMConfig,
    Mamba2Config,
    MapModelConfig,
    MappedModelConfig,
    ModelConfig,
    NoScanConfig,
    SeparateDenoiserConfig,
    SequenceModelConfig,
    SharedDenoiserConfig,
    layer_parameters,
)
from worldsim.models.sequence.architectures import (
    ARCHITECTURES,
    REFERENCE_ARCHITECTURE,
    apply_architecture,
    match_parameters,
)
from worldsim.models.state import WorldState
from worldsim.models.world_model import WorldModel

SOME_LATENT_SHAPE = (16, 6, 8)
SIZES = {
    "nano": SequenceModelConfig(width=168, num_heads=7, num_layers=4),
    "comparison": SequenceModelConfig(width=96, num_heads=4, num_layers=3),
}


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def build(config: ModelConfig) -> WorldModel:
    with torch.device("meta"):
        return build_world_model(config, SOME_LATENT_SHAPE, ACTION_SIZE)


WINDOWS = {
    "causal-window": LocalAttentionConfig(window_frames=3),
    "chunk": ChunkAttentionConfig(chunk_frames=3),
    "bidirectional": BidirectionalAttentionConfig(window_frames=4),
}
"""Shorter than the clip."""
AHEAD = ("chunk", "bidirectional")
"""Those in which a frame sees some that are after it; they have proofs of their own."""
CAUSAL = [name for name in ARCHITECTURES if name not in AHEAD]


def tiny(name: str, **more: object) -> WorldModel:
    config = apply_architecture(make_config("two-stream"), name)
    shared = {"scan": config.scan, "attention": WINDOWS.get(name, config.attention), "pose": config.pose}
    return make_model("two-stream", **shared | more)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameter_counts_match_the_reference_architecture(name: str, size: str) -> None:
    expected = num_parameters(build(match_parameters(SIZES[size], REFERENCE_ARCHITECTURE)))
    found = num_parameters(build(match_parameters(SIZES[size], name)))
    assert abs(found / expected - 1) < 0.01, f"{found} against {expected}"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layer_parameters_equals_the_parameters_of_a_layer(name: str) -> None:
    config = apply_architecture(SIZES["comparison"], name)
    assert {num_parameters(layer) for layer in build(config).layers} == {layer_parameters(config)}


def test_matching_does_not_change_the_reference() -> None:
    config = SIZES["nano"]
    assert match_parameters(config, REFERENCE_ARCHITECTURE) == apply_architecture(config, REFERENCE_ARCHITECTURE)


def test_an_architecture_drops_the_map_and_the_separate_denoiser() -> None:
    for config in (MappedModelConfig(map=FixedMapConfig(), width=96), MapModelConfig(map=FixedMapConfig())):
        made = apply_architecture(config, "mamba2")
        assert (made.kind, made.denoiser.kind, made.pose) == ("sequence", "shared", "estimated")
        assert made.width == (96 if isinstance(config, MappedModelConfig) else SequenceModelConfig().width)


SHARED, CHUNKS = SharedDenoiserConfig(), ChunkAttentionConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": CHUNKS, "denoiser": SeparateDenoiserConfig()}, "needs denoiser.kind = 'shared'"),
        ({"attention": CHUNKS, "denoiser": SHARED, "scan": LSTMConfig()}, "cannot be combined with scan.kind = 'lstm'"),
        (
            {"attention": BidirectionalAttentionConfig(), "denoiser": SHARED, "scan": Mamba2Config()},
            "'bidirectional' allows no scan",
        ),
    ],
)
def test_incompatible_parts_are_rejected(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SequenceModelConfig(**changes)  # type: ignore[arg-type]


def test_bidirectional_windows_need_an_even_number_of_frames() -> None:
    with pytest.raises(ConfigError, match="window_frames is 5") as caught:
        BidirectionalAttentionConfig(window_frames=5)
    assert "even" in str(caught.value.hint)


def test_mapped_models_reject_bidirectional_attention() -> None:
    with pytest.raises(ConfigError, match="cannot be combined with a map"):
        MappedModelConfig(attention=CHUNKS)


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no architecture 'mamba'") as error:
        match_parameters(SIZES["nano"], "mamba")
    assert "mamba2" in str(error.value.hint)


def test_the_registry_loads_no_torch() -> None:
    program = "import sys, worldsim.models.sequence.architectures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", CAUSAL)
def test_training_form_equals_frame_by_frame_play(name: str) -> None:
    model, clip = tiny(name), make_clip()
    difference = (train_form(model, clip) - play_form(model, clip)[0]).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"


@pytest.mark.parametrize("key", ["context", "noisy", "action"])
@pytest.mark.parametrize("name", CAUSAL)
def test_no_frame_depends_on_a_later_one(name: str, key: str) -> None:
    model, clip, changed_at = tiny(name), make_clip(), 5
    changed = clip | {key: clip[key].clone()}
    changed[key][:, changed_at] += 1.0
    difference_T = (train_form(model, clip) - train_form(model, changed)).abs().amax(dim=(0, 2, 3, 4))
    first_seen = changed_at + 1 if key == "context" else changed_at
    assert difference_T[:first_seen].max() == 0, f"leak: {difference_T}"
    assert difference_T[first_seen] > 1e-6, "the change is not seen where it should be"


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, {}) for name in AHEAD),
        ("chunk", {"scan": SCANS["gated_deltanet"]}),
        ("chunk", {"scan": NoScanConfig()}),
    ],
)
def test_play_equals_the_training_form_of_a_clip_that_ends_with_the_frame(name: str, more: dict[str, object]) -> None:
    """Its noisy frames are finished but for the last one, as they are at play."""
    model, clip = tiny(name, **more), make_clip()
    played, _ = play_form(model, clip)
    for t in range(NUM_FRAMES):
        first = max(0, t + 1 - model.config.frames_per_block) if name == "bidirectional" else 0
        cut = {key: value[:, first : t + 1].clone() for key, value in clip.items()}
        cut["noisy"][:, :-1] = cut["context"][:, :-1]
        cut["tau"][:, :-1] = 1 - cut["level"][:, :-1]
        cut["step_size"][:, :-1] = 0
        difference = (train_form(model, cut)[:, -1] - played[:, t]).abs().max()
        assert difference < TOLERANCE, f"frame {t}: max difference {difference:.1e}"


@pytest.mark.parametrize(
    ("name", "key", "changed_at", "seen"),
    [
        ("chunk", "context", 4, (6, 7, 8)),
        ("chunk", "noisy", 4, (3, 4, 5)),
        ("chunk", "action", 4, (3, 4, 5, 6, 7, 8)),
        ("bidirectional", "context", 4, (6, 7)),
        ("bidirectional", "noisy", 4, (4, 5)),
        ("bidirectional", "action", 4, (4, 5, 6, 7)),
    ],
)
def test_no_chunk_or_half_window_depends_on_a_later_one(name: str, key: str, changed_at: int, seen: list[int]) -> None:
    model, clip = tiny(name), make_clip()
    changed = clip | {key: clip[key].clone()}
    changed[key][:, changed_at] += 1.0
    difference_T = (train_form(model, clip) - train_form(model, changed)).abs().amax(dim=(0, 2, 3, 4))
    for t in range(NUM_FRAMES):
        assert (difference_T[t] > 1e-9) == (t in seen), f"{difference_T}"


def test_rows_of_a_batch_can_be_at_different_positions_in_their_chunks() -> None:
    """As they are after one row was reset: row 1 has seen a frame less."""
    model, clip = tiny("chunk"), make_clip()
    played, _ = play_form(model, clip)
    shifted = {key: value.roll(1, 1) for key, value in clip.items()}
    start, state = model.initial_state(2, seed=0), model.initial_state(2, seed=0)
    for t in range(NUM_FRAMES):
        data = {key: torch.stack((value[0, t], shifted[key][1, t])) for key, value in clip.items()}
        context = model.begin(state, data["action"])
        made = model.denoise(context, data["noisy"], data["tau"], data["step_size"])
        assert (made[0] - played[0, t]).abs().max() < TOLERANCE
        assert t == 0 or (made[1] - played[1, t - 1]).abs().max() < TOLERANCE
        state = model.commit(context, data["context"], data["level"])
        if t == 0:
            rows = torch.tensor([1])
            state = replace(
                state, tensors={n: x.index_copy(0, rows, start.tensors[n][rows]) for n, x in state.tensors.items()}
            )


@pytest.mark.parametrize(("name", "reaches"), [("causal-window", False), ("causal-full", True), ("mamba2", True)])
def test_the_first_frame_reaches_the_last_only_with_enough_memory(name: str, reaches: bool) -> None:
    """Two layers of a window of 3 reach 5 frames back."""
    model, clip = tiny(name), make_clip()
    changed = clip | {"context": clip["context"].clone()}
    changed["context"][:, 0] += 1.0
    difference = (train_form(model, clip) - train_form(model, changed))[:, -1].abs().max()
    assert (difference > 1e-9) == reaches, f"{difference:.1e}"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_full_attention_has_a_growing_state_and_saved_states_continue(name: str) -> None:
    model, clip = tiny(name), make_clip()
    start = model.initial_state(2, seed=0)
    _, state = play_form(model, clip)
    assert (state.num_bytes == start.num_bytes) == model.config.has_constant_state
    restored = WorldState.from_bytes(state.to_bytes(), like=start)
    assert restored.frame_index == NUM_FRAMES
    assert all(torch.equal(tensor, restored.tensors[n]) for n, tensor in state.tensors.items())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_restoring_a_snapshot_gives_the_same_frames(name: str) -> None:
    model, clip = tiny(name), make_clip()
    _, snapshot = play_form(model, clip)
    made = []
    for _ in range(2):
        state = snapshot
        for t in range(3):
            context = model.begin(state, clip["action"][:, t])
            made.append(model.denoise(context, clip["noisy"][:, t], clip["tau"][:, t], clip["step_size"][:, t]))
            state = model.commit(context, made[-1], clip["level"][:, t])
    assert all(torch.equal(*pair) for pair in zip(made[:3], made[3:], strict=True))
