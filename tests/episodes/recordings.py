"""Short recordings of synthetic frames, for tests of the format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from worldsim.core.types import ActionSpec, Frame
from worldsim.episodes.format import EpisodeStart, FrameRow, SessionHeader, frame_hash
from worldsim.episodes.writer import SessionWriter

SPEC = ActionSpec(buttons=("forward", "back"), axes=("turn",))
HEADER = SessionHeader(
    preset="synthetic",
    preset_ref="synthetic",
    preset_sha256="0" * 64,
    worldsim="0.1.0",
    num_steps=1,
    frames_per_s=17.5,
    frame_shape=(48, 64, 3),
    action_spec=SPEC,
)


def synthetic_frame(index: int) -> Frame:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.roll(np.kron(blocks, np.ones((8, 8, 1), np.uint8)), index, axis=1)


def synthetic_row(index: int, t_ns: int = 0) -> FrameRow:
    action = (float(index > 0), 0.0, round(np.sin(index), 3) if index else 0.0)
    return FrameRow(
        action=tuple(map(float, np.asarray(action, np.float32))),
        num_steps=int(index > 0),
        t_input_ns=index,
        t_ready_ns=t_ns or index + 1,
        frame_hash=frame_hash(synthetic_frame(index)),
    )


def record(folder: Path, *lengths: int, **options: Any) -> SessionWriter:
    """One episode per length, seeds 0, 1, ...; closed."""
    writer = SessionWriter(folder, HEADER, **options)
    for seed, num_frames in enumerate(lengths):
        writer.begin_episode(EpisodeStart(seed=seed))
        for index in range(num_frames):
            writer.add_frame(synthetic_row(index), synthetic_frame(index))
    writer.close()
    return writer
