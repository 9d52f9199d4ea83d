"""Turns a journal and its partial videos into a LeRobotDataset v3.0, after a normal stop and after a crash alike.

Owns: the final files and their order: journal and partial videos are deleted last, so that after a crash in here it can
simply run again. Does not own: the lines of the journal (`journal`), recording (`writer`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from worldsim.core.config import to_mapping
from worldsim.core.errors import RecordingError, StorageError
from worldsim.core.files import atomic_path, atomic_write
from worldsim.episodes.format import (
    DATA_TEMPLATE,
    EPISODES_FILE,
    FILES_PER_CHUNK,
    INFO_FILE,
    JOURNAL_FILE,
    LEROBOT_VERSION,
    POSE_COLUMN,
    SCHEMA_VERSION,
    SESSION_FILE,
    STATS_FILE,
    TASKS_FILE,
    VIDEO_KEY,
    VIDEO_TEMPLATE,
    SessionHeader,
    chunk_and_file,
    data_path,
    part_path,
    video_path,
)
from worldsim.episodes.journal import Journal, RecordedEpisode, read_journal
from worldsim.episodes.video import (
    LOSSLESS,
    NEAR_LOSSLESS,
    Codec,
    VideoEncoder,
    count_frames,
    read_frames,
    remux,
)

MAX_SAMPLED_FRAMES = 32
"""Per episode, for pixel statistics."""
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class FinalizeResult:
    frames: int
    episodes: int
    missing_images: int
    """Frames whose image was dropped or lost; the video repeats the previous one."""


def finalize(folder: Path, *, high_water: int | None = None) -> FinalizeResult:
    """Side effects: writes all final files, then deletes the journal and the partial videos.

    Raises: RecordingError for a missing or empty journal, StorageError.
    """
    journal = read_journal(folder)
    if not journal.episodes:
        raise RecordingError(f"{folder} has no frames", hint=f"worldsim sessions rm {folder}")
    codec = LOSSLESS if journal.writer.is_lossless else NEAR_LOSSLESS
    try:
        for leftover in folder.rglob(".*.part.*"):  # of a process that was killed in here
            leftover.unlink()
        tables = _write_episodes(folder, journal, codec)
        _write_meta(folder, journal, codec, tables, high_water)
        for index in range(len(tables) + 1):  # one more: an episode without a complete row
            part_path(folder, index).unlink(missing_ok=True)
        (folder / JOURNAL_FILE).unlink()
    except (OSError, StorageError) as error:
        hint = f"free space, then: worldsim sessions repair {folder}"
        raise StorageError(f"cannot finish {folder}: {error}", hint=hint) from None
    missing = sum(int((~columns["worldsim.has_picture"]).sum()) for columns in tables)
    return FinalizeResult(frames=_num_frames(tables), episodes=len(tables), missing_images=missing)


def feature_specs(header: SessionHeader, codec: Codec, *, has_pose: bool = False) -> dict[str, dict[str, Any]]:
    """LeRobot's features: dtype, shape and names of every column and of the video."""
    spec = header.action_spec
    height_px, width_px, channels = header.frame_shape
    scale = codec.scale(height_px, width_px)
    sides = (height_px * scale, width_px * scale)
    scalars = {
        "worldsim.t_input_ns": "int64",
        "worldsim.t_ready_ns": "int64",
        "worldsim.num_steps": "int64",
        "worldsim.frame_hash": "string",
        "worldsim.has_picture": "bool",
        "timestamp": "float32",
        "frame_index": "int64",
        "episode_index": "int64",
        "index": "int64",
        "task_index": "int64",
    }
    return {
        VIDEO_KEY: {
            "dtype": "video",
            "shape": [*sides, channels],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": sides[0],
                "video.width": sides[1],
                "video.codec": "h264",
                "video.pix_fmt": "gbrp" if codec is LOSSLESS else codec.pixel_format,
                "video.is_depth_map": False,
                "video.fps": _fps(header),
                "video.channels": channels,
                "has_audio": False,
            },
        },
        "action": {"dtype": "float32", "shape": [spec.size], "names": [*spec.buttons, *spec.axes]},
        **({POSE_COLUMN: {"dtype": "float32", "shape": [3], "names": ["x", "y", "angle_rad"]}} if has_pose else {}),
        **{name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in scalars.items()},
    }


# ---- data and video


