"""Opens a recorded session, complete or unfinished (as far as its journal goes).

Owns: the view of a recording. Does not own: the layout of the files (`format`), repair (`finalize`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from worldsim.core.config import from_mapping, parse_json
from worldsim.core.errors import ConfigError, RecordingError
from worldsim.core.types import Frame
from worldsim.episodes.format import (
    JOURNAL_FILE,
    POSE_COLUMN,
    SCHEMA_VERSION,
    SESSION_FILE,
    EpisodeStart,
    FrameRow,
    SessionHeader,
    data_path,
    part_path,
    video_path,
)
from worldsim.episodes.journal import RecordedEpisode, pose_tuple, read_journal
from worldsim.episodes.video import LOSSLESS, NEAR_LOSSLESS, read_frames

MAX_META_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class RecordedSession:
    folder: Path
    header: SessionHeader
    episodes: tuple[RecordedEpisode, ...] = field(repr=False)
    is_complete: bool
    is_lossless: bool
    is_being_recorded: bool = False
    queue_high_water: int | None = None

    @property
    def num_frames(self) -> int:
        return sum(len(episode.rows) for episode in self.episodes)

    @property
    def num_missing_images(self) -> int:
        return sum(not row.has_image for episode in self.episodes for row in episode.rows)

    @property
    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def frames(self, episode: int) -> Iterator[Frame]:
        """Frames at their original size; bit-exact only if the recording is lossless."""
        codec = LOSSLESS if self.is_lossless else NEAR_LOSSLESS
        path = (video_path if self.is_complete else part_path)(self.folder, episode)
        return read_frames(path, scale=codec.scale(*self.header.frame_shape[:2]))


def is_session(folder: Path) -> bool:
    return (folder / SESSION_FILE).is_file() or (folder / JOURNAL_FILE).is_file()


def find_sessions(folder: Path) -> list[Path]:
    """The sessions in `folder`, sorted by name; `folder` itself if it is one."""
    if is_session(folder):
        return [folder]
    return sorted(path for path in folder.iterdir() if is_session(path)) if folder.is_dir() else []


def open_session(folder: Path) -> RecordedSession:
    """Raises: RecordingError if it is not a recording or is damaged."""
    if (folder / JOURNAL_FILE).is_file():
        journal = read_journal(folder)
        return RecordedSession(
            folder=folder,
            header=journal.header,
            episodes=tuple(journal.episodes),
            is_complete=False,
            is_lossless=journal.writer.is_lossless,
            is_being_recorded=journal.writer.is_alive,
        )
    if not (folder / SESSION_FILE).is_file():
        raise RecordingError(f"{folder} is not a recorded session", hint="list sessions with `worldsim sessions list`")
    try:
        return _read_complete(folder)
    except (ConfigError, OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        message = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        raise RecordingError(f"{folder} is damaged: {message}", hint="use an intact copy") from None


def _read_complete(folder: Path) -> RecordedSession:
    path = folder / SESSION_FILE
    if path.stat().st_size > MAX_META_BYTES:
        raise RecordingError(f"{path} is larger than {MAX_META_BYTES} bytes", hint="use an intact copy")
    own = parse_json(path.read_text(encoding="utf-8"))
    if own["schema"] != SCHEMA_VERSION:
        raise RecordingError(
            f"{folder} has schema {own['schema']}, this worldsim reads {SCHEMA_VERSION}", hint="update worldsim"
        )
    header = from_mapping(SessionHeader, own["header"], where="header")
    episodes = []
    for index, entry in enumerate(own["episodes"]):
        start = {key: value for key, value in entry.items() if key != "frames"}
        rows = _rows(data_path(folder, index))
        if len(rows) != entry["frames"]:
            raise ValueError(f"episode {index} has {len(rows)} rows, not {entry['frames']}")
        if any(len(row.action) != header.action_spec.size or max(map(abs, row.action)) > 1 for row in rows):
            raise ValueError(f"episode {index} has an action that does not fit the action spec")
        episodes.append(RecordedEpisode(start=from_mapping(EpisodeStart, start, where=f"episodes[{index}]"), rows=rows))
    return RecordedSession(
        folder=folder,
        header=header,
        episodes=tuple(episodes),
        is_complete=bool(own["complete"]),
        is_lossless=bool(own["is_lossless"]),
        queue_high_water=own["queue_high_water"],
    )


def _rows(path: Path) -> list[FrameRow]:
    table = pq.read_table(path)
    values: dict[str, list[Any]] = table.to_pydict()
    actions = [action if isinstance(action, list) else [action] for action in values["action"]]
    poses = [pose_tuple(pose) for pose in values[POSE_COLUMN]] if POSE_COLUMN in values else [None] * len(actions)
    return [
        FrameRow(
            action=tuple(action),
            num_steps=num_steps,
            t_input_ns=t_input_ns,
            t_ready_ns=t_ready_ns,
            frame_hash=frame_hash,
            has_image=has_image,
            pose=pose,
        )
        for action, num_steps, t_input_ns, t_ready_ns, frame_hash, has_image, pose in zip(
            actions,
            *(values[f"worldsim.{name}"] for name in ("num_steps", "t_input_ns", "t_ready_ns")),
            values["worldsim.frame_hash"],
            values["worldsim.has_picture"],
            poses,
            strict=True,
        )
    ]
