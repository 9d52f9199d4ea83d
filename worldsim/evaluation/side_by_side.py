"""A recorded session beside another world under the same inputs: other weights, other steps, or the true engine.

Owns: the scores, two worlds as one. Does not own: making a session again (`engine.replay`), the true engine where a
preset begins (`engine.reference_world`), the measures (`evaluation.metrics`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from worldsim.core.errors import RecordingError
from worldsim.core.images import GAP_PX, psnr, side_by_side
from worldsim.core.types import Action, ActionSpec, Frame, Step
from worldsim.engine.interfaces import SimulatorProtocol, StageTimes
from worldsim.engine.replay import resimulate
from worldsim.episodes.format import frame_hash
from worldsim.episodes.reader import RecordedSession
from worldsim.evaluation.metrics import CHUNK_FRAMES, SSIM_WINDOW, ssim


@dataclass(frozen=True, kw_only=True)
class SideBySideScores:
    """Of every frame of a session in order. PSNR in dB, at its upper bound where two frames are equal."""

    psnr_db: tuple[float, ...]
    ssim: tuple[float, ...]
    """Empty for frames smaller than its window."""
    num_equal: int
    num_as_recorded: int
    """How many frames the recorded weights made again exactly: if all, it is the recording that was scored against."""


def score_replay(
    session: RecordedSession,
    own: SimulatorProtocol,
    other: SimulatorProtocol,
    num_steps: int | None = None,
    on_frame: Callable[[int], None] = lambda num_frames: None,
) -> SideBySideScores:
    """What `other` makes of the session's inputs, against what `own`, the recorded weights, make again.

    `num_steps`: of `other`. Raises: RecordingError when the worlds have other inputs or frames.
    """
    if (other.action_spec, other.frame_shape) != (own.action_spec, own.frame_shape):
        raise RecordingError("the other world has other inputs or frames", hint="take one of the same world and size")
    psnr_db: list[float] = []
    similarity: list[float] = []
    num_equal = num_as_recorded = 0
    triples = _frames(session, own, other, num_steps)
    while chunk := list(islice(triples, CHUNK_FRAMES)):
        hashes, mine, others = zip(*chunk, strict=True)
        num_as_recorded += sum(frame_hash(frame) == recorded for recorded, frame in zip(hashes, mine, strict=True))
        num_equal += sum(np.array_equal(a, b) for a, b in zip(mine, others, strict=True))
        pair = np.stack(others), np.stack(mine)
        psnr_db += psnr(*pair).tolist()
        if min(own.frame_shape[:2]) >= SSIM_WINDOW:
            similarity += ssim(*pair).tolist()
        on_frame(len(psnr_db))
    return SideBySideScores(
        psnr_db=tuple(psnr_db), ssim=tuple(similarity), num_equal=num_equal, num_as_recorded=num_as_recorded
    )


def _frames(
    session: RecordedSession, own: SimulatorProtocol, other: SimulatorProtocol, num_steps: int | None
) -> Iterator[tuple[str, Frame, Frame]]:
    """(recorded hash, own frame, other frame)."""
    spec = session.header.action_spec
    for episode in session.episodes:
        hashes = (row.frame_hash for row in episode.rows)
        both = resimulate(own, episode, spec), resimulate(other, episode, spec, num_steps)
        yield from zip(hashes, *both, strict=True)


class SideBySideSimulator:
    """Two worlds as one simulator that is given the same actions: their frames side by side, `left` first."""

    def __init__(self, left: SimulatorProtocol, right: SimulatorProtocol) -> None:
        assert left.frame_shape == right.frame_shape, f"{left.frame_shape} is not {right.frame_shape}"
        self._left, self._right = left, right
        self.action_spec: ActionSpec = left.action_spec
        height_px, width_px, channels = left.frame_shape
        self.frame_shape = (height_px, 2 * width_px + GAP_PX, channels)
        self.num_steps = 0

    @property
    def last_times(self) -> StageTimes:
        return self._right.last_times

    def reset(self, seed: int) -> Step:
        return self._both(self._left.reset(seed), self._right.reset(seed))

    def step(self, action: Action) -> Step:
        return self._both(self._left.step(action), self._right.step(action))

    def snapshot(self) -> tuple[Any, Any]:
        return self._left.snapshot(), self._right.snapshot()

    def restore(self, snapshot: tuple[Any, Any]) -> None:
        self._left.restore(snapshot[0])
        self._right.restore(snapshot[1])

    def close(self) -> None:
        self._left.close()
        self._right.close()

    def _both(self, left: Step, right: Step) -> Step:
        return replace(left, frame=side_by_side(left.frame, right.frame))
