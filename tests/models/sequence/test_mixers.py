"""Every mixer and every attention: all frames at once equals frame by frame, and clip after clip with the state
carried, in what comes out and in gradients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from worldsim.models.config import GatedDeltaNetConfig, Mamba2Config
from worldsim.models.sequence.attention import FrameLocalAttention
from worldsim.models.sequence.baselines import BlockLSTM, FullAttention
from worldsim.models.sequence.mixer import BlockGatedDeltaNet, BlockMamba2, TimeMixer

TOLERANCE = 1e-12
"""float64; the largest difference seen was 1e-15, of gradients 2e-15."""
GRID, WIDTH, NUM_FRAMES = (2, 3), 24, 11

MIXERS: dict[str, Callable[[], TimeMixer]] = {
    "mamba2 1": lambda: BlockMamba2(WIDTH, 2, Mamba2Config(state_dim=4), GRID, (1, 1)),
    "mamba2 frame": lambda: BlockMamba2(WIDTH, 2, Mamba2Config(state_dim=4), GRID, (0, 0)),
    "gated_deltanet 1": lambda: BlockGatedDeltaNet(WIDTH, 2, GatedDeltaNetConfig(state_dim=4), GRID, (1, 1)),
    "gated_deltanet frame": lambda: BlockGatedDeltaNet(WIDTH, 2, GatedDeltaNetConfig(state_dim=4), GRID, (0, 0)),
    "mamba2 block, keys per head": lambda: BlockMamba2(WIDTH, 4, Mamba2Config(state_dim=4, key_groups=4), GRID, (1, 3)),
    "mamba2 frame, undivided gain": lambda: BlockMamba2(
        WIDTH, 2, Mamba2Config(state_dim=4, write_gain="frame"), GRID, (0, 0)
    ),
    "mamba2 1, convolution": lambda: BlockMamba2(WIDTH, 2, Mamba2Config(state_dim=4, short_conv=4), GRID, (1, 1)),
    "mamba2 frame, convolution": lambda: BlockMamba2(WIDTH, 2, Mamba2Config(state_dim=4, short_conv=4), GRID, (0, 0)),
    "mamba2 block, convolution, keys in groups": lambda: BlockMamba2(
        WIDTH, 4, Mamba2Config(state_dim=4, short_conv=3, key_groups=2, write_gain="frame"), GRID, (2, 1)
    ),
    "mamba2 1, convolution of one": lambda: BlockMamba2(
        WIDTH, 2, Mamba2Config(state_dim=4, short_conv=1), GRID, (1, 1)
    ),
    "gated_deltanet block, keys in groups": lambda: BlockGatedDeltaNet(
        WIDTH, 4, GatedDeltaNetConfig(state_dim=4, key_groups=2), GRID, (2, 1)
    ),
    "gated_deltanet frame, keys per head, convolution": lambda: BlockGatedDeltaNet(
        WIDTH, 2, GatedDeltaNetConfig(state_dim=4, key_groups=2, short_conv=4), GRID, (0, 0)
    ),
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
    written, cache = mixer.forward_context(clean)
    return torch.stack((written, mixer.forward_noisy(noisy, cache)))


def in_parts(*ends: int) -> Callable[[TimeMixer, Tensor, Tensor], Tensor]:
    """Clip after clip, each from the state that the one before left."""

    def run(mixer: TimeMixer, clean: Tensor, noisy: Tensor) -> Tensor:
        state, outputs = mixer.initial_state(len(clean)), []
        for begin, end in pairwise((0, *ends, clean.shape[1])):
            written, cache, state = mixer.forward_context_from(clean[:, begin:end], state)
            outputs.append(torch.stack((written, mixer.forward_noisy(noisy[:, begin:end], cache))))
        return torch.cat(outputs, 2)

    return run


def frame_by_frame(mixer: TimeMixer, clean: Tensor, noisy: Tensor) -> Tensor:
    state, written, read = mixer.initial_state(len(clean)), [], []
    for t in range(clean.shape[1]):
        read.append(mixer.step(noisy[:, t], state)[0])
        y, state = mixer.step(clean[:, t], state)
        written.append(y)
    return torch.stack((torch.stack(written, 1), torch.stack(read, 1)))


FORMS = {"frame by frame": frame_by_frame, "in parts": in_parts(5), "in small parts": in_parts(1, 3, 10)}


@pytest.mark.parametrize("other", FORMS)
@pytest.mark.parametrize("name", MIXERS)
def test_parallel_and_other_forms_have_equal_outputs_and_gradients(name: str, other: str) -> None:
    mixer = make_mixer(name)
    streams = [torch.randn(2, NUM_FRAMES, GRID[0] * GRID[1], WIDTH, dtype=torch.float64) for _ in range(2)]
    weight = torch.randn(2, *streams[0].shape, dtype=torch.float64)
    outputs, gradients = [], []
    for form in (at_once, FORMS[other]):
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


def test_attention_in_segments_equals_attention_to_the_full_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    mixer = make_mixer("full")
    streams = [torch.randn(1, NUM_FRAMES, GRID[0] * GRID[1], WIDTH, dtype=torch.float64) for _ in range(2)]
    whole = at_once(mixer, *streams)
    monkeypatch.setattr("worldsim.models.sequence.baselines.SEGMENT_TOKENS", 24)
    difference = (at_once(mixer, *streams) - whole).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"


@pytest.mark.parametrize("name", MIXERS)
def test_play_continues_from_the_state_after_a_clip(name: str) -> None:
    mixer = make_mixer(name)
    streams = [torch.randn(2, NUM_FRAMES, GRID[0] * GRID[1], WIDTH, dtype=torch.float64) for _ in range(2)]
    expected = frame_by_frame(mixer, *streams)[1, :, -1]
    _, _, state = mixer.forward_context_from(streams[0][:, :-1], mixer.initial_state(2))
    assert {n: t.shape[1] for n, t in state.items()} == {
        n: t.shape[1] for n, t in played_state(mixer, streams[0]).items()
    }
    difference = (mixer.step(streams[1][:, -1], state)[0] - expected).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"


def played_state(mixer: TimeMixer, clean: Tensor) -> dict[str, Tensor]:
    state = mixer.initial_state(len(clean))
    for t in range(clean.shape[1] - 1):
        state = mixer.step(clean[:, t], state)[1]
    return state


@pytest.mark.parametrize("name", ["window 5", "window 10", "mamba2 frame"])
def test_rows_of_a_clip_can_start_from_states_of_different_age(name: str) -> None:
    """Row 1 has seen nothing yet."""
    mixer = make_mixer(name)
    streams = [torch.randn(2, NUM_FRAMES, GRID[0] * GRID[1], WIDTH, dtype=torch.float64) for _ in range(2)]
    whole, fresh = at_once(mixer, *streams), at_once(mixer, *(x[1:, 4:] for x in streams))
    _, _, state = mixer.forward_context_from(streams[0][:, :4], mixer.initial_state(2))
    nothing = mixer.initial_state(1)
    mixed = {n: torch.cat((t[:1], nothing[n])) for n, t in state.items()}
    written, cache, _ = mixer.forward_context_from(streams[0][:, 4:], mixed)
    found = torch.stack((written, mixer.forward_noisy(streams[1][:, 4:], cache)))
    for row, expected in ((0, whole[:, 0, 4:]), (1, fresh[:, 0])):
        difference = (found[:, row] - expected).abs().max()
        assert difference < TOLERANCE, f"row {row}: max difference {difference:.1e}"


@pytest.mark.parametrize("num_before", [0, 1, NUM_FRAMES])
@pytest.mark.parametrize("name", MIXERS)
def test_queries_read_each_frame_as_the_next_after_one_state_gradients_too(name: str, num_before: int) -> None:
    mixer = make_mixer(name)
    streams = [torch.randn(2, NUM_FRAMES, GRID[0] * GRID[1], WIDTH, dtype=torch.float64) for _ in range(2)]
    weight = torch.randn(*streams[0].shape, dtype=torch.float64)
    outputs, gradients = [], []
    for at_once_ in (True, False):
        clean, noisy = (stream.clone().requires_grad_() for stream in streams)
        state = mixer.initial_state(2)
        if num_before:
            _, _, state = mixer.forward_context_from(clean[:, :num_before], state)
        if at_once_:
            outputs.append(mixer.forward_queries(noisy, state))
        else:
            outputs.append(torch.stack([mixer.step(noisy[:, t], state)[0] for t in range(NUM_FRAMES)], 1))
        (outputs[-1] * weight).sum().backward()
        gradients.append([x.grad for x in (noisy, *mixer.parameters())] + ([clean.grad] if num_before else []))
        mixer.zero_grad(set_to_none=True)
    difference = (outputs[0] - outputs[1]).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"
    for found, expected in zip(*gradients, strict=True):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            difference = (found - expected).abs().max() / expected.abs().max().clamp_min(1)
            assert difference < TOLERANCE, f"max difference of gradients {difference:.1e}"
