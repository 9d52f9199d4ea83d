"""A stopwatch, a FLOP counter, peak memory, and a reference rate of matrix products.

Other programs on the machine add time, and unevenly: single-threaded CPU work is therefore measured in CPU time, which
does not advance while another program runs.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

POLL_INTERVAL_S = 0.01
"""Resident memory has no peak counter that can be reset, so it is sampled at this interval."""

_aten = torch.ops.aten
_FORMULAS = {
    **flop_registry,
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_aten._scaled_dot_product_flash_attention],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}
"""Torch's formulas, plus attention on a CPU, which they lack."""


class Stopwatch:
    """Milliseconds of work on a device. With `waits`, time spent waiting for other processes counts: wall time."""

    def __init__(self, device: str, *, waits: bool = False) -> None:
        self._device = device
        self.is_cpu_time = device == "cpu" and torch.get_num_threads() == 1 and not waits
        self._now_s = time.thread_time if self.is_cpu_time else time.perf_counter
        self._start_s = 0.0

    def start(self) -> None:
        self._wait()
        self._start_s = self._now_s()

    def stop_ms(self) -> float:
        self._wait()
        return (self._now_s() - self._start_s) * 1e3

    def _wait(self) -> None:
        kind = torch.device(self._device).type
        if kind == "cuda":
            torch.cuda.synchronize(self._device)
        elif kind == "mps":
            torch.mps.synchronize()


class FlopCounter(TorchDispatchMode):
    """Counts FLOPs of matrix products, convolutions and attention by `phase`, which the caller sets.

    Use as a context manager, on eager code: compiled code hides operations that were fused. Not torch's
    FlopCounterMode, because its per-module table fails on views created without gradients.
    """

    def __init__(self, phase: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.phase = phase
        self.flops = Counter[str]()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if formula := _FORMULAS.get(func.overloadpacket):
            self.flops[self.phase] += formula(*args, **kwargs, out_val=result)
        return result


class PeakMemory:
    """Peak memory of a block: memory allocated on a CUDA device, else growth of the process over `before_bytes`.

    Use as a context manager.
    """

    def __init__(self, device: str, before_bytes: int) -> None:
        self._device, self._before_bytes, self._peak_bytes = device, before_bytes, before_bytes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        if self._is_cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if not self._is_cuda:
            self._thread.join()

    @property
    def num_bytes(self) -> int:
        """The peak so far."""
        if self._is_cuda:
            return int(torch.cuda.max_memory_allocated(self._device))
        return self._peak_bytes - self._before_bytes

    @property
    def _is_cuda(self) -> bool:
        return self._device.startswith("cuda")

    def _poll(self) -> None:
        while True:
            self._peak_bytes = max(self._peak_bytes, allocated_bytes(self._device))
            if self._stop.wait(POLL_INTERVAL_S):
                return


def allocated_bytes(device: str) -> int:
    """Resident memory of the process; on CUDA, memory allocated on the device."""
    if device.startswith("cuda"):
        return int(torch.cuda.memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def matmul_rate(device: str, dtype: torch.dtype, *, rows: int, size: int, limit_s: float) -> float:
    """FLOP/s of a matrix product [rows, size] x [size, size]: the fastest repetition within `limit_s`."""
    left, right = (torch.randn(count, size, device=device).to(dtype) for count in (rows, size))
    stopwatch, spent_ms = Stopwatch(device), list[float]()
    left @ right  # the first product also loads the library
    while sum(spent_ms) < limit_s * 1e3:
        stopwatch.start()
        left @ right
        spent_ms.append(stopwatch.stop_ms())
    return 2 * rows * size * size / (min(spent_ms) / 1e3)
