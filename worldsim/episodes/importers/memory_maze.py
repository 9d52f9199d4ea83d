"""Offline data of Memory Maze: npz files of 1001 steps with image, one-hot last action, agent_pos, agent_dir.

Reads and writes them; their other arrays are not needed. Source: Pasukonis et al., Evaluating Long-Term Memory in 3D
Mazes, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import RecordingError
from worldsim.core.files import atomic_path
from worldsim.core.types import ActionSpec
from worldsim.episodes.importers.base import (
    ImportedEpisode,
    ImportOptions,
    SourceFormat,
    align_actions,
    check_frames,
    parse_action_classes,
    read_npz,
)

CLASSES = ("noop", "forward", "turn=1", "turn=-1", "forward+turn=1", "forward+turn=-1")
"""turn=1 is left, as in the worlds of this project."""


def read(path: Path, options: ImportOptions) -> ImportedEpisode:
    image, action, position, direction = read_npz(path, "image", "action", "agent_pos", "agent_dir")
    frames = check_frames(image)
    spec, vectors = parse_action_classes(options.classes or CLASSES)
    if action.shape != (len(frames), len(vectors)) or not (np.sort(action[1:])[:, -2:] == (0, 1)).all():
        raise RecordingError(
            f"{len(frames)} frames, actions {list(action.shape)}; expected one-hot rows of {len(vectors)}", hint=""
        )
    return ImportedEpisode(
        frames_per_s=options.frames_per_s or FORMAT.frames_per_s or 0.0,
        action_spec=spec,
        actions=align_actions(vectors[action.argmax(1)], len(frames), options.action_time),
        frames=frames,
        pose=_pose(position, direction, len(frames)),
    )


def one_hot(rows: npt.NDArray[np.float32], spec: ActionSpec) -> npt.NDArray[np.uint8]:
    """One-hot classes. Shapes: [T, A] -> [T, 6]. Raises: RecordingError for an action that is none of the six."""
    known, vectors = parse_action_classes(CLASSES)
    if not {*known.buttons, *known.axes} <= {*spec.buttons, *spec.axes}:
        raise RecordingError(f"its inputs lack {' or '.join((*known.buttons, *known.axes))}", hint="")
    order = [(*spec.buttons, *spec.axes).index(name) for name in (*known.buttons, *known.axes)]
    same = (rows[:, None, order] == vectors).all(-1)
    other = np.delete(rows, order, axis=1).any(1)
    if not same.any(1).all() or other.any():
        wrong = rows[~same.any(1) | other][0]
        raise RecordingError(f"an action is {wrong.tolist()}, none of {', '.join(CLASSES)}", hint="")
    return same.astype(np.uint8)


def pose_arrays(pose: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float64]]:
    """agent_pos and agent_dir, from which `read` restores the same poses bit for bit (angles within a half turn)."""
    angle = pose[:, 2].astype(np.float64)
    return {"agent_pos": pose[:, :2].astype(np.float64), "agent_dir": np.column_stack([np.cos(angle), np.sin(angle)])}


def write(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raises: StorageError."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def _pose(position: npt.NDArray[np.floating], direction: npt.NDArray[np.floating], num: int) -> npt.NDArray[np.float32]:
    if position.shape != (num, 2) or direction.shape != (num, 2):
        raise RecordingError(f"agent_pos {list(position.shape)}, agent_dir {list(direction.shape)}", hint="")
    pose = np.column_stack([position, np.arctan2(direction[:, 1], direction[:, 0])]).astype(np.float32)
    if not np.isfinite(pose).all():
        raise RecordingError("agent_pos or agent_dir is not finite", hint="")
    return pose


FORMAT = SourceFormat(
    description="Memory Maze offline data: npz with image, action (one-hot), agent_pos, agent_dir",
    suffixes=(".npz",),
    frames_per_s=4.0,
    action_time="before",
    read=read,
)
