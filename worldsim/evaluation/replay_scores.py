"""Scores of a recorded session against another world under the same inputs: other weights, steps, or the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from worldsim.core.errors import RecordingError
from worldsim.core.images import psnr
from worldsim.core.types import Frame
from worldsim.engine.interfaces import SimulatorProtocol
from worldsim.engine.replay import resimulate
from worldsim.episodes.format import frame_hash
from worldsim.episodes.reader import RecordedSession
from worldsim.evaluation.metrics import CHUNK_FRAMES, SSIM_WINDOW, ssim


@dataclass(frozen=True, kw_only=True)
class SideBySideScores:
    """Scores of every frame of a session in order. PSNR in dB, `MAX_PSNR_DB` for equal frames."""

    psnr_db: tuple[float, ...]
    ssim: tuple[float, ...]
    """Empty for frames smaller than the SSIM window."""
    num_equal: int
    num_as_recorded: int
    """Frames that the recorded weights reproduced exactly; if all, the scores are against the recording itself."""


def score_replay(
    session: RecordedSession,
    own: SimulatorProtocol,
    other: SimulatorProtocol,
    num_steps: int | None = None,
    on_frame: Callable[[int], None] = lambda num_frames: None,
) -> SideBySideScores:
    """Replays the session's inputs in `own`, the recorded weights, and in `other`, and compares their frames.

    `num_steps`: denoising steps of `other`. Raises: RecordingError if inputs or frame sizes differ.
    """
    if (other.action_spec, other.frame_shape) != (own.action_spec, own.frame_shape):
        raise RecordingError("inputs or frame sizes differ", hint="use a world with the same inputs and frame size")
    psnr_db: list[float] = []
    similarity: list[float] = []
    num_equal = num_as_recorded = 0
    frames = _frames(session, own, other, num_steps)
    while chunk := list(islice(frames, CHUNK_FRAMES)):
        hashes, own_frames, other_frames = zip(*chunk, strict=True)
        num_as_recorded += sum(
            frame_hash(frame) == recorded for recorded, frame in zip(hashes, own_frames, strict=True)
        )
        num_equal += sum(np.array_equal(a, b) for a, b in zip(own_frames, other_frames, strict=True))
        pair = np.stack(other_frames), np.stack(own_frames)
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
