"""A background stream changes no frame, and is absent on the CPU."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from worldsim.core.devices import background_stream, reserved_bytes
from worldsim.core.types import Action, Frame
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.simulator import Simulator
from worldsim.engine.worker import Worker
from worldsim.presets.store import load_preset

ACTIONS = [a for a in random.Random(0).choices([Action.of("forward"), Action.of(turn=1.0)], k=8) for _ in range(6)]


def played(folder: Path, device: str, depth: int) -> list[Frame]:
    """The frames of `ACTIONS`, each requested once prefetching is done."""
    simulator = Simulator(load_preset(folder, device=device), device=device)
    loaded = LoadedWorld(playable=simulator, title="", ticks_per_s=10, background_stream=background_stream(device))
    worker = Worker(lambda report: loaded, prefetch_depth=depth)
    frames = []
    for action in [None, *ACTIONS]:
        if action is not None:
            worker.submit(action)
        while worker.run_once():
            pass
        step = worker.take()
        assert step is not None, worker.status
        frames.append(step.frame)
        worker.expect(action)
    assert (worker.counters.hits > 0) == (depth > 0)
    return frames


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_frames_are_the_same_bit_for_bit_with_and_without_prefetch(tiny_preset_folder: Path, device: str) -> None:
    without, deep = played(tiny_preset_folder, device, 0), played(tiny_preset_folder, device, 3)
    assert np.array_equal(without, deep)


@pytest.mark.gpu
def test_background_work_runs_in_its_own_stream_in_submission_order() -> None:
    default, stream = torch.cuda.current_stream(), background_stream("cuda")
    numbers = torch.ones(2**24, device="cuda")
    for _ in range(50):
        numbers *= 2
        with stream():
            assert torch.cuda.current_stream() != default
            numbers /= 2
    assert bool((numbers == 1).all())
    taken = reserved_bytes("cuda")
    assert taken is not None and taken >= numbers.nbytes


def test_on_the_cpu_there_is_no_stream_and_no_device_memory() -> None:
    with background_stream("cpu")():
        assert reserved_bytes("cpu") is None
