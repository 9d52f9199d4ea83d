"""Episodes come through shared memory as they were put in, in order, and a full belt holds the worker back."""

from __future__ import annotations

import multiprocessing
import queue
import time
from dataclasses import replace

import numpy as np
import pytest

from worldsim.core.errors import WorldError
from worldsim.training.episode import Episode
from worldsim.training.shared_memory_queue import Belt

SHAPE = (5, 6, 8, 3)


def episode(seed: int, shape: tuple[int, ...] = SHAPE) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        seed=seed,
        frames=rng.integers(0, 256, shape, np.uint8),
        actions=rng.random((shape[0], 2), np.float32),
        pose=rng.random((shape[0], 3), np.float32),
        horizon=rng.random((shape[0], shape[2]), np.float32),
    )


def put_some(belt: Belt, count: int) -> None:
    for seed in range(count):
        assert belt.put(episode(seed), timeout_s=30)
    belt.fail(WorldError("no more", hint="none"))


def test_episodes_of_another_process_arrive_in_order_and_whole() -> None:
    context = multiprocessing.get_context("spawn")
    belt = Belt(context, SHAPE, num_slots=2)
    worker = context.Process(target=put_some, args=(belt, 5), daemon=True)
    worker.start()
    taken = [belt.take(30.0) for _ in range(6)]
    worker.join(10)
    belt.close()
    for seed, found in enumerate(taken[:5]):
        assert isinstance(found, Episode)
        expected = episode(seed)
        assert found.seed == seed
        for name in ("frames", "actions", "pose", "horizon"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), (seed, name)
    assert isinstance(taken[5], WorldError)


def test_a_full_belt_takes_no_more_until_one_is_taken_and_what_was_taken_stays_as_it_is() -> None:
    belt = Belt(multiprocessing.get_context("spawn"), SHAPE, num_slots=1)
    assert belt.put(episode(0), timeout_s=5)
    assert not belt.put(episode(1), timeout_s=0.05)
    first = belt.take(5.0)
    assert belt.put(episode(1), timeout_s=5)
    assert isinstance(first, Episode) and np.array_equal(first.frames, episode(0).frames)
    assert isinstance(belt.take(5.0), Episode)
    with pytest.raises(queue.Empty):
        belt.take(0.05)
    belt.close()


def test_a_horizon_that_nobody_knows_arrives_as_that() -> None:
    belt = Belt(multiprocessing.get_context("spawn"), SHAPE, num_slots=1)
    assert belt.put(replace(episode(0), horizon=np.empty((0, 0), np.float32)), timeout_s=5)
    found = belt.take(5.0)
    belt.close()
    assert isinstance(found, Episode) and not found.has_horizon and found.horizon.shape == (5, 8)


@pytest.mark.slow
def test_pictures_through_shared_memory_cost_the_trainer_less_than_pickled_ones() -> None:
    """Prints the figures: `pytest -s -m slow tests/training/test_shared_memory_queue.py`."""
    context, shape = multiprocessing.get_context("spawn"), (256, 96, 128, 3)
    belt, pickled, one = Belt(context, shape, num_slots=3), context.Queue(3), episode(0, shape)
    took_s = {"belt": 0.0, "pickled": 0.0}
    for _ in range(20):
        assert belt.put(one, timeout_s=5)
        pickled.put(one)
        time.sleep(0.1)
        for name, take in (("belt", lambda: belt.take(5.0)), ("pickled", lambda: pickled.get(timeout=5))):
            began_s = time.perf_counter()
            take()
            took_s[name] += time.perf_counter() - began_s
    belt.close()
    rates = {name: 20 * shape[0] / seconds for name, seconds in took_s.items()}
    print(
        {name: f"{rate:.0f} frames/s" for name, rate in rates.items()}, f"ratio {rates['belt'] / rates['pickled']:.1f}"
    )
    assert rates["belt"] > rates["pickled"]
