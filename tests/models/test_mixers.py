"""Every mixer and every attention: all frames at once equals frame by frame, in what comes out and in gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from worldsim.models.attention import FrameLocalAttention
from worldsim.models.attention_full import FullAttention
from worldsim.models.lstm import BlockLSTM
from worldsim.models.mixer import BlockDelta, BlockScan, TimeMixer

TOLERANCE = 1e-12
"""float64; the largest difference seen was 1e-15, of gradients 2e-15."""
GRID, WIDTH, NUM_FRAMES = (2, 3), 24, 11

MIXERS: dict[str, Callable[[], TimeMixer]] = {
    "mamba2 1": lambda: BlockScan(WIDTH, 2, 4, GRID, (1, 1)),
    "mamba2 frame": lambda: BlockScan(WIDTH, 2, 4, GRID, (0, 0)),
    "gated_deltanet 1": lambda: BlockDelta(WIDTH, 2, 4, GRID, (1, 1)),
    "gated_deltanet frame": lambda: BlockDelta(WIDTH, 2, 4, GRID, (0, 0)),
    "lstm 1": lambda: BlockLSTM(WIDTH, GRID, (1, 1)),
    "lstm frame": lambda: BlockLSTM(WIDTH, GRID, (0, 0)),
    "window 1": lambda: FrameLocalAttention(WIDTH, 2, GRID, 1),
    "window 2": lambda: FrameLocalAttention(WIDTH, 2, GRID, 2),
    "window 5": lambda: FrameLocalAttention(WIDTH, 2, GRID, 5),
    "window 10": lambda: FrameLocalAttention(WIDTH, 2, GRID, 10),
    "window 30": lambda: FrameLocalAttention(WIDTH, 2, GRID, 30),
    "full": lambda: FullAttention(WIDTH, 2, GRID),
}


def make_mixer(name: str) -> TimeMixer:
    torch.manual_seed(0)
    mixer = MIXERS[name]()
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return mixer.double()


def at_once(mixer: TimeMixer, clean: Tensor, noisy: Tensor) -> Tensor:
    written, memo = mixer.write(clean)
    return torch.stack((written, mixer.read(noisy, memo)))


def frame_by_frame(mixer: TimeMixer, clean: Tensor, noisy: Tensor) -> Tensor:
    state, written, read = mixer.initial_state(len(clean)), [], []
    for t in range(clean.shape[1]):
        read.append(mixer.step(noisy[:, t], state)[0])
        y, state = mixer.step(clean[:, t], state)
        written.append(y)
    return torch.stack((torch.stack(written, 1), torch.stack(read, 1)))


@pytest.mark.parametrize("name", MIXERS)
def test_all_frames_at_once_equal_frame_by_frame_gradients_too(name: str) -> None:
    mixer = make_mixer(name)
    streams = [torch.randn(2, NUM_FRAMES, GRID[0] * GRID[1], WIDTH, dtype=torch.float64) for _ in range(2)]
    weight = torch.randn(2, *streams[0].shape, dtype=torch.float64)
    outputs, gradients = [], []
    for form in (at_once, frame_by_frame):
        inputs = [stream.clone().requires_grad_() for stream in streams]
        outputs.append(form(mixer, *inputs))
        (outputs[-1] * weight).sum().backward()
        gradients.append([x.grad for x in (*inputs, *mixer.parameters())])
        mixer.zero_grad(set_to_none=True)
    difference = (outputs[0] - outputs[1]).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"
    for found, expected in zip(*gradients, strict=True):
        assert found is not None and expected is not None
        difference = (found - expected).abs().max() / expected.abs().max().clamp_min(1)
        assert difference < TOLERANCE, f"max difference of gradients {difference:.1e}"


def test_attention_of_a_long_clip_is_cut_into_parts_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    mixer = make_mixer("full")
    streams = [torch.randn(1, NUM_FRAMES, GRID[0] * GRID[1], WIDTH, dtype=torch.float64) for _ in range(2)]
    whole = at_once(mixer, *streams)
    monkeypatch.setattr("worldsim.models.attention_full.PART_TOKENS", 24)
    difference = (at_once(mixer, *streams) - whole).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"
