"""Recordings as training data: found, compared with the preset, cut into segments, and read by a thread.

`episodes` defines the format; `replay_buffer` samples clips from the segments. Recordings are never changed.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from worldsim.core.errors import (
    ConfigError,
    PresetNotFoundError,
    RecordingError,
    UsageError,
    WorldsimError,
    did_you_mean,
)
from worldsim.core.images import resize
from worldsim.core.types import ActionSpec
from worldsim.episodes.format import SessionHeader
from worldsim.episodes.reader import RecordedSession, find_sessions, open_session
from worldsim.presets.config import PresetConfig
from worldsim.presets.resolve import hub_ref
from worldsim.training.workers import Episode

MAX_RATE_ERROR = 0.01
"""A video of 29.97 frames per second counts as 30."""
QUEUE_SEGMENTS = 4
HELD_OUT_EVERY = 8
"""One segment in this many is held out, to show progress."""


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A `--data` source: a recording, a folder of recordings, or `user/dataset[@revision]` on the Hub."""

    ref: str
    weight: float = 1.0
    """Relative to the weights of the other sources."""

    @classmethod
    def parse(cls, text: str) -> DataSource:
        """`REF` or `REF=WEIGHT`. Raises: UsageError for a weight that is not positive."""
        ref, sign, weight = text.rpartition("=")
        try:
            source = cls(ref=ref, weight=float(weight)) if sign else cls(ref=text)
        except ValueError:
            source = cls(ref=text)
        if not 0 < source.weight < float("inf"):
            raise UsageError(f"--data {text} has the weight {source.weight:g}", hint="more than 0")
        return source


