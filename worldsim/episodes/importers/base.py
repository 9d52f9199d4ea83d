"""What a reader of another project's data returns, and the parsing that layouts share.

Owns: ImportedEpisode, the two meanings of a row's action, strict reading of npz and JSON lines. Does not own: layouts.
Readers raise RecordingError for a file that is wrong, which is then skipped.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import ConfigError, RecordingError, UsageError, one_line
from worldsim.core.types import ActionSpec, Frame
from worldsim.episodes.video import REGENERATE_HINT

ActionTime: TypeAlias = Literal["before", "after"]
"""before: a row's action led to its frame; after: it was taken in response to that frame and led to the next one."""
ActionArray: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ImportedEpisode:
    """Shapes: actions [T, A], action[t] led to frame t; pose [T, 3]; `frames` can be iterated once and yields T."""

    frames_per_s: float
    action_spec: ActionSpec
    actions: ActionArray = field(repr=False)
    frames: Iterable[Frame] = field(repr=False)
    pose: npt.NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class SourceFormat:
    """A supported data layout."""

    description: str
    """For help texts."""
    suffixes: tuple[str, ...]
    """Of the files with the frames, one per episode."""
    frames_per_s: float | None
    """None: as in the video."""
    action_time: ActionTime
    read: Callable[[Path, ImportOptions], ImportedEpisode]


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the user can specify about their files."""

    frames_per_s: float | None = None
    action_time: ActionTime
    axes: tuple[tuple[str, str], ...] = ()
    """In an action table: the columns that are axes, and their units."""
    classes: tuple[str, ...] = ()
    """Meaning of the numbers of a discrete action; see `parse_action_classes`."""


def subsample(episode: ImportedEpisode, stride: int) -> ImportedEpisode:
    """Keeps every `stride`-th frame. A button held at any time in between counts as held; an axis is averaged, and its
    effect per tick is scaled accordingly.
    """
    if stride == 1:
        return episode
    num_buttons = len(episode.action_spec.buttons)
    ends = np.arange(0, len(episode.actions), stride)
    spans = [episode.actions[max(0, end - stride + 1) : end + 1] for end in ends]
    actions = np.stack([np.append(s[:, :num_buttons].max(0), s[:, num_buttons:].mean(0)) for s in spans])
    units = tuple((axis, _scale_unit(unit, stride)) for axis, unit in episode.action_spec.axis_units)
    return ImportedEpisode(
        frames_per_s=episode.frames_per_s / stride,
        action_spec=replace(episode.action_spec, axis_units=units),
        actions=actions.astype(np.float32),
        frames=islice(episode.frames, None, None, stride),
        pose=None if episode.pose is None else episode.pose[ends],
    )


def _scale_unit(unit: str, stride: int) -> str:
    """Multiplies a unit: "10 deg per tick" becomes "20 deg per tick"; without a number in front, "2 times UNIT"."""
    match = re.match(r"[0-9.]+", unit)
    return f"{float(match[0]) * stride:g}{unit[match.end() :]}" if match else f"{stride} times {unit}"


def align_actions(rows: ActionArray, num_frames: int, time: ActionTime) -> ActionArray:
    """The action that led to each frame; zeros for the first one.

    Raises: RecordingError unless there is one row per frame; with `after`, the last row may be missing.
    """
    if len(rows) != num_frames and not (time == "after" and len(rows) == num_frames - 1):
        raise RecordingError(f"{num_frames} frames, but {len(rows)} actions", hint=REGENERATE_HINT)
    rest = rows[1:] if time == "before" else rows[: num_frames - 1]
    return np.concatenate([np.zeros((1, rows.shape[1]), np.float32), rest])


def parse_action_classes(classes: Sequence[str]) -> tuple[ActionSpec, ActionArray]:
    """Parses what each class does: inputs joined by "+", axes with a value, "noop" for nothing ("forward+turn=-1").

    Returns: the spec, and one vector per class. Raises: UsageError.
    """
    parts = [[] if item == "noop" else [part.partition("=") for part in item.split("+")] for item in classes]
    buttons = dict.fromkeys(name for item in parts for name, sign, _ in item if not sign)
    axes = dict.fromkeys(name for item in parts for name, sign, _ in item if sign)
    vectors = np.zeros((len(classes), len(buttons) + len(axes)), np.float32)
    names = [*buttons, *axes]
    try:
        spec = ActionSpec(buttons=tuple(buttons), axes=tuple(axes))
        for vector, item in zip(vectors, parts, strict=True):
            for name, sign, value in item:
                vector[names.index(name)] = float(value) if sign else 1.0
    except (ValueError, ConfigError) as error:
        raise UsageError(f"--classes {','.join(classes)}: {error}", hint="for example noop,forward,turn=1") from None
    if not all(names) or not names or np.abs(vectors).max() > 1:
        raise UsageError(f"--classes {','.join(classes)}", hint="names, and values from -1 to 1")
    return spec, vectors


def decode_classes(numbers: npt.NDArray[Any], vectors: ActionArray) -> ActionArray:
    """Shapes: [T] integers -> [T, A]. Raises: RecordingError for a number that is not a class."""
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.number):
        raise RecordingError(f"actions are {numbers.dtype} {list(numbers.shape)}, expected [T]", hint=REGENERATE_HINT)
    known = np.isin(numbers, np.arange(len(vectors)))
    if not known.all():
        raise RecordingError(f"action {numbers[~known][0]} is not in 0 to {len(vectors) - 1}", hint=REGENERATE_HINT)
    return vectors[numbers.astype(np.int64)]


def read_npz(path: Path, *names: str) -> list[npt.NDArray[Any]]:
    """Arrays of an npz, without pickles. Raises: RecordingError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise RecordingError("not an npz file", hint=REGENERATE_HINT)
            missing = [name for name in names if name not in file]
            if missing:
                raise RecordingError(f"no array {missing[0]!r}", hint=REGENERATE_HINT)
            return [file[name] for name in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise RecordingError(f"not a valid npz file: {one_line(error)}", hint=REGENERATE_HINT) from None


def check_frames(frames: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Raises: RecordingError unless it is uint8 [T, H, W, 3] with at least one frame."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise RecordingError(
            f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 [T, H, W, 3]", hint=REGENERATE_HINT
        )
    return frames


def sibling_file(path: Path, suffix: str) -> Path:
    """The file of the same name with another suffix. Raises: RecordingError if there is none."""
    other = path.with_suffix(suffix)
    if not other.is_file():
        raise RecordingError(f"there is no {other.name} next to it", hint=REGENERATE_HINT)
    return other


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One JSON object per line. Raises: RecordingError."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise RecordingError(f"{path.name} is not JSON lines: {one_line(error)}", hint=REGENERATE_HINT) from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise RecordingError(f"{path.name} does not contain JSON objects", hint=REGENERATE_HINT)
    return rows