def _write_episodes(folder: Path, journal: Journal, codec: Codec) -> list[Columns]:
    tables: list[Columns] = []
    begin = 0
    for index, episode in enumerate(journal.episodes):
        num_found = _finalize_video(folder, index, len(episode.rows), journal.header, codec)
        columns = _columns(episode, index, begin, num_found, journal.header)
        _write_parquet(
            data_path(folder, index),
            _table(columns, feature_specs(journal.header, codec, has_pose=POSE_COLUMN in columns)),
        )
        tables.append(columns)
        begin += len(episode.rows)
    return tables


def _finalize_video(folder: Path, index: int, num_frames: int, header: SessionHeader, codec: Codec) -> int:
    """Returns: how many frames have their own image. The video has `num_frames` images in any case."""
    part, final = part_path(folder, index), video_path(folder, index)
    if not part.exists() and count_frames(final) == num_frames:
        return num_frames
    with atomic_path(final) as temporary:
        if count_frames(part) == num_frames:
            remux(part, temporary)
            return num_frames
        return _rebuild(part, temporary, num_frames, header, codec)


def _rebuild(part: Path, target: Path, num_frames: int, header: SessionHeader, codec: Codec) -> int:
    """Re-encodes the available images and repeats the last one until there is one per frame."""
    height_px, width_px, _ = header.frame_shape
    scale = codec.scale(height_px, width_px)
    image: npt.NDArray[np.uint8] = np.zeros(header.frame_shape, np.uint8)
    num_found = 0
    with VideoEncoder(target, height_px, width_px, header.frames_per_s, codec=codec) as video:
        for image in islice(read_frames(part, scale=scale), num_frames):
            video.write(image)
            num_found += 1
        for _ in range(num_frames - num_found):
            video.write(image)
    return num_found


def _columns(episode: RecordedEpisode, index: int, begin: int, num_found: int, header: SessionHeader) -> Columns:
    rows, frames = episode.rows, np.arange(len(episode.rows))
    poses = [row.pose for row in rows if row.pose is not None]
    return {
        **({POSE_COLUMN: np.array(poses, np.float32)} if len(poses) == len(rows) else {}),
        "action": np.array([row.action for row in rows], np.float32).reshape(len(rows), header.action_spec.size),
        "worldsim.t_input_ns": np.array([row.t_input_ns for row in rows], np.int64),
        "worldsim.t_ready_ns": np.array([row.t_ready_ns for row in rows], np.int64),
        "worldsim.num_steps": np.array([row.num_steps for row in rows], np.int64),
        "worldsim.frame_hash": np.array([row.frame_hash for row in rows]),
        "worldsim.has_picture": np.array([row.has_image for row in rows]) & (frames < num_found),
        "timestamp": (frames / header.frames_per_s).astype(np.float32),
        "frame_index": frames.astype(np.int64),
        "episode_index": np.full(len(rows), index, np.int64),
        "index": (begin + frames).astype(np.int64),
        "task_index": np.zeros(len(rows), np.int64),
    }


