"""Episodes for training, and the worker processes that render them in the reference world. Nothing is written to disk.

Each worker runs ahead by a few episodes, and workers are read in turn, so the order of episodes does not depend on
their speed. Workers end with the trainer, however it ends: they are daemons, and each checks that its parent is still
alive. Letters: T frames, H W rows and columns, A action.

Why not torch's DataLoader: see `EpisodeQueue`.
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
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.queues import Queue
from typing import Protocol

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import WorldError, WorldsimError
from worldsim.training.config import DataConfig
from worldsim.worlds import GroundTruthConfig, open_world
from worldsim.worlds.base import GroundTruthWorld
from worldsim.worlds.trajectories import iter_trajectory, training_seeds

Float32Array = npt.NDArray[np.float32]


SLOTS_PER_WORKER = 3
"""Finished episodes that a worker keeps waiting, at most."""


def middle_row_depth(depth_HW: Float32Array) -> Float32Array:
    """Distance of the walls in each column: the mean of the two middle rows. Shapes: returns [W]."""
    middle = len(depth_HW) // 2
    return np.asarray(depth_HW[middle - 1 : middle + 1].mean(0), np.float32)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Shapes: frames uint8 [T, H, W, 3], actions float32 [T, A] (action[t] led to frame t), pose float32 [T, 3].

    Unknown poses and depth profiles are NaN.
    """

    seed: int
    frames: npt.NDArray[np.uint8]
    actions: Float32Array
    pose: Float32Array
    depth_profile: Float32Array = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """Shapes: [T, W]. Units: the world's, along the view direction. Empty if unknown; it is then filled with NaN
    without using memory."""

    def __post_init__(self) -> None:
        if not self.depth_profile.size:
            num_frames, _, width_px, _ = self.frames.shape
            object.__setattr__(self, "depth_profile", np.broadcast_to(np.float32(np.nan), (num_frames, width_px)))

    @property
    def has_depth_profile(self) -> bool:
        return not bool(np.isnan(self.depth_profile).all())

    def first(self, num_frames: int) -> Episode:
        arrays = {name: getattr(self, name)[:num_frames] for name in ("frames", "actions", "pose", "depth_profile")}
        return Episode(seed=self.seed, **arrays)


class EpisodeStream(Protocol):
    """A source of episodes, in an order that its seed determines."""

    num_episodes: int | None
    """Number of distinct episodes; None for a world, which has no end."""
    has_pose: bool

    def skip(self, num_episodes: int) -> None:
        """Omits that many episodes at the start. Call it before the first `get`."""
        ...

    def get(self) -> Episode:
        """Waits for the next episode."""
        ...

    def has_next(self) -> bool:
        """Whether `get` returns at once with an episode that was rendered meanwhile."""
        ...


@dataclass(frozen=True, kw_only=True)
class WeightedStream:
    """A stream, and the fraction of all frames that is sampled from it."""

    stream: EpisodeStream
    fraction: float = 1.0


class WorldStream:
    """Episodes of the reference world, with depth profiles if `with_depth`. Use as a context manager."""

    num_episodes: int | None = None
    has_pose = True

    def __init__(self, world: GroundTruthConfig, data: DataConfig, *, seed: int, with_depth: bool = False) -> None:
        self._world, self._data, self._seed, self._with_depth = world, data, seed, with_depth
        self._queues: list[EpisodeQueue] = []
        self._workers: list[SpawnProcess] = []
        self._next = 0

    def __enter__(self) -> WorldStream:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join(timeout=5)
        for episode_queue in self._queues:
            episode_queue.close()

    def skip(self, num_episodes: int) -> None:
        assert not self._workers, "workers are already running"
        self._next = num_episodes

    def get(self, timeout_s: float = 60.0) -> Episode:
        """Raises: WorldError when a worker failed, exited, or sent nothing for `timeout_s`."""
        if not self._workers:
            self._start()
        try:
            item = self._queues[self._next % len(self._workers)].get(timeout_s)
        except queue.Empty:
            exit_codes = [w.exitcode for w in self._workers if not w.is_alive()]
            found = f"workers exited with codes {exit_codes}" if exit_codes else f"no episode for {timeout_s:.0f} s"
            raise WorldError(
                f"the reference world stopped: {found}", hint="use fewer workers, or see the log"
            ) from None
        if isinstance(item, WorldsimError):
            raise item
        self._next += 1
        return item

    def has_next(self) -> bool:
        return bool(self._queues) and not self._queues[self._next % len(self._queues)].is_empty

    def _start(self) -> None:
        """Of W workers, worker i renders episodes i, i + W, ..., from the first wanted one on."""
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


