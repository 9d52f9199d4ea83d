"""The scan's forms are equal."""

from __future__ import annotations

import pytest
import torch

from worldsim.models.sequence.mamba2 import ScanInput, ssd_chunked, ssd_chunked_read, ssd_reference, ssd_step

TOLERANCE = 1e-12
"""float64; the largest difference seen was 4e-15."""


def make_stream(num_frames: int, num_tokens: int, seed: int) -> ScanInput:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(3, num_frames, num_tokens, *shape, generator=generator, dtype=torch.float64)

    dt = torch.nn.functional.softplus(normal(2))
    return ScanInput(x=normal(2, 5), dt=dt, a=-dt * 0.7, b=normal(4), c=normal(4))


def frame_of(stream: ScanInput, t: int) -> ScanInput:
    return ScanInput(**{name: value[:, t : t + 1] for name, value in vars(stream).items()})


def start_state() -> torch.Tensor:
    return torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize(("num_frames", "num_tokens"), [(1, 1), (100, 1), (7, 12), (33, 4), (3, 100)])
def test_chunked_equals_the_reference(num_frames: int, num_tokens: int) -> None:
    stream = make_stream(num_frames, num_tokens, seed=0)
    expected_y, expected_state = ssd_reference(stream, start_state())
    y, cache = ssd_chunked(stream, start_state())
    assert (y - expected_y).abs().max() < TOLERANCE, f"max difference {(y - expected_y).abs().max():.1e}"
    assert (cache.end - expected_state).abs().max() < TOLERANCE


@pytest.mark.parametrize("num_tokens", [1, 4, 12])
def test_chunked_equals_step_by_step(num_tokens: int) -> None:
    stream = make_stream(60, num_tokens, seed=1)
    expected_y, cache = ssd_chunked(stream, start_state())
    state, outputs = start_state(), []
    for t in range(60):
        y, state = ssd_step(frame_of(stream, t), state)
        outputs.append(y)
    difference = (torch.cat(outputs, 1) - expected_y).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"
    assert (state - cache.end).abs().max() < TOLERANCE


@pytest.mark.parametrize("num_tokens", [1, 4, 12])
def test_reading_a_clean_stream_equals_stepping_from_its_states(num_tokens: int) -> None:
    clean, noisy = make_stream(60, num_tokens, seed=2), make_stream(60, num_tokens, seed=3)
    state, outputs = start_state(), []
    for t in range(60):
        outputs.append(ssd_step(frame_of(noisy, t), state)[0])
        _, state = ssd_step(frame_of(clean, t), state)
    _, cache = ssd_chunked(clean, start_state())
    difference = (torch.cat(outputs, 1) - ssd_chunked_read(cache, noisy)).abs().max()
    assert difference < TOLERANCE, f"max difference {difference:.1e}"


def test_a_scan_has_finite_gradients_under_strong_decay() -> None:
    stream = make_stream(50, 2, seed=4)
    a = (stream.a * 100).requires_grad_()
    y, _ = ssd_chunked(ScanInput(x=stream.x, dt=stream.dt, a=a, b=stream.b, c=stream.c), start_state())
    y.sum().backward()
    assert a.grad is not None and bool(torch.isfinite(a.grad).all())
