"""Faults of the model's device and how to continue after one: fewer denoising steps first, then the CPU.

Torch-free: torch's errors are recognized by their text, for their classes differ between devices and versions. Model
thread.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from worldsim.core.errors import DeviceError, WorldsimError
from worldsim.core.types import Action, ActionSpec, Step
from worldsim.engine.interfaces import (
    MapView,
    SimulatorProtocol,
    StageTimes,
    SupportsContextReset,
    SupportsMapView,
)
from worldsim.episodes.format import ContextOverride

T = TypeVar("T")

_OUT_OF_MEMORY = re.compile(r"out of memory|can(not|'t) allocate memory|alloc_failed", re.IGNORECASE)
_DEVICE_LOST = re.compile(
    r"(CUDA|HIP|XPU|MPS|cuDNN|cuBLAS)\w* (driver )?error|CUBLAS_STATUS|CUDNN_STATUS|device(-side)? (was )?lost|"
    r"device-side assert|no (CUDA|HIP)[- ]capable device|GPU (is|has been) lost",
    re.IGNORECASE,
)


class DeviceFault(Enum):
    OUT_OF_MEMORY = "out of memory"
    DEVICE_LOST = "device lost"


def classify_fault(error: Exception) -> DeviceFault | None:
    """None if it is neither."""
    if isinstance(error, MemoryError):
        return DeviceFault.OUT_OF_MEMORY
    if isinstance(error, WorldsimError) or not isinstance(error, RuntimeError):
        return None
    if _OUT_OF_MEMORY.search(str(error)):
        return DeviceFault.OUT_OF_MEMORY
    is_lost = type(error).__name__ == "AcceleratorError" or _DEVICE_LOST.search(str(error))
    return DeviceFault.DEVICE_LOST if is_lost else None


def as_worldsim_error(error: Exception) -> WorldsimError:
    """An error with a message for the player. An unexpected one is also printed with its traceback."""
    if isinstance(error, WorldsimError):
        return error
    fault = classify_fault(error)
    if fault is DeviceFault.OUT_OF_MEMORY:
        return WorldsimError("out of memory", hint="close other programs, or choose a smaller preset")
    if fault is DeviceFault.DEVICE_LOST:
        return DeviceError(f"device lost: {_first_line(error)}", hint="try --device cpu")
    traceback.print_exception(error)
    return WorldsimError(f"{type(error).__name__}: {error}", hint="see the traceback in the terminal")


class FallbackSimulator:
    """A simulator that continues after a fault of its device. `warning` describes the last fallback in one line."""

    def __init__(self, playable: SimulatorProtocol, on_cpu: Callable[[], SimulatorProtocol] | None = None) -> None:
        """`on_cpu`: creates the same world on the CPU; None if `playable` runs there already."""
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
        self._current_snapshot = None  # not needed after a fault: the reset discards it
        return self._with_fallback(lambda playable: playable.reset(seed))

    def step(self, action: Action) -> Step:
        return self._with_fallback(lambda playable: playable.step(action))

    def reset_context(self, override: ContextOverride, seed: int) -> Step:
        def reset_context(playable: SimulatorProtocol) -> Step:
            assert isinstance(playable, SupportsContextReset), "only a learned world has memory to replace"
            return playable.reset_context(override, seed)

        self._current_snapshot = None
        return self._with_fallback(reset_context)

    def snapshot(self) -> Any:
        return self._playable.snapshot()

    def restore(self, snapshot: Any) -> None:
        self._with_fallback(lambda playable: playable.restore(snapshot))

    def map_view(self, snapshot: Any) -> MapView | None:
        return self._playable.map_view(snapshot) if isinstance(self._playable, SupportsMapView) else None

    def close(self) -> None:
        self._playable.close()

    def _with_fallback(self, call: Callable[[SimulatorProtocol], T]) -> T:
        """Raises: DeviceError when the current state was on a device that is lost; WorldsimError when out of memory."""
        while True:
            try:
                result = call(self._playable)
            except Exception as error:  # torch has no class of its own for most of these
                fault = classify_fault(error)
                if fault is None:
                    raise
                self._fall_back(fault, error)
            else:
                self._current_snapshot = self._playable.snapshot()
                return result

    def _fall_back(self, fault: DeviceFault, error: Exception) -> None:
        """The call can be retried afterwards."""
        num_steps = self.num_steps
        if fault is DeviceFault.OUT_OF_MEMORY and num_steps > 1:
            self._playable.num_steps = 1
            self.warning = f"out of memory: reduced from {num_steps} to 1 denoising step"
            return
        if self._on_cpu is None and self.warning.startswith(DeviceFault.DEVICE_LOST.value):
            raise DeviceError("this state was on the lost device") from error
        if self._on_cpu is None:
            raise as_worldsim_error(error) from error
        make, self._on_cpu = self._on_cpu, None
        self._playable = make()
        self.warning = f"{fault.value}: continuing on the CPU (slower)"
        if self._current_snapshot is None:
            return
        try:
            self._playable.restore(self._current_snapshot)
        except Exception as lost:  # the state cannot be copied from a lost device
            raise DeviceError(
                f"{fault.value} ({_first_line(error)}), and the model's state with it",
                hint="the recording is kept; continuing on the CPU",
            ) from lost


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
