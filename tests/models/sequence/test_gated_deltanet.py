"""The gated delta rule's forms are equal."""

from __future__ import annotations

import pytest
import torch

from tests.models.sequence.test_mamba2 import TOLERANCE, frame_of, make_stream, start_state
from worldsim.models.sequence.gated_deltanet import delta_chunked, delta_chunked_read, delta_reference, delta_step
from worldsim.models.sequence.mamba2 import ScanInput


def make_delta_stream(num_frames: int, num_tokens: int, seed: int) -> ScanInput:
    """Keys of length one, and a beta from 0 to 1."""
    stream = vars(make_stream(num_frames, num_tokens, seed))
    key = torch.nn.functional.normalize(stream["b"], dim=-1)
    return ScanInput(**{**stream, "b": key, "dt": stream["dt"].neg().exp()})


@pytest.mark.parametrize(("num_frames", "num_tokens"), [(1, 1), (100, 1), (7, 12), (33, 4)])
def test_chunked_equals_the_reference(num_frames: int, num_tokens: int) -> None:
    stream = make_delta_stream(num_frames, num_tokens, seed=0)
    expected_y, expected_state = delta_reference(stream, start_state())
    y, cache = delta_chunked(stream, start_state())
    assert (y - expected_y).abs().max() < TOLERANCE, f"max difference {(y - expected_y).abs().max():.1e}"
    assert (cache.end - expected_state).abs().max() < TOLERANCE


@pytest.mark.parametrize("num_tokens", [1, 4, 12])
def test_parallel_reading_and_writing_equal_stepping(num_tokens: int) -> None:
    clean, noisy = make_delta_stream(40, num_tokens, seed=2), make_delta_stream(40, num_tokens, seed=3)
    state, written, read = start_state(), [], []
    for t in range(40):
        read.append(delta_step(frame_of(noisy, t), state)[0])
        y, state = delta_step(frame_of(clean, t), state)
        written.append(y)
    y, cache = delta_chunked(clean, start_state())
    for name, found, expected in (("write", y, written), ("read", delta_chunked_read(cache, noisy), read)):
        difference = (torch.cat(expected, 1) - found).abs().max()
        assert difference < TOLERANCE, f"{name}: max difference {difference:.1e}"
