"""Instruments against values worked out by hand."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F

from worldsim.training.profiling import FlopCounter, PeakMemory, Stopwatch, allocated_bytes, matmul_rate


def test_matrix_products_are_counted_forward_and_backward() -> None:
    x, weight = torch.randn(5, 3), torch.randn(3, 7, requires_grad=True)
    with FlopCounter("forward") as counter:
        y = x @ weight
        counter.phase = "backward"
        y.sum().backward()
    assert counter.flops == {"forward": 2 * 5 * 3 * 7, "backward": 2 * 5 * 3 * 7}, "x needs no gradient"


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_attention_is_counted_on_every_device(device: str) -> None:
    query = torch.randn(2, 4, 16, 8, requires_grad=True, device=device)
    with FlopCounter("forward") as counter:
        mixed = F.scaled_dot_product_attention(query, query, query)
        counter.phase = "backward"
        mixed.sum().backward()
    product = 2 * (2 * 4 * 16 * 16 * 8)
    assert counter.flops["forward"] == 2 * product, "the scores, and the mean of the values"
    assert counter.flops["backward"] >= 2 * counter.flops["forward"]


def test_one_thread_of_a_cpu_is_timed_by_its_own_clock() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        stopwatch = Stopwatch("cpu")
        assert stopwatch.is_cpu_time
        stopwatch.start()
        total = sum(range(200_000))
        assert total > 0 and stopwatch.stop_ms() > 0
        assert not Stopwatch("cpu", waits=True).is_cpu_time
        torch.set_num_threads(2)
        assert not Stopwatch("cpu").is_cpu_time
    finally:
        torch.set_num_threads(before)


def test_the_peak_includes_memory_that_was_freed_again() -> None:
    num_bytes = 2**26
    with PeakMemory("cpu", allocated_bytes("cpu")) as memory:
        torch.ones(num_bytes // 4).sum()
        held = torch.ones(num_bytes // 4)
        until_s = time.monotonic() + 5
        while memory.num_bytes < num_bytes // 2 and time.monotonic() < until_s:
            time.sleep(0.01)
        del held
    assert num_bytes // 2 <= memory.num_bytes < 20 * num_bytes


def test_the_matmul_rate_is_that_of_the_requested_product() -> None:
    rate = matmul_rate("cpu", torch.float32, rows=64, size=64, limit_s=0.01)
    assert 1e7 < rate < 1e14
