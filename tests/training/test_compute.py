"""Precision and activation checkpointing change results only by rounding, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from worldsim.training.compute import autocast_context, matmul_dtype, prepare_layers
from worldsim.training.config import ComputeConfig


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward_context(self, x: Tensor) -> Tensor:
        return x + self.linear(x).tanh()

    def forward_queries(self, x: Tensor) -> Tensor:
        return self.forward_context(x)

    def forward_noisy(self, x: Tensor) -> Tensor:
        return self.forward_context(x)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([Layer(), Layer()])

    def gradient(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.forward_context(x)  # type: ignore[operator]  # a Layer
        x.square().sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in self.parameters() if parameter.grad is not None])


def test_activation_checkpointing_recomputes_every_layer_and_changes_no_gradient() -> None:
    heard = []

    @contextmanager
    def recompute_context() -> Iterator[None]:
        heard.append(1)
        yield

    x, network = torch.randn(3, 4), Network()
    prepare_layers(network, ComputeConfig(activation_checkpointing=True), recompute_context=recompute_context)
    assert torch.equal(network.gradient(x), Network().gradient(x))
    assert len(heard) == 2


@pytest.mark.parametrize(
    ("asked", "device", "found"),
    [
        ("auto", "cpu", torch.float32),
        ("auto", "cuda:1", torch.bfloat16),
        ("float32", "cuda", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
    ],
)
def test_matrix_products_use_the_requested_precision(asked: str, device: str, found: torch.dtype) -> None:
    assert matmul_dtype(ComputeConfig(precision=asked), device) == found  # type: ignore[arg-type]  # one of the names
    if device == "cpu":
        with autocast_context(ComputeConfig(precision=asked), device):  # type: ignore[arg-type]
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == found


def test_without_a_compiler_layers_run_eagerly_with_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("torch.compile", lambda *args, **kwargs: pytest.fail("compiled"))
    prepare_layers(nn.Module(), ComputeConfig(compile=True))
    assert "no C++ compiler" in caplog.text
