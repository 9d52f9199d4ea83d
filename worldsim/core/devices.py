"""torch's device, threads and memory, and a CUDA stream for prefetched frames. Loads torch when called."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

from worldsim.core.errors import DeviceError, did_you_mean

_log = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda", "mps")

StreamContext: TypeAlias = Callable[[], AbstractContextManager[Any]]


def choose_device(name: str) -> str:
    """A device as torch names it: `auto` is CUDA if available, otherwise the CPU (never MPS).

    Raises: DeviceError for an unknown or unavailable device.
    """
    kind = name.split(":")[0]
    if kind not in DEVICES:
        raise DeviceError(f"no device {name!r}", hint=did_you_mean(name, DEVICES))
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        chosen = "cuda" if available["cuda"] else "cpu"
        _log.info("device %s%s", chosen, "" if available["cuda"] else ": no CUDA device")
        return chosen
    if not available.get(kind):
        message = f"device {name} is not available on this machine or in this build of torch"
        raise DeviceError(message, hint="use --device cpu; `worldsim doctor` lists what is available")
    return name


def set_threads(requested: int | None, default: int) -> None:
    """Side effects: sets torch's number of CPU threads to `requested`, or to `default` if that is None."""
    import torch

    torch.set_num_threads(default if requested is None else requested)


def reserved_bytes(device: str) -> int | None:
    """Memory that torch's allocator has reserved on an accelerator; None on the CPU."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.memory_reserved(device)
    return torch.mps.driver_allocated_memory() if kind == "mps" else None


def background_stream(device: str) -> StreamContext:
    """On CUDA, each use runs in one stream of its own, after all work queued before it and before all work queued after
    it. A frame ends with its image on the CPU, so nothing is still running when its memory is freed."""
    import torch

    if torch.device(device).type != "cuda":
        return nullcontext
    stream = torch.cuda.Stream(device)

    @contextmanager
    def in_own_stream() -> Iterator[None]:
        default = torch.cuda.current_stream(device)
        stream.wait_stream(default)
        with torch.cuda.stream(stream):
            yield
        default.wait_stream(stream)

    return in_own_stream
