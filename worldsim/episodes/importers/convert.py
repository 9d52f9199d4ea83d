"""A folder of foreign recordings into a folder of sessions: one per file, lossless, whole or not at all.

Owns: which files are read, what is said of those that are wrong, where the sessions go. Does not own: any layout. A
session is written beside the target and moved there when it is complete, so that a crash leaves nothing half, and the
same command goes on where it was stopped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import psutil

import worldsim
from worldsim.core.errors import RecordingError, UsageError
from worldsim.core.files import storage_errors
from worldsim.core.types import Frame
from worldsim.episodes.format import EpisodeStart, FrameRow, SessionHeader, frame_hash
from worldsim.episodes.images import resize
from worldsim.episodes.importers import memory_maze, teco, video_csv, vpt
from worldsim.episodes.importers.base import ImportedEpisode, ImportOptions, SourceFormat, subsample
from worldsim.episodes.journal import pose_tuple
from worldsim.episodes.reader import is_session
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
    """What became of the files, by name."""

    converted: dict[str, int] = field(default_factory=dict)
    """Session to its number of frames."""
    there_already: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """File to what is wrong with it."""


def import_folder(
    kind: str,
    source: Path,
    target: Path,
    options: ImportOptions,
    *,
    size_px: tuple[int, int] | None = None,
    stride: int = 1,
    is_lossless: bool = True,
    tell: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> ConversionResult:
    """`size_px` is (height, width), to which pictures are resized; of `stride` frames one is kept, see `subsample`.

    `tell(done, total, file)` is called before each file.

    Raises: UsageError when there is nothing to read, StorageError; what is wrong with a file is in the answer.
    """
    source_format, outcome = FORMATS[kind], ConversionResult()
    _remove_leftovers(target)
    paths = find_files(source, source_format.suffixes)
    for index, path in enumerate(paths):
        tell(index, len(paths), path.name)
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


def find_files(source: Path, suffixes: Sequence[str]) -> list[Path]:
    """Raises UsageError when there is none."""
    found = [source] if source.is_file() else sorted(source.rglob("*"))
    paths = [path for path in found if path.suffix.lower() in suffixes and path.is_file()]
    if not paths:
        raise UsageError(f"{source} holds no {' or '.join(suffixes)} file", hint="check the path and --kind")
    return paths


def session_name(path: Path, source: Path) -> str:
    """The folders on the way and the name, without an ending."""
    relative = path.relative_to(source) if path != source else Path(path.name)
    return "-".join(relative.with_suffix("").parts).lstrip(".")


def _header(kind: str, path: Path, episode: ImportedEpisode) -> SessionHeader:
    """The size of its pictures is not known yet."""
    if not 0.1 <= episode.frames_per_s <= 1000:
        raise RecordingError(f"it has {episode.frames_per_s:g} frames per second", hint="")
    return SessionHeader(
        preset=kind,
        preset_ref=f"imported:{path.name}",  # no preset made it, and none is named so
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
    """Returns: the number of frames. Raises: RecordingError, with nothing at `target`; StorageError."""
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
    """What a process that is gone was writing."""
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
            picture = frame if size_px is None else resize(frame, *size_px)
            if writer is None:
                header = replace(header, frame_shape=picture.shape)
                writer = SessionWriter(folder, header, is_lossless=is_lossless)
                writer.begin_episode(EpisodeStart(seed=0))
            if picture.shape != header.frame_shape:
                raise RecordingError(f"picture {num_frames} has another size than the first", hint="")
            writer.wait_for_room()
            writer.add_frame(_row(episode, num_frames, picture), picture)
            num_frames += 1
        if num_frames < wanted:
            raise RecordingError(f"{num_frames} of {wanted} pictures decode", hint="")
    finally:
        if writer is not None:
            writer.close()
    if writer is not None and writer.error is not None:
        raise writer.error
    return num_frames


def _row(episode: ImportedEpisode, index: int, picture: Frame) -> FrameRow:
    time_ns = round(index / episode.frames_per_s * 1e9)
    return FrameRow(
        action=tuple(map(float, episode.actions[index])),
        num_steps=0,
        t_input_ns=time_ns,
        t_ready_ns=time_ns,
        frame_hash=frame_hash(picture),
        pose=None if episode.pose is None else pose_tuple(episode.pose[index]),
    )
