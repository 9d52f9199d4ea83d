"""What play needs to know of an accelerator besides the model: a stream for frames made ahead, the memory taken.

Owns: these two. Does not own: which device there is (the caller says). Imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from worldsim.engine.interfaces import StreamContext


def background_stream(device: str) -> StreamContext:
    """On CUDA, each use runs in one stream of its own, after all that was asked for before, and before all that is
    asked for after. A frame ends with its picture on the CPU, so nothing still runs when its memory is given back."""
    if torch.device(device).type != "cuda":
        return nullcontext
    stream = torch.cuda.Stream(device)

    @contextmanager
    def in_own_stream() -> Iterator[None]:
        usual = torch.cuda.current_stream(device)
        stream.wait_stream(usual)
        with torch.cuda.stream(stream):
            yield
        usual.wait_stream(stream)

    return in_own_stream


def device_bytes(device: str) -> int | None:
    """What torch's allocator has taken on `device`; None on the CPU."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.memory_reserved(device)
    return torch.mps.driver_allocated_memory() if kind == "mps" else None
