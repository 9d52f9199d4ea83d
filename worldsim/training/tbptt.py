"""Clips of one episode that are trained one after the other, the state carried between them and its past forgotten:
truncated backpropagation through the state.

Owns: which clip is due, and what is carried. Does not own: losses (`dynamics`), what a state is (`models`).
A chain of clips is drawn as one long clip and all rows begin one together, at an update that their number divides:
there nothing is carried, and there alone a run stops and is saved. So going on after a stop needs no carried state.
Letters: B batch, T frames of a clip, L frames of a chain, C channels, H W rows and columns, A action, P pose.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worldsim.models.state import WorldState


@dataclass(frozen=True, kw_only=True)
class ClipSequence:
    """`first` is where the next clip begins; `state` is what the clips before it left, None where nothing is carried.

    Shapes: clean [B, L, C, H, W], action [B, L, A], target [B, L, P] (NaN where nobody knows the pose), level [B, L]
    or None until it is drawn.
    """

    clean: Tensor
    action: Tensor
    target: Tensor
    level: Tensor | None = None
    state: WorldState | None = None
    first: int = 0

    def clip(self, num_frames: int) -> ClipSequence:
        """The next clip alone."""
        here = slice(self.first, self.first + num_frames)
        level = None if self.level is None else self.level[:, here]
        return replace(
            self, clean=self.clean[:, here], action=self.action[:, here], target=self.target[:, here], level=level
        )

    def state_of_rows(self, rows: slice) -> WorldState | None:
        return self.state and self.state.map(lambda tensor: tensor[rows])

    @property
    def is_done(self) -> bool:
        return self.first >= self.clean.shape[1]

    def advance(self, num_frames: int, ends: Sequence[WorldState | None]) -> ClipSequence:
        """When the next clip has left these states, of some rows each. No gradient goes back through them."""
        states = [end for end in ends if end is not None]
        tensors = {name: torch.cat([s.tensors[name].detach() for s in states]) for name in states[0].tensors}
        return replace(self, state=replace(states[0], tensors=tensors), first=self.first + num_frames)


class ClipSequences:
    """Of the batches of one update there may be several (`accumulate`), each with a chain of its own, in turn."""

    def __init__(self, num_clips: int, draw: Callable[[], ClipSequence]) -> None:
        """`draw` begins a chain of `num_clips` clips."""
        self._num_clips, self._draw = num_clips, draw
        self._pending: deque[ClipSequence] = deque()

    def next(self, num_updates: int) -> ClipSequence:
        """Where none waits a new one begins: also after an error was saved in between, and it is then cut short."""
        is_new = num_updates % self._num_clips == 0 or not self._pending
        return self._draw() if is_new else self._pending.popleft()

    def put_back(self, sequence: ClipSequence, num_updates: int) -> None:
        """For the update after this one, if it goes on."""
        if not sequence.is_done and (num_updates + 1) % self._num_clips:
            self._pending.append(sequence)
