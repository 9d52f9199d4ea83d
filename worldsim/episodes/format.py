"""What a recorded session is on disk: its header, its episodes, one row per frame, and where each of them lies.

Owns: names, paths and the meaning of every value. Does not own: writing (`writer`, `finalize`), reading (`reader`). The
folder is a LeRobotDataset v3.0, one file per episode; `meta/worldsim.json` beside it holds what replay needs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from worldsim.core.errors import StorageError, UsageError
from worldsim.core.types import ActionSpec, Frame
from worldsim.episodes.context_override import ContextOverride

SCHEMA_VERSION = 1
LEROBOT_VERSION = "v3.0"
VIDEO_KEY = "observation.images.main"
POSE_COLUMN = "worldsim.pose"
FILES_PER_CHUNK = 1000

RECORDINGS_FOLDER = Path("recordings")
"""Where sessions go when no folder was named."""

JOURNAL_FILE = Path("meta/journal.jsonl")
"""Written ahead while a session is recorded; gone when it is complete."""
SESSION_FILE = Path("meta/worldsim.json")
INFO_FILE = Path("meta/info.json")
STATS_FILE = Path("meta/stats.json")
TASKS_FILE = Path("meta/tasks.parquet")
EPISODES_FILE = Path("meta/episodes/chunk-000/file-000.parquet")
DATA_TEMPLATE = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_TEMPLATE = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


@dataclass(frozen=True, kw_only=True)
class SessionHeader:
    """Who made the frames, and how: what a replay must have to make the same ones again."""

    preset: str
    preset_ref: str
    """As it was asked for: a bundled name, a folder, or a repository."""
    preset_sha256: str
    """Over config and weights; empty for a true world, which has none."""
    preset_commit: str = "unknown"
    worldsim: str
    worldsim_commit: str = "unknown"
    torch: str = ""
    device: str = "cpu"
    """Where frames were made at the start; episodes that were made elsewhere say so."""
    dtype: str = "float32"
    threads: int = 1
    num_steps: int
    """Denoising steps per frame at the start; each row has its own."""
    frames_per_s: float
    frame_shape: tuple[int, int, int]
    action_spec: ActionSpec


@dataclass(frozen=True, kw_only=True)
class ActionRun:
    """The same action, number of steps and device, `count` frames long."""

    action: tuple[float, ...]
    num_steps: int
    count: int
    device: str = ""
    """Where they were made, if not where the header says."""

    def extends(self, action: tuple[float, ...], num_steps: int, device: str) -> bool:
        """Whether a frame that was made so makes it longer by one."""
        return (self.action, self.num_steps, self.device) == (action, num_steps, device)


@dataclass(frozen=True, kw_only=True)
class EpisodeStart:
    """From where an episode began: a reset with `seed`, and what was played before the recording was switched on."""

    seed: int
    first_index: int = 0
    """How many frames after the reset the first recorded one came."""
    prelude: tuple[ActionRun, ...] = ()
    """What led to the frame before the first recorded one."""
    anchor: ContextOverride | None = None
    """The last time before the first recorded frame, or with it, that true pictures took the place of memory."""
    device: str = ""
    """Where its frames were made, if not where the header says. When play moves, another episode begins."""


@dataclass(frozen=True, kw_only=True)
class FrameRow:
    """One frame without its picture. `action` led to the frame, encoded as the model got it; all 0 after a reset,
    or the pose where poses are inputs."""

    action: tuple[float, ...]
    num_steps: int
    t_input_ns: int
    t_ready_ns: int
    frame_hash: str
    has_image: bool = True
    """Whether the video has this frame; if not, it repeats the picture before."""
    pose: tuple[float, float, float] | None = None
    """Where the camera truly was (x, y, angle), if that is known; for all frames of a session or for none."""


def frame_hash(frame: Frame) -> str:
    """64 bits of BLAKE2b over the pixels, as 16 hexadecimal digits."""
    return hashlib.blake2b(frame.tobytes(), digest_size=8).hexdigest()


def check_new_folder(folder: Path) -> None:
    """Whether a recording may begin there. Leaves nothing behind.

    Raises: UsageError when something lies there, StorageError when nothing can be written there.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there already", hint="a recording needs a new folder")
        parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with TemporaryFile(dir=parent) as file:
            file.write(b"0")
    except OSError as error:
        raise StorageError(
            f"cannot record to {folder}: {error.strerror}", hint="check the path, space and permissions"
        ) from None


def data_path(folder: Path, episode: int) -> Path:
    return folder / DATA_TEMPLATE.format(**_chunk_indices(episode))


def video_path(folder: Path, episode: int) -> Path:
    return folder / VIDEO_TEMPLATE.format(video_key=VIDEO_KEY, **_chunk_indices(episode))


def part_path(folder: Path, episode: int) -> Path:
    """The video while it is written: in fragments, of which all but the last survive anything."""
    return video_path(folder, episode).with_suffix(".part.mp4")


def chunk_and_file(episode: int) -> tuple[int, int]:
    return divmod(episode, FILES_PER_CHUNK)


def _chunk_indices(episode: int) -> dict[str, int]:
    chunk_index, file_index = chunk_and_file(episode)
    return {"chunk_index": chunk_index, "file_index": file_index}