def _table(columns: Columns, features: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    arrays = {}
    for name, values in columns.items():
        kind = pa.type_for_alias(features[name]["dtype"])
        if values.ndim == 2 and values.shape[1] > 1:  # LeRobot expects a plain column for one number per row
            flat = pa.array(values.ravel(), kind)
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        else:
            arrays[name] = pa.array(values.reshape(len(values)), kind)
    return pa.table(arrays)


# ---- meta


def _write_meta(folder: Path, journal: Journal, codec: Codec, tables: list[Columns], high_water: int | None) -> None:
    header = journal.header
    task = f"play {header.preset}"
    stats = [_stats(columns) | _frame_stats(folder, index) for index, columns in enumerate(tables)]
    _write_parquet(folder / TASKS_FILE, _tasks_table(task))
    _write_parquet(folder / EPISODES_FILE, _episodes_table(task, header, tables, stats))
    _write_json(folder / STATS_FILE, _aggregate(stats))
    _write_json(folder / INFO_FILE, _info(header, codec, tables))
    own = {
        "schema": SCHEMA_VERSION,
        "complete": True,
        "header": to_mapping(header),
        "is_lossless": journal.writer.is_lossless,
        "scale": codec.scale(*header.frame_shape[:2]),
        "action": "the action that led to this frame, as given to the model",
        "episodes": [{**to_mapping(e.start), "frames": len(e.rows)} for e in journal.episodes],
        "queue_high_water": high_water,
    }
    _write_json(folder / SESSION_FILE, own)


def _info(header: SessionHeader, codec: Codec, tables: list[Columns]) -> dict[str, Any]:
    return {
        "codebase_version": LEROBOT_VERSION,
        "robot_type": "worldsim",
        "total_episodes": len(tables),
        "total_frames": _num_frames(tables),
        "total_tasks": 1,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 500,
        "fps": _fps(header),
        "splits": {"train": f"0:{len(tables)}"},
        "data_path": DATA_TEMPLATE,
        "video_path": VIDEO_TEMPLATE,
        "features": feature_specs(header, codec, has_pose=POSE_COLUMN in tables[0]),
    }


def _tasks_table(task: str) -> pa.Table:
    """As pandas writes a table indexed by task: LeRobot looks up tasks by that index."""
    text = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    number = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [{"name": None, "field_name": None, **text, "metadata": {"encoding": "UTF-8"}}],
        "columns": [
            {"name": "task_index", "field_name": "task_index", **number},
            {"name": "task", "field_name": "task", **text},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": pa.array([task], pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _episodes_table(
    task: str, header: SessionHeader, tables: list[Columns], stats: list[dict[str, dict[str, Any]]]
) -> pa.Table:
    rows = []
    for index, (columns, of_episode) in enumerate(zip(tables, stats, strict=True)):
        chunk_index, file_index = chunk_and_file(index)
        begin, num_frames = int(columns["index"][0]), len(columns["index"])
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": [task],
            "length": num_frames,
            "data/chunk_index": chunk_index,
            "data/file_index": file_index,
            "dataset_from_index": begin,
            "dataset_to_index": begin + num_frames,
            f"videos/{VIDEO_KEY}/chunk_index": chunk_index,
            f"videos/{VIDEO_KEY}/file_index": file_index,
            f"videos/{VIDEO_KEY}/from_timestamp": 0.0,
            f"videos/{VIDEO_KEY}/to_timestamp": num_frames / header.frames_per_s,
        }
        for name, values in of_episode.items():
            row |= {f"stats/{name}/{key}": value for key, value in values.items()}
        rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
    return pa.Table.from_pylist(rows)


def _stats(columns: Columns) -> dict[str, dict[str, Any]]:
    found = {}
    for name, values in columns.items():
        if values.dtype.kind not in "fi":
            continue
        numbers = values.reshape(len(values), -1).astype(np.float64)
        found[name] = {
            "min": numbers.min(0).tolist(),
            "max": numbers.max(0).tolist(),
            "mean": numbers.mean(0).tolist(),
            "std": numbers.std(0).tolist(),
            "count": [len(numbers)],
        }
    return found


def _frame_stats(folder: Path, episode: int) -> dict[str, dict[str, Any]]:
    """Per channel, of pixels in [0, 1], over some key frames; shape (3, 1, 1) as in LeRobot."""
    keys = islice(read_frames(video_path(folder, episode), is_key_only=True), MAX_SAMPLED_FRAMES)
    means, squares, lows, highs = zip(*(_moments(image) for image in keys), strict=True)
    mean = np.mean(means, 0)
    std = np.sqrt(np.maximum(np.mean(squares, 0) - mean**2, 0.0))
    values = {"min": np.min(lows, 0), "max": np.max(highs, 0), "mean": mean, "std": std}
    stats = {name: value.reshape(3, 1, 1).tolist() for name, value in values.items()}
    return {VIDEO_KEY: {**stats, "count": [len(means)]}}


def _moments(image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float64], ...]:
    pixels = image.reshape(-1, 3) / 255.0
    return pixels.mean(0), (pixels**2).mean(0), pixels.min(0), pixels.max(0)


def _aggregate(stats: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Over all episodes, weighted by their counts."""
    total = {}
    for name in stats[0]:
        parts = [of_episode[name] for of_episode in stats]
        counts = np.array([part["count"][0] for part in parts], np.float64)
        means, stds = (np.array([part[key] for part in parts]) for key in ("mean", "std"))
        weights = (counts / counts.sum()).reshape(-1, *[1] * (means.ndim - 1))
        mean = (means * weights).sum(0)
        variance = ((stds**2 + (means - mean) ** 2) * weights).sum(0)
        total[name] = {
            "min": np.min([part["min"] for part in parts], 0).tolist(),
            "max": np.max([part["max"] for part in parts], 0).tolist(),
            "mean": mean.tolist(),
            "std": np.sqrt(variance).tolist(),
            "count": [int(counts.sum())],
        }
    return total


def _fps(header: SessionHeader) -> int | float:
    return int(header.frames_per_s) if header.frames_per_s.is_integer() else header.frames_per_s


def _num_frames(tables: list[Columns]) -> int:
    return sum(len(columns["index"]) for columns in tables)


def _write_parquet(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    atomic_write(path, json.dumps(data, indent=2) + "\n")
