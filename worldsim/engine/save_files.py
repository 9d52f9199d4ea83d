"""A saved state as one safetensors file: the model's state as tensors `state.NAME`, and what `engine.saves` describes.

Model thread.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load, load_file, save
from torch import Tensor, from_numpy

from worldsim.core.errors import StateError
from worldsim.core.files import atomic_write
from worldsim.engine.interfaces import Position
from worldsim.engine.saves import SCHEMA_VERSION, SaveRecord, read_saved, saved_arrays, saved_metadata
from worldsim.engine.simulator import Snapshot, first_action
from worldsim.episodes.format import SessionHeader
from worldsim.models.maps.map_model import MapModel
from worldsim.models.state import WorldState
from worldsim.presets.migrations import STATE_RENAMES, migrate_name
from worldsim.presets.store import Preset

STATE = "state."


class SaveFiles:
    """Writes and reads the saves of one preset."""

    def __init__(self, preset: Preset, header: SessionHeader) -> None:
        self._preset, self._header = preset, header
        self._like = preset.model.initial_state(1, 0).to("cpu")

    @property
    def state_bytes(self) -> int:
        return self._like.num_bytes

    def write(self, path: Path, saved: SaveRecord, snapshot: Any) -> None:
        """Raises: StorageError; a file that was at `path` is then unchanged."""
        assert isinstance(snapshot, Snapshot), snapshot
        tensors: dict[str, Tensor] = {STATE + name: t for name, t in load(snapshot.state.to_bytes()).items()}
        tensors |= {name: from_numpy(array) for name, array in saved_arrays(saved).items()}
        atomic_write(path, save(tensors, metadata=saved_metadata(saved)))

    def read(self, path: Path) -> Position:
        """Raises: StateError when the file is damaged, or belongs to other weights; NonFiniteError."""
        saved = read_saved(path)
        theirs, ours = saved.header, self._header
        if not self._preset.generates_frames_of(theirs.preset_sha256):
            raise StateError(
                f"{path} was saved in {theirs.preset} (weights {theirs.preset_sha256[:12]}), this is {ours.preset} "
                f"(weights {ours.preset_sha256[:12]})",
                hint=f"worldsim play {theirs.preset_ref} --load {path}",
            )
        tensors = self._migrated(load_file(path), saved)
        try:
            state = WorldState.from_bytes(save(tensors), self._like)
        except StateError as error:
            raise StateError(f"{path}: {error.message}", hint=error.hint) from None
        state.check_finite()
        step = saved.step
        if step.index == 0:
            step = replace(step, action=first_action(self._preset, saved.seed))
        snapshot = Snapshot(state=state, index=step.index)
        return Position(step=step, snapshot=snapshot, seed=saved.seed, runs=saved.runs, override=saved.anchor)

    def _migrated(self, stored: dict[str, Tensor], saved: SaveRecord) -> dict[str, Tensor]:
        """The state's tensors by their present names, without those of layers that the preset has dropped since.

        Such layers changed no frame, see `presets.store.EQUIVALENT_SHA256`.
        """
        tensors = {
            migrate_name(name.removeprefix(STATE), saved.schema, SCHEMA_VERSION, STATE_RENAMES): tensor
            for name, tensor in stored.items()
            if name.startswith(STATE)
        }
        if saved.header.preset_sha256 != self._preset.sha256 and isinstance(self._preset.model, MapModel):
            known = {*self._like.tensors, "counters"}
            tensors = {name: tensor for name, tensor in tensors.items() if name in known}
        return tensors
