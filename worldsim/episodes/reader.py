"""A recorded session, opened: complete, or as far as its journal goes.

Owns: what may be asked of a recording. Does not own: the files' layout (`format`), mending (`finalize`).
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
    JOURNAL,
    POSE,
    SCHEMA_VERSION,
    WORLDSIM,
    EpisodeStart,
    Header,
    Row,
    data_path,
    part_path,
    video_path,
)
from worldsim.episodes.journal import Episode, pose_of, read_journal
from worldsim.episodes.video import LOSSLESS, WATCHING, read_pictures

MAX_META_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class RecordedSession:
    folder: Path
    header: Header
    episodes: tuple[Episode, ...] = field(repr=False)
    is_complete: bool
    is_lossless: bool
    is_being_recorded: bool = False
    queue_high_water: int | None = None

    @property
    def num_frames(self) -> int:
        return sum(len(episode.rows) for episode in self.episodes)

    @property
    def num_pictures_missing(self) -> int:
        return sum(not row.has_picture for episode in self.episodes for row in episode.rows)

    @property
    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def pictures(self, episode: int) -> Iterator[Frame]:
        """At the size in which they were made; bit for bit only where the recording is lossless."""
        codec = LOSSLESS if self.is_lossless else WATCHING
        path = (video_path if self.is_complete else part_path)(self.folder, episode)
        return read_pictures(path, scale=codec.scale(*self.header.frame_shape[:2]))


def is_session(folder: Path) -> bool:
    return (folder / WORLDSIM).is_file() or (folder / JOURNAL).is_file()


def find_sessions(folder: Path) -> list[Path]:
    """The sessions that lie in `folder`, by name; itself, if it is one."""
    if is_session(folder):
        return [folder]
    return sorted(path for path in folder.iterdir() if is_session(path)) if folder.is_dir() else []


def open_session(folder: Path) -> RecordedSession:
    """Raises: RecordingError when it is no recording or is damaged."""
    if (folder / JOURNAL).is_file():
        journal = read_journal(folder)
        return RecordedSession(
            folder=folder,
            header=journal.header,
            episodes=tuple(journal.episodes),
            is_complete=False,
            is_lossless=journal.writing.is_lossless,
            is_being_recorded=journal.writing.is_alive,
        )
    if not (folder / WORLDSIM).is_file():
        raise RecordingError(f"{folder} is not a recorded session", hint="worldsim sessions list shows what there is")
    try:
        return _complete(folder)
    except (ConfigError, OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        message = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        raise RecordingError(f"{folder} is damaged: {message}", hint="take a copy that is whole") from None


def _complete(folder: Path) -> RecordedSession:
    path = folder / WORLDSIM
    if path.stat().st_size > MAX_META_BYTES:
        raise RecordingError(f"{path} is larger than {MAX_META_BYTES} bytes", hint="take a copy that is whole")
    own = parse_json(path.read_text(encoding="utf-8"))
    if own["schema"] != SCHEMA_VERSION:
        raise RecordingError(f"{folder} has schema {own['schema']}, this is {SCHEMA_VERSION}", hint="update worldsim")
    header = from_mapping(Header, own["header"], where="header")
    episodes = []
    for index, entry in enumerate(own["episodes"]):
        start = {key: value for key, value in entry.items() if key != "frames"}
        rows = _rows(data_path(folder, index))
        if len(rows) != entry["frames"]:
            raise ValueError(f"episode {index} has {len(rows)} rows, not {entry['frames']}")
        if any(len(row.action) != header.action_spec.size or max(map(abs, row.action)) > 1 for row in rows):
            raise ValueError(f"episode {index} has an action that does not fit the action spec")
        episodes.append(Episode(start=from_mapping(EpisodeStart, start, where=f"episodes[{index}]"), rows=rows))
    return RecordedSession(
        folder=folder,
        header=header,
        episodes=tuple(episodes),
        is_complete=bool(own["complete"]),
        is_lossless=bool(own["is_lossless"]),
        queue_high_water=own["queue_high_water"],
    )


def _rows(path: Path) -> list[Row]:
    table = pq.read_table(path)
    values: dict[str, list[Any]] = table.to_pydict()
    actions = [action if isinstance(action, list) else [action] for action in values["action"]]
    poses = [pose_of(pose) for pose in values[POSE]] if POSE in values else [None] * len(actions)
    return [
        Row(
            action=tuple(action),
            num_steps=num_steps,
            t_input_ns=t_input_ns,
            t_ready_ns=t_ready_ns,
            frame_hash=frame_hash,
            has_picture=has_picture,
            pose=pose,
        )
        for action, num_steps, t_input_ns, t_ready_ns, frame_hash, has_picture, pose in zip(
            actions,
            *(values[f"worldsim.{name}"] for name in ("num_steps", "t_input_ns", "t_ready_ns")),
            values["worldsim.frame_hash"],
            values["worldsim.has_picture"],
            poses,
            strict=True,
        )
    ]
