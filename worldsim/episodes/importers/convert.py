"""Converts folders between sessions and the datasets of other projects: every file complete or not at all.

Owns: which files are read, the report of those that are wrong, where results are written. Does not own: layouts. An
imported session is written next to the target and moved when complete, so that a crash leaves nothing partial and the
same command resumes. Exports have the layout of Memory Maze's datasets: a round trip keeps every bit.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

import worldsim
from worldsim.core.errors import RecordingError, UsageError
from worldsim.core.files import storage_errors
from worldsim.core.images import resize
from worldsim.core.types import Frame
from worldsim.episodes.format import EpisodeStart, FrameRow, SessionHeader, frame_hash
from worldsim.episodes.importers import memory_maze, teco, video_csv, vpt
from worldsim.episodes.importers.base import ImportedEpisode, ImportOptions, SourceFormat, subsample
from worldsim.episodes.journal import pose_tuple
from worldsim.episodes.reader import RecordedSession, find_sessions, is_session, open_session
from worldsim.episodes.writer import SessionWriter

FORMATS: dict[str, SourceFormat] = {
    "memory-maze": memory_maze.FORMAT,
    "teco-dmlab": teco.DMLAB,
    "teco-minecraft": teco.MINECRAFT,
    "vpt": vpt.FORMAT,
    "video-csv": video_csv.FORMAT,
}


@dataclass(frozen=True, kw_only=True)
class ConversionResult:
    """What happened to the files."""

    converted: dict[str, int] = field(default_factory=dict)
    """Session to its number of frames."""
    there_already: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """File to the problem with it."""


def import_folder(
    kind: str,
    source: Path,
    target: Path,
    options: ImportOptions,
    *,
    size_px: tuple[int, int] | None = None,
    stride: int = 1,
    is_lossless: bool = True,
    on_progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> ConversionResult:
    """`size_px`: (height, width) to resize frames to. `stride`: see `subsample`.

    `on_progress(done, total, file)` is called before each file.

    Files that cannot be read are listed in the result. Raises: UsageError without files, StorageError.
    """
    source_format, outcome = FORMATS[kind], ConversionResult()
    _remove_leftovers(target)
    paths = find_files(source, source_format.suffixes)
    for index, path in enumerate(paths):
        on_progress(index, len(paths), path.name)
        name = session_name(path, source)
        if is_session(target / name):
            outcome.there_already.append(name)
            continue
        try:
            episode = subsample(source_format.read(path, options), stride)
            header = _header(kind, path, episode)
            outcome.converted[name] = _write(episode, header, target / name, size_px, is_lossless=is_lossless)
        except RecordingError as error:
            outcome.skipped[str(path)] = error.message
    return outcome


def export_folder(
    source: Path, target: Path, on_progress: Callable[[int, int, str], None] = lambda done, total, name: None
) -> ConversionResult:
    """One file per episode, named after its session; `on_progress(done, total, session)` is called before each session.

    Sessions that cannot be exported are listed in the result. Raises: UsageError without sessions, StorageError.
    """
    outcome, folders = ConversionResult(), find_sessions(source)
    if not folders:
        raise UsageError(f"{source} contains no session", hint="import some with `worldsim data import`")
    for index, folder in enumerate(folders):
        on_progress(index, len(folders), folder.name)
        try:
            session = open_session(folder)
            _export_session(session, target, outcome)
        except RecordingError as error:
            outcome.skipped[str(folder)] = error.message
    return outcome


def find_files(source: Path, suffixes: Sequence[str]) -> list[Path]:
    """Raises: UsageError if there are none."""
    found = [source] if source.is_file() else sorted(source.rglob("*"))
    paths = [path for path in found if path.suffix.lower() in suffixes and path.is_file()]
    if not paths:
        raise UsageError(f"{source} contains no {' or '.join(suffixes)} file", hint="check the path and --format")
    return paths


def session_name(path: Path, source: Path) -> str:
    """The relative path joined by "-", without suffix."""
    relative = path.relative_to(source) if path != source else Path(path.name)
    return "-".join(relative.with_suffix("").parts).lstrip(".")


def _header(kind: str, path: Path, episode: ImportedEpisode) -> SessionHeader:
    """With a placeholder for the frame size, which is not known yet."""
    if not 0.1 <= episode.frames_per_s <= 1000:
        raise RecordingError(f"its frame rate is {episode.frames_per_s:g}, expected 0.1 to 1000", hint="")
    return SessionHeader(
        preset=kind,
        preset_ref=f"imported:{path.name}",  # cannot be mistaken for a preset
        preset_sha256="",
        worldsim=worldsim.__version__,
        num_steps=0,
        frames_per_s=episode.frames_per_s,
        frame_shape=(0, 0, 3),
        action_spec=episode.action_spec,
    )


def _write(
    episode: ImportedEpisode, header: SessionHeader, target: Path, size_px: tuple[int, int] | None, *, is_lossless: bool
) -> int:
    """Returns: the number of frames. Raises: RecordingError or StorageError, with nothing at `target`."""
    folder = target.parent
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f"{_temporary_prefix(folder)}{os.getpid()}-", dir=folder.parent))
    try:
        with storage_errors(target):
            num_frames = _record(episode, header, temporary / "session", size_px, is_lossless=is_lossless)
            (temporary / "session").replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return num_frames


def _remove_leftovers(target: Path) -> None:
    """Removes the temporary folders of processes that died."""
    for folder in target.parent.glob(f"{_temporary_prefix(target)}*-*"):
        pid = folder.name.removeprefix(_temporary_prefix(target)).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _temporary_prefix(target: Path) -> str:
    return f".{target.name}.importing-"


def _record(
    episode: ImportedEpisode, header: SessionHeader, folder: Path, size_px: tuple[int, int] | None, *, is_lossless: bool
) -> int:
    writer: SessionWriter | None = None
    num_frames, wanted = 0, len(episode.actions)
    try:
        for frame in islice(episode.frames, wanted):
            image = frame if size_px is None else resize(frame, *size_px)
            if writer is None:
                header = replace(header, frame_shape=image.shape)
                writer = SessionWriter(folder, header, is_lossless=is_lossless)
                writer.begin_episode(EpisodeStart(seed=0))
            if image.shape != header.frame_shape:
                raise RecordingError(f"frame {num_frames} differs in size from the first", hint="")
            writer.wait_for_room()
            writer.add_frame(_row(episode, num_frames, image), image)
            num_frames += 1
        if num_frames < wanted:
            raise RecordingError(f"{num_frames} of {wanted} frames decode", hint="")
    finally:
        if writer is not None:
            writer.close()
    if writer is not None and writer.error is not None:
        raise writer.error
    return num_frames


def _row(episode: ImportedEpisode, index: int, image: Frame) -> FrameRow:
    time_ns = round(index / episode.frames_per_s * 1e9)
    return FrameRow(
        action=tuple(map(float, episode.actions[index])),
        num_steps=0,
        t_input_ns=time_ns,
        t_ready_ns=time_ns,
        frame_hash=frame_hash(image),
        pose=None if episode.pose is None else pose_tuple(episode.pose[index]),
    )


def _export_session(session: RecordedSession, target: Path, outcome: ConversionResult) -> None:
    if not session.is_complete or not session.is_lossless or session.num_missing_images:
        raise RecordingError("it is not complete and lossless", hint="")
    for number, episode in enumerate(session.episodes):
        name = session.folder.name if len(session.episodes) == 1 else f"{session.folder.name}-{number}"
        path = target / f"{name}.npz"
        if path.exists():
            outcome.there_already.append(name)
            continue
        poses = [row.pose for row in episode.rows]
        if None in poses:
            raise RecordingError("it has no poses", hint="")
        actions = np.array([row.action for row in episode.rows], np.float32)
        arrays: dict[str, npt.NDArray[Any]] = {
            "image": np.stack(list(session.frames(number))),
            "action": memory_maze.one_hot(actions, session.header.action_spec),
            **memory_maze.pose_arrays(np.array(poses, np.float32)),
        }
        memory_maze.write(path, arrays)
        outcome.converted[name] = len(episode.rows)
