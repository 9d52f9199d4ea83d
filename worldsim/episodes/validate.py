"""Validates a folder of sessions, decoding every frame, and computes statistics.

Owns: the checks (frames, rows, times, hashes, tables against each other) and the statistics. Does not own: repair
(`finalize`), display (`cli.data`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from worldsim.core.errors import RecordingError
from worldsim.core.images import resize
from worldsim.core.types import Frame
from worldsim.episodes.format import INFO_FILE, data_path, frame_hash, video_path
from worldsim.episodes.journal import RecordedEpisode
from worldsim.episodes.reader import RecordedSession, find_sessions, open_session
from worldsim.episodes.video import video_times

AXIS_BINS = (-1.0, -0.6, -0.2, 0.2, 0.6, 1.0)


@dataclass(kw_only=True)
class ValidationReport:
    """Problems and statistics. Fractions and brightness are from 0 to 1."""

    sessions: int = 0
    episodes: int = 0
    frames: int = 0
    seconds: float = 0.0
    missing_images: int = 0
    """Frames dropped during recording because the disk was slow; not a problem by themselves."""
    hashes_compared: int = 0
    poses: int = 0
    lossless_sessions: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    rates: Counter[float] = field(default_factory=Counter)
    shortest_episode: int | None = None
    longest_episode: int | None = None
    still_frames: int = 0
    """Frames equal to the previous one."""
    brightness: list[npt.NDArray[np.float32]] = field(default_factory=list, repr=False)
    """Mean of each frame, by episode."""
    inputs: dict[str, list[npt.NDArray[np.float32]]] = field(default_factory=dict, repr=False)
    is_button: dict[str, bool] = field(default_factory=dict, repr=False)
    idle_frames: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    """(session, problem)."""
    samples: list[Frame] = field(default_factory=list, repr=False)
    """Evenly spaced over all frames, resized to the first one's size."""

    def statistics(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        light = np.concatenate([*self.brightness, np.zeros(0 if self.brightness else 1, np.float32)])
        return {
            "sessions": self.sessions,
            "episodes": self.episodes,
            "frames": self.frames,
            "minutes": self.seconds / 60,
            "shortest_episode": self.shortest_episode,
            "longest_episode": self.longest_episode,
            "sizes": dict(self.sizes),
            "frames_per_s": {f"{rate:g}": count for rate, count in self.rates.items()},
            "lossless_sessions": self.lossless_sessions,
            "pictures_missing": self.missing_images,
            "still_frames": self.still_frames,
            "hashes_compared": self.hashes_compared,
            "poses": self.poses,
            "idle_share": self.idle_frames / max(self.frames, 1),
            "actions": {name: self._input(name) for name in self.inputs},
            "brightness": {
                "mean": float(light.mean()),
                "std": float(light.std()),
                "min": float(light.min()),
                "max": float(light.max()),
            },
            "faults": [{"session": session, "fault": fault} for session, fault in self.faults],
        }

    def _input(self, name: str) -> dict[str, Any]:
        values = np.concatenate(self.inputs[name])
        if self.is_button[name]:
            return {"kind": "button", "held_share": float((values > 0.5).mean())}
        counts, _ = np.histogram(values, AXIS_BINS)
        return {
            "kind": "axis",
            "mean": float(values.mean()),
            "std": float(values.std()),
            "min": float(values.min()),
            "max": float(values.max()),
            "histogram": counts.tolist(),
            "bins": list(AXIS_BINS),
        }


@dataclass(frozen=True, kw_only=True)
class DatasetIndex:
    """The sessions to check, without rows: a dataset can be larger than memory."""

    folders: tuple[Path, ...]
    num_frames: int
    faults: tuple[tuple[str, str], ...]
    """(session, why it cannot be opened)."""


def index_sessions(folder: Path) -> DatasetIndex:
    """Raises: RecordingError if there are no sessions."""
    paths = find_sessions(folder)
    if not paths:
        raise RecordingError(f"{folder} contains no session", hint="import some with `worldsim data import`")
    complete, total, faults = [], 0, []
    for path in paths:
        try:
            session = open_session(path)
        except RecordingError as error:
            faults.append((path.name, error.message))
            continue
        if session.is_complete:
            complete.append(path)
            total += session.num_frames
        else:
            fault = "being recorded" if session.is_being_recorded else f"unfinished: worldsim sessions repair {path}"
            faults.append((path.name, fault))
    return DatasetIndex(folders=tuple(complete), num_frames=total, faults=tuple(faults))


def validate_sessions(
    index: DatasetIndex, *, num_samples: int, on_progress: Callable[[int], None] = lambda num_frames: None
) -> ValidationReport:
    """`on_progress(num_frames)` is called for every frame."""
    report = ValidationReport(faults=list(index.faults))
    last, count = index.num_frames - 1, min(num_samples, index.num_frames)
    sampler = _Sampler(report.samples, iter(np.unique(np.linspace(0, last, count).astype(int)).tolist()))
    for folder in index.folders:
        _validate_session(open_session(folder), report, sampler, on_progress)
    return report


class _Sampler:
    """Keeps selected frames of a stream."""

    def __init__(self, samples: list[Frame], wanted: Iterator[int]) -> None:
        self._samples, self._wanted, self._index = samples, wanted, 0
        self._next = next(wanted, None)

    def add(self, frame: Frame) -> None:
        if self._index == self._next:
            shape = (self._samples or [frame])[0].shape
            self._samples.append(resize(frame, shape[0], shape[1]))
            self._next = next(self._wanted, None)
        self._index += 1


def _validate_session(
    session: RecordedSession, report: ValidationReport, sampler: _Sampler, on_progress: Callable[[int], None]
) -> None:
    header, begin = session.header, 0
    height_px, width_px, _ = header.frame_shape
    report.sessions += 1
    report.seconds += session.num_frames / header.frames_per_s
    report.lossless_sessions += session.is_lossless
    report.missing_images += session.num_missing_images
    report.sizes[f"{width_px}x{height_px}"] += session.num_frames
    report.rates[header.frames_per_s] += session.num_frames
    faults = [*_info_faults(session)]
    for index, episode in enumerate(session.episodes):
        faults += [f"episode {index}: {fault}" for fault in _row_faults(session, index, begin)]
        faults += [f"episode {index}: {fault}" for fault in _video_faults(session, index, report, sampler, on_progress)]
        _count_actions(session, episode, report)
        begin += len(episode.rows)
    report.faults += [(session.folder.name, fault) for fault in faults]


def _info_faults(session: RecordedSession) -> Iterator[str]:
    try:
        info = json.loads((session.folder / INFO_FILE).read_text(encoding="utf-8"))
        found = (info["total_episodes"], info["total_frames"], float(info["fps"]), info["features"]["action"]["shape"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{INFO_FILE} cannot be read: {type(error).__name__} {error}"
        return
    header = session.header
    expected = (len(session.episodes), session.num_frames, header.frames_per_s, [header.action_spec.size])
    if found != expected:
        yield f"{INFO_FILE} has (episodes, frames, rate, inputs) {found}, the session has {expected}"


def _row_faults(session: RecordedSession, index: int, begin: int) -> Iterator[str]:
    rows, spec = session.episodes[index].rows, session.header.action_spec
    table = pq.read_table(data_path(session.folder, index), columns=["timestamp", "frame_index", "index"])
    numbers = np.arange(len(rows))
    if (table["frame_index"].to_numpy() != numbers).any() or (table["index"].to_numpy() != begin + numbers).any():
        yield "row numbers are not consecutive"
    late_s = np.abs(table["timestamp"].to_numpy() - numbers / session.header.frames_per_s).max()
    if late_s > 0.5 / session.header.frames_per_s:
        yield f"a row's timestamp is off by {late_s:.3f} s"
    times_ns = np.array([row.t_ready_ns for row in rows])
    if (np.diff(times_ns) < 0).any():
        yield "frame timestamps are not monotonic"
    actions = np.array([row.action for row in rows])
    if not np.isfinite(actions).all() or (actions[:, : len(spec.buttons)] % 1).any() or (actions < -1).any():
        yield "an action is out of range: buttons are 0 or 1, axes -1 to 1"
    if (actions[:, : len(spec.buttons)] < 0).any():
        yield "a button is below 0"
    if not np.isfinite([row.pose for row in rows if row.pose is not None]).all():
        yield "a pose is not finite"


def _video_faults(
    session: RecordedSession,
    index: int,
    report: ValidationReport,
    sampler: _Sampler,
    on_progress: Callable[[int], None],
) -> Iterator[str]:
    rows, header = session.episodes[index].rows, session.header
    count, wrong_hash, previous, brightness = 0, None, None, []
    try:
        _, times = video_times(video_path(session.folder, index))
        late_s = max(abs(time_s - number / header.frames_per_s) for number, time_s in enumerate(times))
        if late_s > 0.5 / header.frames_per_s:
            yield f"a video frame's timestamp is off by {late_s:.3f} s"
        for frame in session.frames(index):
            if frame.shape != header.frame_shape:
                yield f"frames are {frame.shape}, expected {header.frame_shape}"
                return
            if count < len(rows) and session.is_lossless and rows[count].has_image:
                report.hashes_compared += 1
                if frame_hash(frame) != rows[count].frame_hash and wrong_hash is None:
                    wrong_hash = count
            report.still_frames += previous is not None and bool(np.array_equal(frame, previous))
            brightness.append(float(frame.mean()) / 255)
            sampler.add(frame)
            previous = frame
            count += 1
            on_progress(1)
    except (RecordingError, ValueError) as error:  # ValueError: a size that is not a multiple of the scale
        yield f"video: {getattr(error, 'message', error)}"
    report.brightness.append(np.array(brightness, np.float32))
    if count != len(rows):
        yield f"{count} frames decode, but there are {len(rows)} rows"
    if wrong_hash is not None:
        yield f"frame {wrong_hash} differs from the recorded one (hash mismatch)"


def _count_actions(session: RecordedSession, episode: RecordedEpisode, report: ValidationReport) -> None:
    spec, rows = session.header.action_spec, episode.rows
    actions = np.array([row.action for row in rows], np.float32)
    for name, values in zip((*spec.buttons, *spec.axes), actions.T, strict=True):
        report.inputs.setdefault(name, []).append(values)
        report.is_button[name] = name in spec.buttons
    lengths = [n for n in (report.shortest_episode, report.longest_episode, len(rows)) if n is not None]
    report.shortest_episode, report.longest_episode = min(lengths), max(lengths)
    report.episodes += 1
    report.frames += len(rows)
    report.idle_frames += int((actions == 0).all(1).sum())
    report.poses += sum(row.pose is not None for row in rows)
