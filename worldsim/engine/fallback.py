"""What went wrong in the model's machine, and the ways on: fewer denoising steps, then the CPU.

Owns: telling the kinds of trouble apart, the words for them, the ways on. Does not own: the worker that shows what
stays (`engine.worker`), what else can be done then (`engine.session`). Torch-free: torch's errors are told apart by
what they say, for their classes differ between devices and versions. Model thread.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from worldsim.core.errors import DeviceError, WorldsimError
from worldsim.core.types import Action, ActionSpec, Step
from worldsim.engine.interfaces import SimulatorProtocol, StageTimes, SupportsContextReset
from worldsim.episodes.context_override import ContextOverride

T = TypeVar("T")

_OUT_OF_MEMORY = re.compile(r"out of memory|can(not|'t) allocate memory|alloc_failed", re.IGNORECASE)
_DEVICE_LOST = re.compile(
    r"(CUDA|HIP|XPU|MPS|cuDNN|cuBLAS)\w* (driver )?error|CUBLAS_STATUS|CUDNN_STATUS|device(-side)? (was )?lost|"
    r"device-side assert|no (CUDA|HIP)[- ]capable device|GPU (is|has been) lost",
    re.IGNORECASE,
)


class DeviceFault(Enum):
    OUT_OF_MEMORY = "out of memory"
    DEVICE_LOST = "the device was lost"


def classify_fault(error: Exception) -> DeviceFault | None:
    """None: it is neither."""
    if isinstance(error, MemoryError):
        return DeviceFault.OUT_OF_MEMORY
    if isinstance(error, WorldsimError) or not isinstance(error, RuntimeError):
        return None
    if _OUT_OF_MEMORY.search(str(error)):
        return DeviceFault.OUT_OF_MEMORY
    is_lost = type(error).__name__ == "AcceleratorError" or _DEVICE_LOST.search(str(error))
    return DeviceFault.DEVICE_LOST if is_lost else None


def as_worldsim_error(error: Exception) -> WorldsimError:
    """In words for the window. What nobody foresaw is printed with its traceback."""
    if isinstance(error, WorldsimError):
        return error
    kind = classify_fault(error)
    if kind is DeviceFault.OUT_OF_MEMORY:
        return WorldsimError("out of memory", hint="close other programs, or choose a smaller preset")
    if kind is DeviceFault.DEVICE_LOST:
        return DeviceError(f"the device was lost: {_first_line(error)}", hint="--device cpu does without it")
    traceback.print_exception(error)
    return WorldsimError(f"{type(error).__name__}: {error}", hint="see the traceback in the terminal")


class FallbackSimulator:
    """A simulator that falls back where another one fails. `warning` says, in one line, how it last had to."""

    def __init__(self, playable: SimulatorProtocol, on_cpu: Callable[[], SimulatorProtocol] | None = None) -> None:
        """`on_cpu`: makes the same world on the CPU; None where it is there already."""
        self._playable, self._on_cpu = playable, on_cpu
        self.action_spec: ActionSpec = playable.action_spec
        self.frame_shape: tuple[int, int, int] = playable.frame_shape
        self.warning = ""
        self._current_snapshot: Any = None

    @property
    def num_steps(self) -> int:
        return self._playable.num_steps

    @num_steps.setter
    def num_steps(self, value: int) -> None:
        self._playable.num_steps, self.warning = value, ""

    @property
    def last_times(self) -> StageTimes:
        return self._playable.last_times

    def reset(self, seed: int) -> Step:
        self._current_snapshot = None  # wherever that was, nobody goes on from there
        return self._with_fallback(lambda playable: playable.reset(seed))

    def step(self, action: Action) -> Step:
        return self._with_fallback(lambda playable: playable.step(action))

    def reset_context(self, anchor: ContextOverride, seed: int) -> Step:
        def reset_context(playable: SimulatorProtocol) -> Step:
            assert isinstance(playable, SupportsContextReset), "only what was learned has a memory that can give way"
            return playable.reset_context(anchor, seed)

        self._current_snapshot = None
        return self._with_fallback(reset_context)

    def snapshot(self) -> Any:
        return self._playable.snapshot()

    def restore(self, snapshot: Any) -> None:
        self._with_fallback(lambda playable: playable.restore(snapshot))

    def close(self) -> None:
        self._playable.close()

    def _with_fallback(self, do: Callable[[SimulatorProtocol], T]) -> T:
        """Raises: DeviceError when what is remembered lay in a device that was lost; WorldsimError without memory."""
        while True:
            try:
                done = do(self._playable)
            except Exception as error:  # torch has no class of its own for most of these
                kind = classify_fault(error)
                if kind is None:
                    raise
                self._fall_back(kind, error)
            else:
                self._current_snapshot = self._playable.snapshot()
                return done

    def _fall_back(self, kind: DeviceFault, error: Exception) -> None:
        """Afterwards it can be tried again."""
        num_steps = self.num_steps
        if kind is DeviceFault.OUT_OF_MEMORY and num_steps > 1:
            self._playable.num_steps = 1
            self.warning = f"out of memory: 1 denoising step instead of {num_steps} from here on"
            return
        if self._on_cpu is None and self.warning.startswith(DeviceFault.DEVICE_LOST.value):
            raise DeviceError("what was remembered then lay in the device that was lost") from error
        if self._on_cpu is None:
            raise as_worldsim_error(error) from error
        make, self._on_cpu = self._on_cpu, None
        self._playable = make()
        self.warning = f"{kind.value}: the world goes on on the CPU, more slowly"
        if self._current_snapshot is None:
            return
        try:
            self._playable.restore(self._current_snapshot)
        except Exception as lost:  # a device that is gone keeps what was in it
            raise DeviceError(
                f"{kind.value} ({_first_line(error)}), and with it what the model remembered",
                hint="what was recorded is kept; from now on the world runs on the CPU",
            ) from lost


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
