"""Episodes from a worker process to the trainer: pictures through shared memory, the rest through a queue.

Owns: the slots and who may write into which. Does not own: processes and order (`workers`). The trainer's one thread
takes 1.6 times as many pictures a second out of slots as it unpickles (128x96, a busy core: see the slow test).
One worker puts, one trainer takes. Shapes: T frames, H W rows and columns.
"""

from __future__ import annotations

import queue
from dataclasses import replace
from multiprocessing.context import SpawnContext
from multiprocessing.queues import Queue

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import WorldsimError
from worldsim.training.episode import Episode


class EpisodeQueue:
    """Made by the trainer; goes to the worker as an argument of its process."""

    def __init__(self, context: SpawnContext, shape: tuple[int, ...], *, num_slots: int) -> None:
        """`shape` is that of an episode's frames, (T, H, W, 3)."""
        self._shape = (num_slots, *shape)
        self._memory = context.RawArray("B", int(np.prod(self._shape)))
        self._free: Queue[int] = context.Queue()
        self._full: Queue[tuple[int, Episode] | WorldsimError] = context.Queue()
        for slot in range(num_slots):
            self._free.put(slot)

    def put(self, episode: Episode, *, timeout_s: float) -> bool:
        """Returns: whether there was a free slot within that time; the episode is on its way then."""
        try:
            slot = self._free.get(timeout=timeout_s)
        except queue.Empty:
            return False
        self._slots[slot] = episode.frames
        depth_profile = episode.depth_profile if episode.has_depth_profile else episode.depth_profile[:0]
        self._full.put((slot, replace(episode, frames=episode.frames[:0], depth_profile=depth_profile)))
        return True

    def put_error(self, error: WorldsimError) -> None:
        """In place of an episode."""
        self._full.put(error)

    def get(self, timeout_s: float) -> Episode | WorldsimError:
        """The oldest that was put. Raises: queue.Empty when none comes within that time."""
        item = self._full.get(timeout=timeout_s)
        if isinstance(item, WorldsimError):
            return item
        slot, episode = item
        taken = replace(episode, frames=self._slots[slot].copy())
        self._free.put(slot)
        return taken

    def cancel_join(self) -> None:
        """What nobody takes any more is not waited for. In the worker, before it ends."""
        self._full.cancel_join_thread()

    def close(self) -> None:
        """In the trainer, at the end."""
        self._full.close()
        self._free.close()
        self._free.cancel_join_thread()

    @property
    def _slots(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self._memory, dtype=np.uint8).reshape(self._shape)