class EpisodeQueue:
    """Episodes from one worker to the trainer: frames through shared memory, the rest pickled through a queue.

    Created by the trainer and passed to the worker as an argument of its process.

    Not torch's DataLoader, which was measured on the autoencoder recipe of `maze` (64x48, one worker, a busy machine,
    twice a minute each, in turns): 20 and 36 against 25 and 39 frames/s trained, which follows the load; the trainer
    waits 0.4 % against 1.0 to 1.7 % of its time, and takes 500,000 against 100,000 frames/s off its source, because the
    loader's tensors have to be copied, too (each keeps a file descriptor). After a SIGKILL of the trainer, workers of
    the loader were still running 8 s later; these had exited.
    """

    def __init__(self, context: SpawnContext, shape: tuple[int, ...], *, num_slots: int) -> None:
        """`shape` is that of an episode's frames, (T, H, W, 3)."""
        self._shape = (num_slots, *shape)
        self._memory = context.RawArray("B", int(np.prod(self._shape)))
        self._free: Queue[int] = context.Queue()
        self._full: Queue[tuple[int, Episode] | WorldsimError] = context.Queue()
        for slot in range(num_slots):
            self._free.put(slot)

    def put(self, episode: Episode, *, timeout_s: float) -> bool:
        """Sends an episode if a slot becomes free within that time. Returns: whether it did."""
        try:
            slot = self._free.get(timeout=timeout_s)
        except queue.Empty:
            return False
        self._slots[slot] = episode.frames
        depth_profile = episode.depth_profile if episode.has_depth_profile else episode.depth_profile[:0]
        self._full.put((slot, replace(episode, frames=episode.frames[:0], depth_profile=depth_profile)))
        return True

    def put_error(self, error: WorldsimError) -> None:
        """Sends an error in place of an episode."""
        self._full.put(error)

    def get(self, timeout_s: float) -> Episode | WorldsimError:
        """The oldest item. Raises: queue.Empty when none arrives within that time."""
        item = self._full.get(timeout=timeout_s)
        if isinstance(item, WorldsimError):
            return item
        slot, episode = item
        taken = replace(episode, frames=self._slots[slot].copy())
        self._free.put(slot)
        return taken

    @property
    def is_empty(self) -> bool:
        return self._full.empty()

    def cancel_join(self) -> None:
        """Called by the worker before it exits: items that are still unread do not delay the exit."""
        self._full.cancel_join_thread()

    def close(self) -> None:
        """Called by the trainer at the end."""
        self._full.close()
        self._free.close()
        self._free.cancel_join_thread()

    @property
    def _slots(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self._memory, dtype=np.uint8).reshape(self._shape)


def record_episodes(
    world_config: GroundTruthConfig, seeds: Iterable[int], num_frames: int, policy: str, *, with_depth: bool = False
) -> list[Episode]:
    """One episode per seed, rendered in this process."""
    with closing(open_world(world_config, with_depth=with_depth)) as world:
        return [_record_episode(world, seed, num_frames, policy, with_depth=with_depth) for seed in seeds]


def _record_episode(world: GroundTruthWorld, seed: int, num_frames: int, policy: str, *, with_depth: bool) -> Episode:
    steps, depth_profiles = [], []
    for step in iter_trajectory(world, seed, num_frames, policy):
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
        """Exits through `finally`, because an engine that is not closed outlives its worker.

        Does not wait for unread items: this process also holds the reading end of its pipe and would wait forever.
        """
        episode_queue.cancel_join()
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    world = open_world(world_config, with_depth=with_depth)
    try:
        for episode_seed in islice(training_seeds(random.Random(seed)), num_skipped, None):
            episode = _record_episode(world, episode_seed, data.episode_frames, data.policy, with_depth=with_depth)
            while not episode_queue.put(episode, timeout_s=2.0):
                if os.getppid() != parent_pid:
                    leave()
    except WorldsimError as error:
        episode_queue.put_error(error)
    finally:
        world.close()