@dataclass(frozen=True, kw_only=True)
class SessionIndex:
    """The part of a recording that is kept in memory: a dataset may have more rows than fit."""

    folder: Path
    header: SessionHeader
    runs: tuple[tuple[int, int, int], ...]
    """(episode, first frame, frame after the last) of every run of frames without missing images."""
    has_pose: bool


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Frames `begin` to before `end` of one episode, without missing images."""

    folder: Path
    episode: int
    begin: int
    end: int

    @property
    def num_frames(self) -> int:
        return self.end - self.begin


def group_by_episode(segments: Iterable[Segment]) -> list[list[Segment]]:
    groups: dict[tuple[Path, int], list[Segment]] = {}
    for segment in segments:
        groups.setdefault((segment.folder, segment.episode), []).append(segment)
    return list(groups.values())


def evenly_spaced(segments: Sequence[Segment], count: int) -> list[Segment]:
    """At most `count` segments, evenly spaced."""
    return [segments[i] for i in np.unique(np.linspace(0, len(segments) - 1, min(count, len(segments))).astype(int))]


def open_source(source: DataSource) -> list[SessionIndex]:
    """Raises: RecordingError for no recording or an unfinished one; HubError."""
    folder = _resolve_folder(source.ref)
    session_indexes = [_index_session(open_session(path)) for path in find_sessions(folder)]
    if not session_indexes:
        raise RecordingError(
            f"{folder} contains no recording", hint="create one with worldsim data import or play --record"
        )
    return session_indexes


def recorded_world_values(session_index: SessionIndex) -> dict[str, dict[str, object]]:
    """The values of preset.toml that a world of kind "recorded" takes from its recordings."""
    header = session_index.header
    spec, (height_px, width_px, _) = header.action_spec, header.frame_shape
    world = {
        "buttons": spec.buttons,
        "axes": spec.axes,
        "axis_units": spec.axis_units,
        "frame_height_px": height_px,
        "frame_width_px": width_px,
    }
    return {"world": world, "play": {"ticks_per_s": header.frames_per_s}}


class Recordings:
    """The recordings of one source for a preset, in segments of at most `segment_frames` frames."""

    def __init__(
        self,
        sessions: Sequence[SessionIndex],
        preset: PresetConfig,
        *,
        segment_frames: int,
        min_frames: int,
        is_resized: bool,
    ) -> None:
        """Raises: ConfigError for a recording that does not fit, RecordingError when no segment is long enough."""
        self._frame_shape = preset.frame_shape
        self._action_columns = {s.folder: _action_columns(s, preset, is_resized=is_resized) for s in sessions}
        segments = [segment for session in sessions for segment in _split_into_segments(session, segment_frames)]
        usable = [segment for segment in segments if segment.num_frames >= min_frames]
        self.num_too_short = len(segments) - len(usable)
        if not usable:
            raise RecordingError(
                f"no segment of {min_frames} consecutive frames in {', '.join(s.folder.name for s in sessions[:3])}",
                hint="record longer, or train on shorter clips (clip_frames in [training])",
            )
        self._action_size = preset.action_spec.size
        num_held = len(usable) // HELD_OUT_EVERY
        held = np.linspace(0, len(usable) - 1, num_held + 2).astype(int)[1:-1].tolist()
        self.held_out = [usable[index] for index in held]
        """Evenly spaced; empty if there are few segments."""
        self.segments = [segment for index, segment in enumerate(usable) if index not in held]
        self.has_pose = all(session.has_pose for session in sessions)

    @property
    def num_frames(self) -> int:
        return sum(segment.num_frames for segment in self.segments)

    @property
    def probe_segments(self) -> list[Segment]:
        """Segments that show progress: held-out ones, if there are any."""
        return self.held_out or self.segments

    def read(self, segments: Iterable[Segment]) -> list[Episode]:
        """In the given order; each recorded episode is read once."""
        found: dict[Segment, Episode] = {}
        for group in group_by_episode(sorted(segments, key=lambda segment: segment.begin)):
            found |= zip(group, self.read_segments(group), strict=True)
        return [found[segment] for segment in segments]

    def read_segments(self, segments: Sequence[Segment]) -> Iterator[Episode]:
        """Segments of one recorded episode, in order, in one pass. Raises: RecordingError when an image is missing."""
        session, index = open_session(segments[0].folder), segments[0].episode
        rows, columns = session.episodes[index].rows, self._action_columns[session.folder]
        actions = np.zeros((len(rows), self._action_size), np.float32)
        actions[:, columns] = [row.action for row in rows]
        unknown = (np.nan,) * 3
        pose = np.array([unknown if row.pose is None else row.pose for row in rows], np.float32)
        images, position = session.frames(index), 0
        for segment in segments:
            frames = [
                resize(image, *self._frame_shape[:2])
                for image in islice(images, segment.begin - position, segment.end - position)
            ]
            if len(frames) != segment.num_frames:
                raise RecordingError(
                    f"{session.folder}: images of episode {index} are missing", hint="run worldsim data check"
                )
            position, span = segment.end, slice(segment.begin, segment.end)
            yield Episode(seed=0, frames=np.stack(frames), actions=actions[span], pose=pose[span])


class RecordedStream:
    """The segments of `recordings`, endlessly, with the episodes shuffled in every pass. Use as a context manager."""

    def __init__(self, recordings: Recordings, *, seed: int) -> None:
        self.num_episodes: int | None = len(recordings.segments)
        self.has_pose = recordings.has_pose
        self._recordings, self._rng = recordings, random.Random(seed)
        self._queue: queue.Queue[Episode | WorldsimError] = queue.Queue(QUEUE_SEGMENTS)
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._read_loop, name="recordings", daemon=True)
        self._num_skipped = 0

    def __enter__(self) -> RecordedStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping.set()
        while self._thread.is_alive():  # it may be waiting for room
            with suppress(queue.Empty):
                self._queue.get_nowait()
            self._thread.join(timeout=0.05)

    def skip(self, num_episodes: int) -> None:
        self._num_skipped = num_episodes

    def has_next(self) -> bool:
        """No workers render episodes ahead of the trainer."""
        return False

    def get(self) -> Episode:
        """Waits for the next segment. Raises: RecordingError when it cannot be read."""
        if not self._is_stopping.is_set() and self._thread.ident is None:
            self._thread.start()
        item = self._queue.get()
        if isinstance(item, WorldsimError):
            raise item
        return item

    def _read_loop(self) -> None:
        order, num_skipped = group_by_episode(self._recordings.segments), self._num_skipped
        try:
            while not self._is_stopping.is_set():
                self._rng.shuffle(order)
                for segments in order:
                    left = segments[num_skipped:]
                    num_skipped = max(0, num_skipped - len(segments))
                    for episode in self._recordings.read_segments(left) if left else ():
                        if self._is_stopping.is_set():
                            return
                        self._queue.put(episode)
        except WorldsimError as error:
            self._queue.put(error)


def _resolve_folder(ref: str) -> Path:
    """Raises: RecordingError, HubError. Side effects: downloads a dataset on the Hub into the Hub's cache."""
    path = Path(ref).expanduser()
    if path.exists():
        return path
    on_hub = None if path.parent.is_dir() and path.parent != Path() else hub_ref(ref)
    if on_hub is None:
        raise RecordingError(f"no folder {ref}", hint="a recording, a folder of recordings, or user/dataset on the Hub")
    from worldsim.presets.hub import download_dataset

    try:
        return download_dataset(on_hub)
    except PresetNotFoundError as error:
        raise RecordingError(error.message, hint=error.hint) from None


