"""What a foreign recording comes down to, and the reading that layouts share.

Owns: Take, the two meanings of a row's action, strict reading of npz and video. Does not own: any layout.
Every reader raises RecordingError, which says what is wrong with the file: it is then left out.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
import numpy as np
import numpy.typing as npt

from worldsim.core.errors import ConfigError, RecordingError, UsageError
from worldsim.core.types import ActionSpec, Frame

ActionTime: TypeAlias = Literal["before", "after"]
"""before: a row's action led to its frame; after: it was taken once that frame was seen, and led to the next."""
ActionArray: TypeAlias = npt.NDArray[np.float32]

_REGENERATE_HINT = "make it again, or leave it out"


@dataclass(frozen=True, kw_only=True)
class ImportedEpisode:
    """One episode. Shapes: actions [T, A], action[t] led to frame t; pose [T, 3]; `frames` gives T pictures, once."""

    frames_per_s: float
    action_spec: ActionSpec
    actions: ActionArray = field(repr=False)
    frames: Iterable[Frame] = field(repr=False)
    pose: npt.NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class SourceFormat:
    """A kind of foreign data."""

    description: str
    """For help."""
    suffixes: tuple[str, ...]
    """Of the files that hold the pictures: one episode each."""
    frames_per_s: float | None
    """None: as the video says."""
    action_time: ActionTime
    read: Callable[[Path, ImportOptions], ImportedEpisode]


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a person may say about their files."""

    frames_per_s: float | None = None
    action_time: ActionTime
    axes: tuple[tuple[str, str], ...] = ()
    """Of a table of actions: the columns that are axes, and their units."""
    classes: tuple[str, ...] = ()
    """What the numbers of a discrete action mean; see `parse_action_classes`."""


def subsample(episode: ImportedEpisode, stride: int) -> ImportedEpisode:
    """Each `stride`-th frame alone. A button that was held on the way counts as held; an axis has its mean, and what it
    does in a tick is that many times more.
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
    """ "10 deg per tick" twice is "20 deg per tick"; a unit that begins with no number is only named."""
    match = re.match(r"[0-9.]+", unit)
    return f"{float(match[0]) * stride:g}{unit[match.end() :]}" if match else f"{stride} times {unit}"


def align_actions(rows: ActionArray, num_frames: int, time: ActionTime) -> ActionArray:
    """The rows as the action that led to each frame; nothing led to the first.

    Raises: RecordingError unless there is one per frame; the last may be missing where it would lead to none.
    """
    if len(rows) != num_frames and not (time == "after" and len(rows) == num_frames - 1):
        raise RecordingError(f"{num_frames} frames, but {len(rows)} actions", hint=_REGENERATE_HINT)
    rest = rows[1:] if time == "before" else rows[: num_frames - 1]
    return np.concatenate([np.zeros((1, rows.shape[1]), np.float32), rest])


def parse_action_classes(classes: Sequence[str]) -> tuple[ActionSpec, ActionArray]:
    """From what each class does: a "+" between inputs, a value behind an axis, "noop" for none ("forward+turn=-1").

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
    """Shapes: [T] whole numbers -> [T, A]. Raises: RecordingError for one that is no class."""
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.number):
        raise RecordingError(f"actions are {numbers.dtype} {list(numbers.shape)}, expected [T]", hint=_REGENERATE_HINT)
    known = np.isin(numbers, np.arange(len(vectors)))
    if not known.all():
        raise RecordingError(f"an action is {numbers[~known][0]}, not 0 to {len(vectors) - 1}", hint=_REGENERATE_HINT)
    return vectors[numbers.astype(np.int64)]


def read_npz(path: Path, *names: str) -> list[npt.NDArray[Any]]:
    """Those arrays of an npz; never a pickle."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise RecordingError("it is not an npz", hint=_REGENERATE_HINT)
            missing = [name for name in names if name not in file]
            if missing:
                raise RecordingError(f"it has no array {missing[0]!r}", hint=_REGENERATE_HINT)
            return [file[name] for name in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise RecordingError(f"it is no whole npz: {_one_line(error)}", hint=_REGENERATE_HINT) from None


def check_frames(frames: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Raises: RecordingError unless it is uint8 [T, H, W, 3] with at least one frame."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise RecordingError(
            f"pictures are {frames.dtype} {list(frames.shape)}, expected uint8 [T, H, W, 3]", hint=_REGENERATE_HINT
        )
    return frames


def sibling_file(path: Path, suffix: str) -> Path:
    """The file of the same name with another ending. Raises: RecordingError when there is none."""
    other = path.with_suffix(suffix)
    if not other.is_file():
        raise RecordingError(f"there is no {other.name} beside it", hint=_REGENERATE_HINT)
    return other


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One JSON object per line."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise RecordingError(
            f"{path.name} is not JSON, line by line: {_one_line(error)}", hint=_REGENERATE_HINT
        ) from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise RecordingError(f"{path.name} does not hold JSON objects", hint=_REGENERATE_HINT)
    return rows


def video_times(path: Path) -> tuple[float, list[float]]:
    """Frames per second, and when each picture is shown (seconds from the first one), without decoding any."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate, base = stream.average_rate, stream.time_base
            shown = sorted(p.pts for p in container.demux(stream) if p.size and p.pts is not None)
    except (OSError, av.FFmpegError, IndexError) as error:
        raise RecordingError(f"it is no whole video: {_one_line(error)}", hint=_REGENERATE_HINT) from None
    if not rate or base is None or not shown:
        raise RecordingError("it is no whole video: no picture in it", hint=_REGENERATE_HINT)
    return float(rate), [float((pts - shown[0]) * base) for pts in shown]


def video_frames(path: Path) -> Iterator[Frame]:
    """Every picture. Unlike `video.read_frames`, what breaks off is an error."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for picture in container.decode(stream):
                yield picture.to_ndarray(format="rgb24")
    except (OSError, av.FFmpegError, IndexError) as error:
        raise RecordingError(f"a picture does not decode: {_one_line(error)}", hint=_REGENERATE_HINT) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
