"""The write-ahead journal of a session: JSON arrays, one per line, readable after a crash at any point.

Owns: its lines, and the rule that the first torn line ends it. Does not own: when it is written (`episodes.writer`).
Line 1 is the header; then one line per episode and one line per frame.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from worldsim.core.config import from_mapping, parse_json, to_mapping
from worldsim.core.errors import ConfigError, RecordingError
from worldsim.episodes.format import JOURNAL_FILE, EpisodeStart, FrameRow, SessionHeader

_HEADER, _EPISODE, _FRAME = "session", "episode", "frame"


@dataclass(frozen=True, kw_only=True)
class WriterInfo:
    """The process that writes a journal, and its video codec."""

    pid: int
    process_started_s: float
    is_lossless: bool = False

    @property
    def is_alive(self) -> bool:
        try:
            return abs(psutil.Process(self.pid).create_time() - self.process_started_s) < 1.0
        except psutil.Error:
            return False


@dataclass(frozen=True, kw_only=True)
class RecordedEpisode:
    start: EpisodeStart
    rows: list[FrameRow] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Journal:
    header: SessionHeader
    writer: WriterInfo
    episodes: list[RecordedEpisode]
    """Those with at least one frame."""


def current_writer_info(*, is_lossless: bool) -> WriterInfo:
    pid = os.getpid()
    return WriterInfo(pid=pid, process_started_s=psutil.Process(pid).create_time(), is_lossless=is_lossless)


class JournalFile:
    """Writes lines to a binary file. Every method raises OSError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write_header(self, header: SessionHeader, writer: WriterInfo) -> None:
        self._write([[_HEADER, to_mapping(header), to_mapping(writer)]])

    def write_episode(self, start: EpisodeStart) -> None:
        self._write([[_EPISODE, to_mapping(start)]])

    def write_rows(self, rows: Iterable[FrameRow]) -> None:
        """One line per row: action, steps, times, hash, whether it has an image, and the pose if known."""
        self._write(
            [_FRAME, r.action, r.num_steps, r.t_input_ns, r.t_ready_ns, r.frame_hash, int(r.has_image)]
            + ([] if r.pose is None else [r.pose])
            for r in rows
        )

    def flush(self) -> None:
        """Makes what was written survive the death of this process."""
        self._file.flush()

    def sync(self) -> None:
        """Makes what was written survive a power failure."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _write(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")


def read_journal(folder: Path) -> Journal:
    """Reads up to the first torn line. Raises: RecordingError if the header itself is torn."""
    path = folder / JOURNAL_FILE
    lines = _complete_lines(path)
    try:
        empty: list[Any] = [None, {}, {}]
        kind, header, writer = next(lines, empty)
        if kind != _HEADER:
            raise ConfigError("no header", hint="")
        journal = Journal(
            header=from_mapping(SessionHeader, header, where="header"),
            writer=from_mapping(WriterInfo, writer, where="writing"),
            episodes=[],
        )
    except (ConfigError, TypeError, ValueError) as error:
        raise RecordingError(f"{path} has no valid header ({error})", hint="nothing was recorded: delete it") from None
    for line in lines:
        try:
            if line[0] == _EPISODE:
                journal.episodes.append(RecordedEpisode(start=from_mapping(EpisodeStart, line[1], where="episode")))
            else:
                journal.episodes[-1].rows.append(_row(line))
        except (ConfigError, TypeError, ValueError, IndexError, KeyError):
            break
    journal.episodes[:] = [episode for episode in journal.episodes if episode.rows]
    return journal


def pose_tuple(values: Iterable[Any]) -> tuple[float, float, float]:
    x, y, angle_rad = map(float, values)
    return x, y, angle_rad


def _row(line: list[Any]) -> FrameRow:
    kind, action, num_steps, t_input_ns, t_ready_ns, frame_hash, has_image, *pose = line
    if kind != _FRAME:
        raise ValueError(kind)
    return FrameRow(
        action=tuple(map(float, action)),
        num_steps=int(num_steps),
        t_input_ns=int(t_input_ns),
        t_ready_ns=int(t_ready_ns),
        frame_hash=str(frame_hash),
        has_image=bool(has_image),
        pose=pose_tuple(pose[0]) if pose else None,
    )


def _complete_lines(path: Path) -> Iterator[list[Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    if not line.endswith(b"\n"):
                        return
                    yield parse_json(line.decode())
                except ValueError:
                    return
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}", hint="check path and permissions") from None
