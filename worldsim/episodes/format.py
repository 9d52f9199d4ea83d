"""A recorded session on disk: header, episodes, one row per frame, and the paths of its files.

Owns: names, paths and the meaning of every value. Does not own: writing (`writer`, `finalize`), reading (`reader`). The
folder is a LeRobotDataset v3.0 with one file per episode; `meta/worldsim.json` adds what replay needs.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import RecordingError, StorageError, UsageError
from worldsim.core.types import ActionSpec, Frame

SCHEMA_VERSION = 1
LEROBOT_VERSION = "v3.0"
VIDEO_KEY = "observation.images.main"
POSE_COLUMN = "worldsim.pose"
FILES_PER_CHUNK = 1000
MAX_OVERRIDE_FRAMES = 1024

RECORDINGS_FOLDER = Path("recordings")
"""Default parent folder of sessions."""

JOURNAL_FILE = Path("meta/journal.jsonl")
"""Write-ahead log of a session being recorded; deleted when the session is complete."""
SESSION_FILE = Path("meta/worldsim.json")
INFO_FILE = Path("meta/info.json")
STATS_FILE = Path("meta/stats.json")
TASKS_FILE = Path("meta/tasks.parquet")
EPISODES_FILE = Path("meta/episodes/chunk-000/file-000.parquet")
DATA_TEMPLATE = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_TEMPLATE = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


@dataclass(frozen=True, kw_only=True)
class SessionHeader:
    """What generated the frames, and how: everything a replay needs to reproduce them, except the actions."""

    preset: str
    preset_ref: str
    """As given by the user: a bundled name, a folder or a repository."""
    preset_sha256: str
    """Over config and weights; empty for a reference world."""
    preset_commit: str = "unknown"
    worldsim: str
    worldsim_commit: str = "unknown"
    torch: str = ""
    device: str = "cpu"
    """Device at the start of the session; episodes on another device name theirs."""
    dtype: str = "float32"
    threads: int = 1
    num_steps: int
    """Denoising steps per frame at the start of the session; each row has its own."""
    frames_per_s: float
    frame_shape: tuple[int, int, int]
    action_spec: ActionSpec


@dataclass(frozen=True, kw_only=True)
class ActionRun:
    """`count` consecutive frames with the same action, number of steps and device."""

    action: tuple[float, ...]
    num_steps: int
    count: int
    device: str = ""
    """Device, if different from the header's."""

    def extends(self, action: tuple[float, ...], num_steps: int, device: str) -> bool:
        """Whether a frame generated this way belongs to the run."""
        return (self.action, self.num_steps, self.device) == (action, num_steps, device)


@dataclass(frozen=True, kw_only=True)
class ContextOverride:
    """At frame `index` after the reset, these ground-truth frames replaced the model's memory; the last is that frame.

    Stored in recordings and saved states, so that replays do not need a reference world.
    """

    index: int
    actions: tuple[tuple[float, ...], ...]
    """One encoded action per frame: action n led to frame n."""
    pixels: str = field(repr=False)
    """Base64 of zlib-compressed uint8 [T, H, W, 3]."""

    @classmethod
    def from_frames(cls, index: int, frames: Sequence[Frame], actions: Sequence[Sequence[float]]) -> ContextOverride:
        packed = zlib.compress(np.stack(frames).tobytes(), level=1)
        vectors = tuple(tuple(map(float, action)) for action in actions)
        return cls(index=index, actions=vectors, pixels=base64.b64encode(packed).decode())

    def frames(self, frame_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        """Shapes: returns [T, H, W, 3]. Raises: RecordingError if the data is damaged or of another size."""
        num_frames = len(self.actions)
        num_bytes = num_frames * int(np.prod(frame_shape))
        try:
            if not 1 <= num_frames <= MAX_OVERRIDE_FRAMES:
                raise ValueError(f"{num_frames} frames")
            found = zlib.decompressobj().decompress(base64.b64decode(self.pixels, validate=True), num_bytes + 1)
            if len(found) != num_bytes:
                raise ValueError("unexpected size")
        except (ValueError, zlib.error) as error:
            raise RecordingError(
                f"the ground-truth frames at frame {self.index} are damaged: {error}", hint="use an intact copy"
            ) from None
        return np.frombuffer(found, np.uint8).reshape(num_frames, *frame_shape).copy()


@dataclass(frozen=True, kw_only=True)
class EpisodeStart:
    """Start of an episode: a reset with `seed`, and what was played before recording started."""

    seed: int
    first_index: int = 0
    """Number of frames between the reset and the first recorded frame."""
    prelude: tuple[ActionRun, ...] = ()
    """Actions that led to the frame before the first recorded one."""
    anchor: ContextOverride | None = None
    """The latest context override up to and including the first recorded frame."""
    device: str = ""
    """Device, if different from the header's. When play moves to another device, a new episode begins."""


@dataclass(frozen=True, kw_only=True)
class FrameRow:
    """A frame without its image. `action` led to the frame, encoded as given to the model: zeros after a reset, or the
    pose where inputs are poses."""

    action: tuple[float, ...]
    num_steps: int
    t_input_ns: int
    t_ready_ns: int
    frame_hash: str
    has_image: bool = True
    """Whether the video has this frame; otherwise it repeats the previous one."""
    pose: tuple[float, float, float] | None = None
    """Ground-truth camera pose (x, y, angle), for all frames of a session or for none."""


def frame_hash(frame: Frame) -> str:
    """64-bit BLAKE2b digest of the pixels, as 16 hexadecimal digits."""
    return hashlib.blake2b(frame.tobytes(), digest_size=8).hexdigest()


def check_new_folder(folder: Path) -> None:
    """Checks that a recording can be written to `folder`, without side effects.

    Raises: UsageError if the folder is not empty, StorageError if it is not writable.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} already exists", hint="a recording needs a new folder")
        parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with TemporaryFile(dir=parent) as file:
            file.write(b"0")
    except OSError as error:
        raise StorageError(
            f"cannot record to {folder}: {error.strerror}", hint="check the path, free space and permissions"
        ) from None


def data_path(folder: Path, episode: int) -> Path:
    return folder / DATA_TEMPLATE.format(**_chunk_indices(episode))


def video_path(folder: Path, episode: int) -> Path:
    return folder / VIDEO_TEMPLATE.format(video_key=VIDEO_KEY, **_chunk_indices(episode))


def part_path(folder: Path, episode: int) -> Path:
    """The video while it is written: in fragments, of which all but the last survive a crash."""
    return video_path(folder, episode).with_suffix(".part.mp4")


def chunk_and_file(episode: int) -> tuple[int, int]:
    return divmod(episode, FILES_PER_CHUNK)


def _chunk_indices(episode: int) -> dict[str, int]:
    chunk_index, file_index = chunk_and_file(episode)
    return {"chunk_index": chunk_index, "file_index": file_index}
