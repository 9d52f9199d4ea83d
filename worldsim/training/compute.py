"""How the arithmetic of training is done: precision, memory against time, compilation. Not what is computed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from worldsim.training.config import ComputeConfig

TRAINED_METHODS = ("forward_context", "forward_noisy")
"""Of a layer, those with a backward pass; see `models.sequence.mixer`."""


def matmul_dtype(config: ComputeConfig, device: str) -> torch.dtype:
    """Of matrix products in a forward pass."""
    is_full = config.precision == "float32" or (config.precision == "auto" and torch.device(device).type != "cuda")
    return torch.float32 if is_full else torch.bfloat16


def autocast_context(config: ComputeConfig, device: str) -> AbstractContextManager[Any]:
    """The context of a forward pass. Scans and maps stay in float32 (`models.fp32`)."""
    dtype = matmul_dtype(config, device)
    if dtype == torch.float32:
        return nullcontext()
    # A pass without gradient inside would otherwise leave weights in the cache that have none.
    return torch.autocast(torch.device(device).type, dtype=dtype, cache_enabled=False)


def prepare_layers(
    network: nn.Module,
    config: ComputeConfig,
    *,
    recompute_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Compiles the layers, or makes them forget what the backward pass can compute again. Side effects: `network`.

    Layer by layer, with static shapes: one graph serves all layers, and compiling a whole model takes minutes.
    `recompute_context` makes a context for whatever is computed a second time.
    """
    for layer in getattr(network, "layers", ()):
        for method in TRAINED_METHODS:
            function = getattr(layer, method)
            if config.compile_layers:
                function = torch.compile(function, dynamic=False)
            if config.forget_activations:
                contexts = functools.partial(_checkpoint_contexts, recompute_context)
                function = functools.partial(checkpoint, function, use_reentrant=False, context_fn=contexts)
            setattr(layer, method, function)


def _checkpoint_contexts(
    recompute_context: Callable[[], AbstractContextManager[Any]],
) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), recompute_context()
