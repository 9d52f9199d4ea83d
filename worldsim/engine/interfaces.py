"""Interfaces between the engine and the worlds it runs: protocols and plain types. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from worldsim.core.devices import StreamContext
from worldsim.core.types import ActionSpec, Step, World
from worldsim.engine.saves import SaveRecord
from worldsim.episodes.format import ActionRun, ContextOverride, SessionHeader
from worldsim.worlds.base import PosePolicy


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """How the time of one frame divides into stages."""

    ms_denoise: float = 0.0
    ms_commit: float = 0.0
    ms_decode: float = 0.0


class SimulatorProtocol(World, Protocol):
    """A World with snapshots and a number of denoising steps. Not thread-safe; one owner."""

    num_steps: int

    @property
    def last_times(self) -> StageTimes: ...

    def snapshot(self) -> Any:
        """The current state of the world; opaque and immutable."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot: the same actions from there give the same frames."""
        ...


@runtime_checkable
class SupportsContextReset(Protocol):
    """A simulator whose memory can be replaced by given frames, as a learned one's can."""

    def reset_context(self, override: ContextOverride, seed: int) -> Step:
        """Remember only the given frames and continue from the last of them, with the noise of that frame index.

        Raises: RecordingError when the frames are damaged.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class MapView:
    """The map in a model's state, from above, around the origin of its poses.

    Shapes: uint8 [G, G], rows from low to high y, columns from low to high x, 0 to 255.
    """

    wall: npt.NDArray[np.uint8] = field(repr=False)
    """How opaque a cell is."""
    known: npt.NDArray[np.uint8] = field(repr=False)
    """How certain that is."""
    reach: float
    """Distance of the outermost cells from the center, in ticks of walking."""


@runtime_checkable
class SupportsMapView(Protocol):
    """A simulator whose model may have a map."""

    def map_view(self, snapshot: Any) -> MapView | None:
        """The map in a snapshot; None without one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Position:
    """A point in play and how it was reached: enough to continue, record and save from there."""

    step: Step
    snapshot: Any = None
    """State after `step`."""
    seed: int
    runs: tuple[ActionRun, ...] = field(default=(), repr=False)
    """Actions from the reset with `seed` to `step`."""
    override: ContextOverride | None = None
    """The last context reset on the way to `step`."""


class SaveStore(Protocol):
    """Saved states as files. Its methods run in the model thread."""

    def write(self, path: Path, saved: SaveRecord, snapshot: Any) -> None:
        """Raises: StorageError."""
        ...

    def read(self, path: Path) -> Position:
        """Raises: StateError when the file is damaged, or belongs to another preset."""
        ...


class ReferenceWorld(World, Protocol):
    """A ground-truth world that `reset` brings to a start of the preset."""

    @property
    def steps_to_start(self) -> Sequence[Step]:
        """Steps that led to the start, ending with the start itself."""
        ...

    def explorer(self, seed: int) -> PosePolicy: ...


@dataclass(frozen=True, kw_only=True)
class ReferenceSource:
    """How to open a preset's reference world. Nothing starts before `open` is called."""

    open: Callable[[], ReferenceWorld]
    num_context: int
    """Ground-truth frames that a model is given as context."""


@dataclass(frozen=True, kw_only=True)
class LoadedWorld:
    """A loaded world, and what the window needs to know about it. Handed from the loader to the worker."""

    playable: SimulatorProtocol
    title: str
    ticks_per_s: float
    can_rewind: bool = True
    """Whether snapshots work; without them there is no prefetch either."""
    header: SessionHeader | None = None
    """Origin to write into recordings; None if this world cannot be recorded."""
    snapshot_bytes: int = 2**20
    """Size of one snapshot, for the history's budget."""
    reference: ReferenceSource | None = None
    """The ground-truth world that the preset was trained on; None if there is none, or `playable` is that world."""
    start_frames: Sequence[npt.NDArray[np.uint8]] = ()
    """Ground-truth frames, [T, H, W, 3] per start: the drift meter's baseline."""
    num_context: int = 1
    """Frames of context the model starts from."""
    no_denoising_reason: str = ""
    """Why the number of denoising steps has no effect; empty where it has one."""
    saves: SaveStore | None = None
    """Reads and writes saved states; None if this world cannot be saved."""
    background_stream: StreamContext = nullcontext
    """Context for computing a prefetched frame: on CUDA, a stream of its own."""
    device_bytes: Callable[[], int | None] = lambda: None
    """Accelerator memory reserved by torch; None on the CPU. Called in the model thread."""
    warning: Callable[[], str] = lambda: ""
    """One line about the last problem that was worked around. Called in the model thread."""

    @property
    def has_num_steps(self) -> bool:
        """Whether the number of denoising steps has an effect."""
        return self.playable.num_steps > 0 and not self.no_denoising_reason

    @property
    def action_spec(self) -> ActionSpec:
        return self.playable.action_spec
