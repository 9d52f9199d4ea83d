"""What crosses between the model thread and the window beside frames: tasks one way, news the other.

Owns: their types. Does not own: the thread (`engine.worker`). All are frozen. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from worldsim.core.errors import WorldsimError
from worldsim.engine.interfaces import LoadedWorld, Position, SimulatorProtocol, StageTimes

Task = Callable[[SimulatorProtocol], Position | None]
"""What else the model thread shall do between two frames. Where it puts the world elsewhere, it returns where;
that leads out of a failure, too."""

StageCallback = Callable[[str], None]
"""Called by a loader with the name of the stage that begins."""


class WorkerPhase(Enum):
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """The worker's news for the window; the latest one replaces all before it."""

    phase: WorkerPhase = WorkerPhase.LOADING
    stage: str = "starting"
    loaded: LoadedWorld | None = None
    error: WorldsimError | None = None
    warning: str = ""
    """What went wrong last and was worked around."""


@dataclass(frozen=True, kw_only=True)
class WorkerCounters:
    """What happened since the start. `made` counts every frame, wanted or not; `busy_ns` is the time spent on them."""

    hits: int = 0
    misses: int = 0
    made: int = 0
    dropped: int = 0
    busy_ns: int = 0
    ahead: int = 0
    """Frames made ahead and waiting now."""
    depth: int = 0
    """How many may wait now."""
    num_steps: int = 0
    times: StageTimes = StageTimes()
    device_bytes: int | None = None
    """Memory that torch has taken on an accelerator; None on the CPU."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """How an task ended."""

    position: Position | None = None
    error: WorldsimError | None = None
