"""What the worker can drive: a World that can go back to where it was. Torch-free.

Owns: the protocol, the snapshot's and the timings' types, and the adapter that lets a true world be played by the same
code. Does not own: the learned simulator (`engine.simulator`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from worldsim.core.types import Action, ActionSpec, Step, World
from worldsim.engine.saves import SaveRecord
from worldsim.episodes.context_override import ContextOverride
from worldsim.episodes.format import SessionHeader
from worldsim.worlds.base import PosePolicy

StreamContext: TypeAlias = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """Where one frame's time went."""

    ms_denoise: float = 0.0
    ms_commit: float = 0.0
    ms_decode: float = 0.0

    @property
    def ms_total(self) -> float:
        return self.ms_denoise + self.ms_commit + self.ms_decode


class SimulatorProtocol(World, Protocol):
    """A World with snapshots and a number of denoising steps. Not thread-safe; one owner."""

    num_steps: int

    @property
    def last_times(self) -> StageTimes: ...

    def snapshot(self) -> Any:
        """Where the world is now; opaque, never changed."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot: the same actions from there give the same frames."""
        ...


@runtime_checkable
class SupportsContextReset(Protocol):
    """A simulator whose memory can be replaced by given frames: a learned one."""

    def reset_context(self, anchor: ContextOverride, seed: int) -> Step:
        """Stands at the last of the pictures, with nothing else in its memory. The same noise follows as would have.

        Raises: RecordingError when the pictures are damaged.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where the world stands after it was put somewhere else: `snapshot` is the one after `step`."""

    step: Step
    snapshot: Any


class SaveStore(Protocol):
    """Saved states as files. Its methods run in the model thread."""

    def write(self, path: Path, saved: SaveRecord, snapshot: Any) -> None:
        """Raises: StorageError."""
        ...

    def read(self, path: Path) -> tuple[SaveRecord, Position]:
        """Raises: StateError when the file is damaged, or of another preset."""
        ...


class ReferenceWorld(World, Protocol):
    """A true world that `reset` brings to where a preset begins."""

    @property
    def steps_to_start(self) -> Sequence[Step]:
        """What led to the start, the start itself the last of it."""
        ...

    def explorer(self, seed: int) -> PosePolicy: ...


@dataclass(frozen=True, kw_only=True)
class ReferenceSource:
    """What loading hands on of a preset's true world. Nothing is started before `open` is called."""

    open: Callable[[], ReferenceWorld]
    num_context: int
    """How many true pictures a model is given to begin from."""


@dataclass(frozen=True, kw_only=True)
class LoadedWorld:
    """What loading hands to the worker: the world, and what the window needs to know about it."""

    playable: SimulatorProtocol
    title: str
    ticks_per_s: float
    can_rewind: bool = True
    """Whether snapshots work; without them nothing is made ahead."""
    header: SessionHeader | None = None
    """What a recording says of its origin; None where it cannot be recorded."""
    snapshot_bytes: int = 2**20
    """What one snapshot costs: the history counts with it."""
    reference: ReferenceSource | None = None
    """The true world that the preset was learned from; None where there is none, or it is that world itself."""
    start_frames: Sequence[npt.NDArray[np.uint8]] = ()
    """True pictures, [T, H, W, 3] per start: what the drift meter takes for good."""
    num_context: int = 1
    """How many pictures the model begins from."""
    saves: SaveStore | None = None
    """Writes and reads saved states; None where there are none."""
    background_stream: StreamContext = nullcontext
    """What surrounds a frame that is made ahead: on CUDA, a stream of its own."""
    device_bytes: Callable[[], int | None] = lambda: None
    """Memory that torch has taken on an accelerator; None on the CPU. Asked in the model thread."""
    warning: Callable[[], str] = lambda: ""
    """In one line, what went wrong last and was worked around. Asked in the model thread."""

    @property
    def action_spec(self) -> ActionSpec:
        return self.playable.action_spec


class ForwardOnlySimulator:
    """A reference world as a simulator: it cannot be rewound, and has no denoising steps. `keys`: what moves it, where
    its own inputs are poses."""

    num_steps = 0
    last_times = StageTimes()

    def __init__(self, world: World, keys: ActionSpec | None = None) -> None:
        self._world = world
        self.action_spec = keys or world.action_spec
        self.frame_shape = world.frame_shape

    def reset(self, seed: int) -> Step:
        return self._world.reset(seed)

    def step(self, action: Action) -> Step:
        return self._world.step(action)

    def snapshot(self) -> object:
        return object()

    def restore(self, snapshot: object) -> None:
        raise AssertionError("a true world cannot go back; play it with Loaded(can_rewind=False)")

    def close(self) -> None:
        self._world.close()