def _index_session(session: RecordedSession) -> SessionIndex:
    if not session.is_complete:
        raise RecordingError(f"{session.folder} is unfinished", hint=f"worldsim sessions repair {session.folder}")
    runs = []
    for index, episode in enumerate(session.episodes):
        has_image = np.array([False, *(row.has_image for row in episode.rows), False])
        edges = np.flatnonzero(np.diff(has_image.astype(int))).tolist()
        runs += [(index, begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
    has_pose = all(row.pose is not None for episode in session.episodes for row in episode.rows)
    return SessionIndex(folder=session.folder, header=session.header, runs=tuple(runs), has_pose=has_pose)


def _action_columns(session: SessionIndex, preset: PresetConfig, *, is_resized: bool) -> list[int]:
    """The index in the preset's action of each of the recording's inputs; other inputs are never held.

    Raises: ConfigError for a recording that does not fit.
    """
    header, name = session.header, session.folder
    if header.frame_shape != preset.frame_shape and not is_resized:
        raise ConfigError(
            f"{name} has {format_shape(header.frame_shape)} frames, "
            f"preset {preset.name} expects {format_shape(preset.frame_shape)}",
            hint="training.data.resize = true in preset.toml, or worldsim data import --size",
        )
    rate, expected_rate = header.frames_per_s, preset.play.ticks_per_s
    if abs(rate / expected_rate - 1) > MAX_RATE_ERROR:
        raise ConfigError(
            f"{name} has {rate:g} frames per second, preset {preset.name} expects {expected_rate:g}",
            hint="change play.ticks_per_s in preset.toml, or use recordings of that rate",
        )
    _check_units(session, header.action_spec, preset.action_spec)
    names = (*preset.action_spec.buttons, *preset.action_spec.axes)
    return [names.index(input_name) for input_name in (*header.action_spec.buttons, *header.action_spec.axes)]


def _check_units(session: SessionIndex, has: ActionSpec, wants: ActionSpec) -> None:
    kinds = {**dict.fromkeys(wants.buttons, "a button"), **dict.fromkeys(wants.axes, "an axis")}
    for name, kind in [*((b, "a button") for b in has.buttons), *((a, "an axis") for a in has.axes)]:
        if name not in kinds:
            raise ConfigError(
                f"{session.folder} has an input {name!r}, the preset does not", hint=did_you_mean(name, kinds)
            )
        if kinds[name] != kind:
            raise ConfigError(f"{name!r} is {kind} in {session.folder}, not in the preset", hint="rename one of them")
    ours, theirs = dict(wants.axis_units), dict(has.axis_units)
    for axis in has.axes:
        if ours.get(axis) and theirs.get(axis) and ours[axis] != theirs[axis]:
            raise ConfigError(
                f"{axis} at 1 is {theirs[axis]} in {session.folder}, {ours[axis]} in the preset",
                hint="axis units differ between data and preset",
            )


def _split_into_segments(session: SessionIndex, segment_frames: int) -> list[Segment]:
    """Each run in segments of equal length."""
    segments = []
    for episode, begin, end in session.runs:
        cuts = np.linspace(begin, end, -(-(end - begin) // segment_frames) + 1).astype(int).tolist()
        segments += [Segment(folder=session.folder, episode=episode, begin=a, end=b) for a, b in pairwise(cuts)]
    return segments


def format_shape(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"
