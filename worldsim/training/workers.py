"""Worker processes that play the true world and hand over episodes.

Owns: the processes, their seeds, their end, the order of episodes. Does not own: what is kept (`replay_buffer`).
Nothing is written to disk. Workers run ahead of the trainer by a bounded belt each and are asked in turn, so the order
does not depend on who is faster. They end with the trainer, however it ends: they are daemons, and each looks whether
its parent is still there.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import random
import signal
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Protocol

import numpy as np

from worldsim.core.errors import WorldError, WorldsimError
from worldsim.training.config import DataConfig
from worldsim.training.episode import Episode, middle_row_depth
from worldsim.training.shared_memory_queue import EpisodeQueue
from worldsim.worlds.base import GroundTruthWorld
from worldsim.worlds.registry import GroundTruthConfig, open_world
from worldsim.worlds.seeds import training_seeds
from worldsim.worlds.trajectories import iter_trajectory

SLOTS_PER_WORKER = 3
"""Finished episodes a worker may have waiting."""


class EpisodeStream(Protocol):
    """Where episodes come from, in an order that its seed settles."""

    num_episodes: int | None
    """How many different ones there are; None for a world, which never ends."""
    has_pose: bool

    def skip(self, num_episodes: int) -> None:
        """Leaves out so many from the beginning. Before the first `get`."""
        ...

    def get(self) -> Episode:
        """Waits for the next one."""
        ...


@dataclass(frozen=True, kw_only=True)
class WeightedStream:
    """A stream, and the share of all frames that is drawn from it."""

    stream: EpisodeStream
    share: float = 1.0


class WorldStream:
    """The true world as a source; with depth, its episodes know their depth profile. Use as a context manager."""

    num_episodes: int | None = None
    has_pose = True

    def __init__(self, world: GroundTruthConfig, data: DataConfig, *, seed: int, with_depth: bool = False) -> None:
        self._world, self._data, self._seed, self._with_depth = world, data, seed, with_depth
        self._queues: list[EpisodeQueue] = []
        self._workers: list[SpawnProcess] = []
        self._next = 0

    def __enter__(self) -> WorldStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join(timeout=5)
        for episode_queue in self._queues:
            episode_queue.close()

    def skip(self, num_episodes: int) -> None:
        assert not self._workers, "workers have begun"
        self._next = num_episodes

    def get(self, timeout_s: float = 60.0) -> Episode:
        """Raises: WorldError when a worker failed, died, or gave nothing for `timeout_s`."""
        if not self._workers:
            self._start()
        try:
            item = self._queues[self._next % len(self._workers)].get(timeout_s)
        except queue.Empty:
            dead = [w.exitcode for w in self._workers if not w.is_alive()]
            found = f"workers ended with codes {dead}" if dead else f"no episode for {timeout_s:.0f} s"
            raise WorldError(
                f"the true world stopped: {found}", hint="run with fewer workers, or look at the log"
            ) from None
        if isinstance(item, WorldsimError):
            raise item
        self._next += 1
        return item

    def _start(self) -> None:
        """Worker i renders episodes i, i + W, ... of W workers, from the first that is wanted."""
        context, num_workers = multiprocessing.get_context("spawn"), self._data.num_workers
        for i in range(num_workers):
            num_skipped = len(range(i, self._next, num_workers))
            episode_queue = EpisodeQueue(
                context, (self._data.episode_frames, *self._world.frame_shape), num_slots=SLOTS_PER_WORKER
            )
            arguments = (self._world, self._data, self._seed + 7919 * i, num_skipped, episode_queue, os.getpid())
            options = {"with_depth": self._with_depth}
            self._queues.append(episode_queue)
            self._workers.append(context.Process(target=_worker_main, args=arguments, kwargs=options, daemon=True))
            self._workers[-1].start()


def record_episodes(
    world_config: GroundTruthConfig, seeds: Iterable[int], num_frames: int, script: str, *, with_depth: bool = False
) -> list[Episode]:
    """One per seed, in a world of their own."""
    with closing(open_world(world_config, with_depth=with_depth)) as world:
        return [_record_episode(world, seed, num_frames, script, with_depth=with_depth) for seed in seeds]


def _record_episode(world: GroundTruthWorld, seed: int, num_frames: int, script: str, *, with_depth: bool) -> Episode:
    steps, depth_profiles = [], []
    for step in iter_trajectory(world, seed, num_frames, script):
        steps.append(step)
        if with_depth:
            depth_profiles.append(middle_row_depth(world.depth))
    poses = [(s.pose.x, s.pose.y, s.pose.angle_rad) for s in steps if s.pose is not None]
    return Episode(
        seed=seed,
        frames=np.stack([s.frame for s in steps]),
        actions=np.stack([world.action_spec.encode(s.action) for s in steps]),
        pose=np.asarray(poses, dtype=np.float32),
        depth_profile=np.asarray(depth_profiles, dtype=np.float32),
    )


def _worker_main(
    world_config: GroundTruthConfig,
    data: DataConfig,
    seed: int,
    num_skipped: int,
    episode_queue: EpisodeQueue,
    parent_pid: int,
    *,
    with_depth: bool,
) -> None:
    def leave(*_: object) -> None:
        """By way of `finally`: an engine that is not closed outlives its worker. What nobody reads any more is not
        waited for: this process holds the reading end of its pipe too, and would wait for ever."""
        episode_queue.cancel_join()
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    world = open_world(world_config, with_depth=with_depth)
    try:
        for episode_seed in islice(training_seeds(random.Random(seed)), num_skipped, None):
            episode = _record_episode(world, episode_seed, data.episode_frames, data.script, with_depth=with_depth)
            while not episode_queue.put(episode, timeout_s=2.0):
                if os.getppid() != parent_pid:
                    leave()
    except WorldsimError as error:
        episode_queue.put_error(error)
    finally:
        world.close()
