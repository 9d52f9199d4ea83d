"""Any game: a video, and a CSV file of the same name with its actions.

The first line names the columns; each is an input, 0 or 1 for a button, -1 to 1 for an axis (listed in `axes`).
One row per frame; or, with a column `time_s`, one row per change, valid from that second of the video on.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from worldsim.core.errors import RecordingError
from worldsim.core.types import ActionSpec
from worldsim.episodes.importers.base import (
    ActionArray,
    ImportedEpisode,
    ImportOptions,
    SourceFormat,
    align_actions,
    sibling_file,
)
from worldsim.episodes.video import read_frames, video_times

TIME = "time_s"


def read(path: Path, options: ImportOptions) -> ImportedEpisode:
    rate, times = video_times(path)
    table = sibling_file(path, ".csv")
    names, rows = _read_csv(table)
    if TIME in names:
        rows = _at_times(rows, names.index(TIME), times)
        names = [name for name in names if name != TIME]
    spec, order = _spec(names, options)
    _check(names, rows, spec)
    return ImportedEpisode(
        frames_per_s=options.frames_per_s or rate,
        action_spec=spec,
        actions=align_actions(rows[:, order], len(times), options.action_time),
        frames=read_frames(path, is_strict=True),
    )


def _read_csv(path: Path) -> tuple[list[str], ActionArray]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head, *lines = csv.reader(file)
            names = [name.strip() for name in head]
            rows = np.array([[float(cell) for cell in line] for line in lines if line], np.float64)
    except (OSError, ValueError, csv.Error) as error:
        raise RecordingError(f"{path.name} is not a table of numbers: {error}", hint="") from None
    if rows.ndim != 2 or rows.shape[1] != len(names) or len(set(names)) != len(names) or not np.isfinite(rows).all():
        raise RecordingError(f"{path.name} is not a table of numbers with {len(names)} different column names", hint="")
    return names, rows.astype(np.float32)


def _at_times(rows: ActionArray, column: int, times: list[float]) -> ActionArray:
    """The latest row at the time of each frame; nothing is held before the first row."""
    when, values = rows[:, column], np.delete(rows, column, axis=1)
    if (np.diff(when) < 0).any():
        raise RecordingError(f"{TIME} is not increasing", hint="")
    newest = np.searchsorted(when, np.array(times, np.float32) + 1e-4, side="right") - 1
    return np.where(newest[:, None] >= 0, values[newest.clip(0)], 0).astype(np.float32)


def _spec(names: list[str], options: ImportOptions) -> tuple[ActionSpec, list[int]]:
    """The spec, and the column of each input."""
    units = dict(options.axes)
    missing = [name for name in units if name not in names]
    if missing:
        raise RecordingError(f"there is no column {missing[0]!r}", hint="")
    buttons, axes = [name for name in names if name not in units], [name for name in names if name in units]
    spec = ActionSpec(
        buttons=tuple(buttons), axes=tuple(axes), axis_units=tuple((axis, units[axis]) for axis in axes if units[axis])
    )
    return spec, [names.index(name) for name in (*buttons, *axes)]


def _check(names: list[str], rows: ActionArray, spec: ActionSpec) -> None:
    for name, values in zip(names, rows.T, strict=True):
        if name in spec.buttons and not np.isin(values, (0, 1)).all():
            wrong = values[~np.isin(values, (0, 1))][0]
            raise RecordingError(f"button {name!r} is {wrong:g}, not 0 or 1; if it is an axis: --axis {name}", hint="")
        if np.abs(values).max(initial=0) > 1:
            raise RecordingError(f"axis {name!r} is outside -1 to 1", hint="")


FORMAT = SourceFormat(
    description="any game: a video, and a CSV file with a column per input",
    suffixes=(".mp4", ".mkv", ".webm", ".mov", ".avi"),
    frames_per_s=None,
    action_time="after",
    read=read,
)
