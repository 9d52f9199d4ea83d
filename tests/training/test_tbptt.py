"""Truncated backpropagation through time: the carried state, where gradients stop, and resuming."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.episodes.recordings import record
from tests.models.sequence.test_world_model import make_clip, make_model
from tests.training.test_data import OWN, open_run, train
from worldsim.core.errors import ConfigError
from worldsim.models.world_model import WorldModel
from worldsim.training.recipes.sequence import ClipSequence, ClipSequences

FORMS = ("trunk", "two-stream")
CARRIED = OWN.replace("clip_frames = 6", "clip_frames = 4\ntbptt_clips = 3")


def make_sequence(num_frames: int = 12) -> ClipSequence:
    """Frames that contain their own index."""
    frame_L = torch.arange(num_frames, dtype=torch.float64)
    known_L1 = frame_L[None, :, None]
    return ClipSequence(clean=known_L1[..., None, None], action=known_L1, target=known_L1, level=frame_L[None])


def test_clips_are_consecutive_and_all_sequences_begin_with_a_fresh_state() -> None:
    model, drawn = make_model("two-stream"), []

    def draw() -> ClipSequence:
        drawn.append(make_sequence())
        return drawn[-1]

    sequences, seen = ClipSequences(3, draw), []
    for update in range(7):
        for _ in range(2):
            sequence = sequences.next(update)
            clip = sequence.clip(4)
            assert clip.level is not None
            assert torch.equal(clip.clean.flatten(), clip.level.flatten())
            seen.append((int(clip.clean[0, 0]), None if clip.state is None else clip.state.frame_index))
            end = replace(model.initial_state(1, seed=0), frame_index=sequence.first + 4)
            sequences.put_back(sequence.advance(4, [end]), update)
    assert seen[::2] == seen[1::2] == [(0, None), (4, 4), (8, 8), (0, None), (4, 4), (8, 8), (0, None)]
    assert len(drawn) == 6


def test_a_sequence_begun_midway_ends_where_the_others_do() -> None:
    sequences, model = ClipSequences(4, make_sequence), make_model("two-stream")
    first = []
    for update in range(2, 6):
        sequence = sequences.next(update)
        first.append(sequence.first)
        sequences.put_back(sequence.advance(3, [model.initial_state(1, seed=0)]), update)
    assert first == [0, 3, 0, 3]


def gradient_of_the_first_clip(model: WorldModel, *, detach: bool) -> Tensor:
    clip = make_clip()
    context = clip["context"].requires_grad_()
    sequence = ClipSequence(clean=context, action=clip["action"], target=clip["action"], level=clip["level"])
    sequence = replace(sequence, state=model.initial_state(2, seed=0))
    first = model.read_history(context[:, :4], clip["level"][:, :4], clip["action"][:, :4], state=sequence.state)
    assert first.end
    by_row = [first.end.map(lambda tensor: tensor[:1]), first.end.map(lambda tensor: tensor[1:])]
    state = sequence.advance(4, by_row).state if detach else first.end
    second = model.read_history(context[:, 4:], clip["level"][:, 4:], clip["action"][:, 4:], state=state)
    predicted = model.predict(second, clip["noisy"][:, 4:], clip["tau"][:, 4:], clip["step_size"][:, 4:])
    predicted.square().sum().backward()
    assert context.grad is not None and context.grad[:, 4].any()
    return context.grad[:, :4]


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_stops_at_the_clip_boundary(form: str) -> None:
    model = make_model(form)
    assert gradient_of_the_first_clip(model, detach=False).any()
    assert not gradient_of_the_first_clip(model, detach=True).any()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded session, and a run with an autoencoder. Shared: read it, never write to it."""
    folder = tmp_path_factory.mktemp("chain")
    record(folder / "data", 60, is_lossless=True)
    train(open_run(OWN, folder, str(folder / "data")), "autoencoder")
    return folder


def weights_after(begun: Path, folder: Path, form: str, *sessions: int) -> tuple[dict[str, Tensor], list[int]]:
    """The weights after sessions of that many updates, and the number of updates at which each session ended."""
    shutil.copytree(begun / "run", folder / "run")
    shared = CARRIED.replace("denoiser = { width = 16, num_blocks = 1 }", 'denoiser = { kind = "shared" }')
    toml, ends = CARRIED if form == "trunk" else shared, []
    for updates in sessions:
        run = open_run(toml, folder, str(begun / "data"))
        options = {"cooldown_updates": 0, "on_log": lambda row: None}
        ends.append(run.train("dynamics", 2.0, updates, **options)[1].num_updates)  # type: ignore[arg-type]
    return load_file(folder / "run" / "dynamics" / "last" / "model.safetensors"), ends


@pytest.mark.parametrize("form", FORMS)
def test_a_phase_ends_after_complete_sequences_and_resuming_equals_never_stopping(
    form: str, begun: Path, tmp_path: Path
) -> None:
    stopped, ends = weights_after(begun, tmp_path / "stopped", form, 2, 3)
    assert ends == [3, 6]
    whole, _ = weights_after(begun, tmp_path / "whole", form, 6)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in stopped.items()), "bit for bit"


@pytest.mark.parametrize("attention", ["chunk", "bidirectional"])
def test_models_without_tbptt_support_are_rejected(attention: str, begun: Path, tmp_path: Path) -> None:
    toml = CARRIED.replace("denoiser = { width = 16, num_blocks = 1 }", 'denoiser = { kind = "shared" }')
    toml = toml.replace(
        "scan = { state_dim = 4 }", f'scan = {{ kind = "none" }}\nattention = {{ kind = "{attention}" }}'
    )
    shutil.copytree(begun / "run", tmp_path / "run")
    with pytest.raises(ConfigError, match=f"attention.kind = '{attention}' sees later frames"):
        train(open_run(toml, tmp_path, str(begun / "data")), "dynamics")
