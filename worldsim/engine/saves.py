"""Saved states: where they are stored, and their metadata and image. Torch-free, because the window lists the slots.

`engine.save_files` adds the model's state. Besides it, a file holds `frame` uint8 [H, W, 3], `run_actions` float32
[R, A] and `run_counts` int64 [R, 2] (denoising steps, frames) for the actions since the reset, and one JSON text in its
metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from worldsim.core.config import from_mapping, parse_json, to_mapping
from worldsim.core.errors import ConfigError, RecordingError, StateError, one_line
from worldsim.core.types import NO_ACTION, Step
from worldsim.episodes.format import ActionRun, ContextOverride, SessionHeader

SAVES = Path("saves")
"""Folder of the save slots."""
NUM_SLOTS = 5
SCHEMA_VERSION = 2
"""Of the names of the state's tensors, as `presets.config.SCHEMA_VERSION`; older files are migrated when read."""
MAX_FILE_BYTES = 2**30
_KEY = "worldsim"


@dataclass(frozen=True, kw_only=True)
class SaveRecord:
    """A save without the model's state. `runs` led from a reset with `seed` to `step`."""

    header: SessionHeader
    seed: int
    step: Step = field(repr=False)
    runs: tuple[ActionRun, ...] = field(repr=False)
    anchor: ContextOverride | None = None
    """The last context reset before the save."""
    schema: int = SCHEMA_VERSION
    """Schema of the file."""


@dataclass(frozen=True, kw_only=True)
class SaveMetadata:
    """The JSON text in the file's metadata."""

    schema: int
    header: SessionHeader
    seed: int
    index: int
    anchor: ContextOverride | None = None


@dataclass(frozen=True, kw_only=True)
class SaveSlot:
    """One slot for the window. At most one of `saved` and `error` is set; an empty slot has neither."""

    number: int
    path: Path
    saved: SaveRecord | None = None
    error: str = ""


def slot_path(preset: str, number: int, folder: Path = SAVES) -> Path:
    return folder / Path(preset).name / f"slot-{number}.safetensors"


def list_slots(preset: str, folder: Path = SAVES) -> tuple[SaveSlot, ...]:
    """Every slot of a preset. Raises: nothing; a damaged file is a slot with an error."""
    return tuple(_slot(number, slot_path(preset, number, folder)) for number in range(1, NUM_SLOTS + 1))


def read_saved(path: Path) -> SaveRecord:
    """Reads a save without the model's state. Raises: StateError with a one-line message, whatever is wrong."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES // 2**20} MB")
        with safe_open(path, framework="numpy") as file:
            metadata = from_mapping(SaveMetadata, parse_json((file.metadata() or {})[_KEY]))
            arrays = {name: file.get_tensor(name) for name in ("frame", "run_actions", "run_counts")}
        return _validated(metadata, arrays)
    except FileNotFoundError:
        raise StateError(f"no saved state at {path}", hint="press F5 while playing to save one") from None
    except (OSError, SafetensorError, ConfigError, RecordingError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"the saved state {path} is damaged: {one_line(error)}", hint="use another save") from None


def saved_arrays(saved: SaveRecord) -> dict[str, npt.NDArray[Any]]:
    size = saved.header.action_spec.size
    return {
        "frame": np.array(saved.step.frame),
        "run_actions": np.array([run.action for run in saved.runs], np.float32).reshape(-1, size),
        "run_counts": np.array([(run.num_steps, run.count) for run in saved.runs], np.int64).reshape(-1, 2),
    }


def saved_metadata(saved: SaveRecord) -> dict[str, str]:
    metadata = SaveMetadata(
        schema=SCHEMA_VERSION, header=saved.header, seed=saved.seed, index=saved.step.index, anchor=saved.anchor
    )
    return {_KEY: json.dumps(to_mapping(metadata))}


def _slot(number: int, path: Path) -> SaveSlot:
    if not path.exists():
        return SaveSlot(number=number, path=path)
    try:
        return SaveSlot(number=number, path=path, saved=read_saved(path))
    except StateError as error:
        return SaveSlot(number=number, path=path, error=error.message)


def _validated(metadata: SaveMetadata, arrays: Mapping[str, npt.NDArray[Any]]) -> SaveRecord:
    """Raises: ValueError."""
    frame, actions, counts = (arrays[name] for name in ("frame", "run_actions", "run_counts"))
    spec = metadata.header.action_spec
    if not 1 <= metadata.schema <= SCHEMA_VERSION:
        raise ValueError(f"its schema is {metadata.schema}, this worldsim reads up to {SCHEMA_VERSION}")
    if frame.dtype != np.uint8 or frame.shape != tuple(metadata.header.frame_shape):
        raise ValueError(f"its frame is {frame.dtype} {frame.shape}")
    if actions.shape != (len(counts), spec.size) or counts.shape != (len(counts), 2):
        raise ValueError("its actions do not match the action spec")
    if not np.isfinite(actions).all() or (counts < 1).any() or counts[:, 1].sum() != metadata.index:
        raise ValueError("its action counts do not match the frame index")
    if actions.size and float(np.abs(actions).max()) > 1:
        raise ValueError("an action is outside [-1, 1]")
    runs = tuple(
        ActionRun(action=tuple(map(float, action)), num_steps=int(num_steps), count=int(count))
        for action, (num_steps, count) in zip(actions, counts, strict=True)
    )
    if metadata.anchor is not None:
        metadata.anchor.frames(metadata.header.frame_shape)
    action = spec.decode(np.asarray(actions[-1], np.float32)) if runs else NO_ACTION
    step = Step(index=metadata.index, action=action, frame=frame, num_steps=runs[-1].num_steps if runs else 0)
    return SaveRecord(
        header=metadata.header, seed=metadata.seed, step=step, runs=runs, anchor=metadata.anchor, schema=metadata.schema
    )
