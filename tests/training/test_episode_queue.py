"""Episodes pass through shared memory unchanged and in order, and a full queue blocks the worker."""

from __future__ import annotations

import multiprocessing
import queue
import time
from dataclasses import replace

import numpy as np
import pytest

from worldsim.core.errors import WorldError
from worldsim.training.workers import Episode, EpisodeQueue

SHAPE = (5, 6, 8, 3)


def episode(seed: int, shape: tuple[int, ...] = SHAPE) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        seed=seed,
        frames=rng.integers(0, 256, shape, np.uint8),
        actions=rng.random((shape[0], 2), np.float32),
        pose=rng.random((shape[0], 3), np.float32),
        depth_profile=rng.random((shape[0], shape[2]), np.float32),
    )


def put_some(episode_queue: EpisodeQueue, count: int) -> None:
    for seed in range(count):
        assert episode_queue.put(episode(seed), timeout_s=30)
    episode_queue.put_error(WorldError("no more", hint="none"))


def test_episodes_of_another_process_arrive_complete_and_in_order() -> None:
    context = multiprocessing.get_context("spawn")
    episode_queue = EpisodeQueue(context, SHAPE, num_slots=2)
    worker = context.Process(target=put_some, args=(episode_queue, 5), daemon=True)
    worker.start()
    taken = [episode_queue.get(30.0) for _ in range(6)]
    worker.join(10)
    episode_queue.close()
    for seed, found in enumerate(taken[:5]):
        assert isinstance(found, Episode)
        expected = episode(seed)
        assert found.seed == seed
        for name in ("frames", "actions", "pose", "depth_profile"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), (seed, name)
    assert isinstance(taken[5], WorldError)


def test_a_full_queue_blocks_until_one_is_taken_and_taken_episodes_stay_unchanged() -> None:
    episode_queue = EpisodeQueue(multiprocessing.get_context("spawn"), SHAPE, num_slots=1)
    assert episode_queue.put(episode(0), timeout_s=5)
    assert not episode_queue.put(episode(1), timeout_s=0.05)
    first = episode_queue.get(5.0)
    assert episode_queue.put(episode(1), timeout_s=5)
    assert isinstance(first, Episode) and np.array_equal(first.frames, episode(0).frames)
    assert isinstance(episode_queue.get(5.0), Episode)
    with pytest.raises(queue.Empty):
        episode_queue.get(0.05)
    episode_queue.close()


def test_an_unknown_depth_profile_arrives_as_unknown() -> None:
    episode_queue = EpisodeQueue(multiprocessing.get_context("spawn"), SHAPE, num_slots=1)
    assert episode_queue.put(replace(episode(0), depth_profile=np.empty((0, 0), np.float32)), timeout_s=5)
    found = episode_queue.get(5.0)
    episode_queue.close()
    assert isinstance(found, Episode) and not found.has_depth_profile and found.depth_profile.shape == (5, 8)


@pytest.mark.slow
def test_frames_in_shared_memory_cost_the_trainer_less_than_pickled_ones() -> None:
    """Prints the figures: `pytest -s -m slow tests/training/test_episode_queue.py`."""
    context, shape = multiprocessing.get_context("spawn"), (256, 96, 128, 3)
    episode_queue, pickled, one = EpisodeQueue(context, shape, num_slots=3), context.Queue(3), episode(0, shape)
    spent_s = {"shared memory": 0.0, "pickled": 0.0}
    for _ in range(20):
        assert episode_queue.put(one, timeout_s=5)
        pickled.put(one)
        time.sleep(0.1)
        for name, get in (
            ("shared memory", lambda: episode_queue.get(5.0)),
            ("pickled", lambda: pickled.get(timeout=5)),
        ):
            start_s = time.perf_counter()
            get()
            spent_s[name] += time.perf_counter() - start_s
    episode_queue.close()
    rates = {name: 20 * shape[0] / seconds for name, seconds in spent_s.items()}
    print(
        {name: f"{rate:.0f} frames/s" for name, rate in rates.items()},
        f"ratio {rates['shared memory'] / rates['pickled']:.1f}",
    )
    assert rates["shared memory"] > rates["pickled"]
