"""Worker processes that play the true world and hand over episodes.

Owns: the processes, their seeds, their end. Does not own: what is kept (`pool`). Nothing is written to disk. A bounded
queue makes workers wait for the trainer, never the other way round once the pool is filled. Workers end with the
trainer, however it ends: they are daemons, and each looks whether its parent is still there.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import random
import signal
import sys
from dataclasses import dataclass
from multiprocessing.queues import Queue
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from worldsim.actions.encoding import encode_action
from worldsim.core.errors import WorldError, WorldsimError
from worldsim.training.config import DataConfig
from worldsim.worlds.doom.config import DoomConfig

QUEUE_EPISODES = 3
"""Finished episodes a worker may have waiting."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Shapes: frames uint8 [T, H, W, 3], actions float32 [T, A] (action[t] led to frame t), pose float32 [T, 3].

    A pose that nobody knows is NaN.
    """

    seed: int
    frames: npt.NDArray[np.uint8]
    actions: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]

    def first(self, num_frames: int) -> Episode:
        arrays = {name: getattr(self, name)[:num_frames] for name in ("frames", "actions", "pose")}
        return Episode(seed=self.seed, **arrays)


class EpisodeSource(Protocol):
    """Where episodes come from. `get` waits for the next one."""

    num_episodes: int | None
    """How many different ones there are; None for a world, which never ends."""
    has_pose: bool

    def get(self) -> Episode: ...

    def get_nowait(self) -> Episode | None:
        """The next episode if one is ready."""
        ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """A stream, and the share of all frames that is drawn from it."""

    stream: EpisodeSource
    share: float = 1.0


class EpisodeStream:
    """The true world as a source. Use as a context manager."""

    num_episodes: int | None = None
    has_pose = True

    def __init__(self, world: DoomConfig, data: DataConfig, *, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue: Queue[Episode | WorldsimError] = context.Queue(QUEUE_EPISODES * data.num_workers)
        self._workers = [
            context.Process(target=_work, args=(world, data, seed + 7919 * i, self._queue, os.getpid()), daemon=True)
            for i in range(data.num_workers)
        ]

    def __enter__(self) -> EpisodeStream:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join(timeout=5)
        self._queue.close()

    def get(self, timeout_s: float = 60.0) -> Episode:
        """Raises: WorldError when a worker failed, died, or gave nothing for `timeout_s`."""
        try:
            item = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            dead = [w.exitcode for w in self._workers if not w.is_alive()]
            found = f"workers ended with codes {dead}" if dead else f"no episode for {timeout_s:.0f} s"
            raise WorldError(
                f"the true world stopped: {found}", hint="run with fewer workers, or look at the log"
            ) from None
        if isinstance(item, WorldsimError):
            raise item
        return item

    def get_nowait(self) -> Episode | None:
        return None if self._queue.empty() else self.get()


def play_episode(world_config: DoomConfig, seed: int, num_frames: int, script: str) -> Episode:
    """One episode in a world of its own; see `_play` for a world that is kept."""
    from worldsim.worlds.doom.world import DoomWorld

    world = DoomWorld(world_config)
    try:
        return _play(world, seed, num_frames, script)
    finally:
        world.close()


def _play(world: object, seed: int, num_frames: int, script: str) -> Episode:
    from worldsim.worlds.doom.explorers import make_explorer
    from worldsim.worlds.doom.world import DoomWorld

    assert isinstance(world, DoomWorld)
    step = world.reset(seed)
    explorer = make_explorer(script, world.layout, world.config, random.Random(seed))
    steps = [step]
    for _ in range(num_frames - 1):
        assert step.pose is not None
        step = world.step(explorer.act(step.pose))
        steps.append(step)
    poses = [(s.pose.x, s.pose.y, s.pose.angle_rad) for s in steps if s.pose is not None]
    return Episode(
        seed=seed,
        frames=np.stack([s.frame for s in steps]),
        actions=np.stack([encode_action(world.action_spec, s.action) for s in steps]),
        pose=np.asarray(poses, dtype=np.float32),
    )


def _work(
    world_config: DoomConfig, data: DataConfig, seed: int, out: Queue[Episode | WorldsimError], parent_pid: int
) -> None:
    from worldsim.worlds.doom.seeds import training_seeds
    from worldsim.worlds.doom.world import DoomWorld

    # SIGTERM must reach `finally`: an engine that is not closed outlives its worker.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    world = DoomWorld(world_config)
    try:
        for episode_seed in training_seeds(random.Random(seed)):
            episode = _play(world, episode_seed, data.episode_frames, data.script)
            while True:
                if os.getppid() != parent_pid:
                    return
                try:
                    out.put(episode, timeout=2.0)
                    break
                except queue.Full:
                    continue
    except WorldsimError as error:
        out.put(error)
    finally:
        world.close()
