"""Freed memory is returned to the system in the background."""

from __future__ import annotations

import threading

import numpy as np
import psutil
import pytest

from worldsim.engine import history

PIECE_BYTES, NUM_PIECES = 64_000, 1600


def trim() -> None:
    history.trim_heap_async()
    for thread in threading.enumerate():
        if thread.name == "malloc_trim":
            thread.join()


@pytest.mark.skipif(history._malloc_trim() is None, reason="the C library is not glibc")
def test_large_blocks_between_small_ones_are_returned_to_the_system() -> None:
    process = psutil.Process()
    trim()  # memory freed by earlier tests would hide the growth
    before_bytes = process.memory_info().rss
    small, large = list[object](), list[object]()
    for i in range(NUM_PIECES):
        large.append(np.full(PIECE_BYTES, i % 256, np.uint8))
        small.append(np.ones(2000, np.uint8))
    held_bytes = process.memory_info().rss - before_bytes
    assert held_bytes > 0.5 * PIECE_BYTES * NUM_PIECES
    large.clear()
    trim()
    assert process.memory_info().rss - before_bytes < 0.3 * held_bytes
    assert len(small) == NUM_PIECES


def test_without_glibc_trim_is_a_no_op(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history.ctypes, "CDLL", lambda name: object())
    assert history._malloc_trim() is None
    history.trim_heap_async()
    assert not [thread for thread in threading.enumerate() if thread.name == "malloc_trim"]
