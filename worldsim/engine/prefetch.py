"""Frames made before they are asked for, and how many of them are worth making.

Owns: the queue, its depth. Does not own: the making (`engine.worker`, whose lock guards this). No threads of its own.

A deeper queue rides out frames that take long, but costs more in vain when the action changes, and then the model is
more often at a frame that nobody wants. So it deepens while one action is held and the model has time to spare, and is
as shallow as it began after every wrong guess.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from worldsim.core.errors import WorldsimError
from worldsim.core.types import Action, Step

FULL_TAKES_TO_DEEPEN = 4
"""Deeper by one after so many frames in a row that were asked for when the queue was full."""


@dataclass(frozen=True, kw_only=True)
class PrefetchedFrame:
    """One frame, or the error that came instead. An error made ahead only counts if its action is asked for."""

    action: Action
    step: Step | None = None
    snapshot: Any = None
    error: WorldsimError | None = None
    ready_ns: int = 0


class Prefetch:
    """`depth` is how many frames may wait now: 0 if `max_depth` is, else 1 to `max_depth`."""

    def __init__(self, max_depth: int) -> None:
        assert max_depth >= 0, max_depth
        self._max_depth = max_depth
        self.depth = min(1, max_depth)
        self._made: deque[PrefetchedFrame] = deque()
        self._num_full_takes = 0

    def __len__(self) -> int:
        return len(self._made)

    @property
    def has_room(self) -> bool:
        return len(self._made) < self.depth

    @property
    def predicted_actions(self) -> tuple[Action, ...]:
        """The actions of the frames that wait, the next one first."""
        return tuple(made.action for made in self._made)

    @property
    def tip(self) -> PrefetchedFrame | None:
        """The last one: the next is made from there."""
        return self._made[-1] if self._made else None

    def add(self, made: PrefetchedFrame) -> None:
        self._made.append(made)

    def take(self) -> PrefetchedFrame | None:
        """The next frame was asked for, and rightly foreseen. Returns: it; None while it is still being made."""
        self._num_full_takes = self._num_full_takes + 1 if self._made and not self.has_room else 0
        if self._num_full_takes >= FULL_TAKES_TO_DEEPEN and self.depth < self._max_depth:
            self.depth, self._num_full_takes = self.depth + 1, 0
        return self._made.popleft() if self._made else None

    def drop(self) -> int:
        """They were made under a wrong guess. Returns: how many were in vain."""
        num_dropped = len(self._made)
        self._made.clear()
        self.depth, self._num_full_takes = min(1, self._max_depth), 0
        return num_dropped
