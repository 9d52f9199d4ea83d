"""How the arithmetic of training is done: precision, activation checkpointing, compilation."""

from __future__ import annotations

import functools
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from worldsim.training.config import ComputeConfig

logger = logging.getLogger(__name__)

TRAINED_METHODS = ("forward_context", "forward_noisy", "forward_queries")
"""The methods of a layer with a backward pass; see `models.sequence.mixer`."""


def matmul_dtype(config: ComputeConfig, device: str) -> torch.dtype:
    """The type of matrix products in a forward pass."""
    is_full = config.precision == "float32" or (config.precision == "auto" and torch.device(device).type != "cuda")
    return torch.float32 if is_full else torch.bfloat16


def autocast_context(config: ComputeConfig, device: str) -> AbstractContextManager[Any]:
    """The context of a forward pass. Scans and maps stay in float32 (`models.fp32`)."""
    dtype = matmul_dtype(config, device)
    if dtype == torch.float32:
        return nullcontext()
    # With a cache, a nested pass without gradients would leave weights in it that have no gradient.
    return torch.autocast(torch.device(device).type, dtype=dtype, cache_enabled=False)


def prepare_layers(
    network: nn.Module,
    config: ComputeConfig,
    *,
    recompute_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Compiles the layers, or wraps them in activation checkpointing. Side effects: `network`.

    Layer by layer, with static shapes: one graph serves all layers, and compiling an entire model takes minutes.
    `recompute_context` creates a context for what is recomputed in the backward pass.
    """
    compiles = config.compile and _has_compiler(network)
    for layer in getattr(network, "layers", ()):
        for method in TRAINED_METHODS:
            function = getattr(layer, method)
            if compiles:
                function = torch.compile(function, dynamic=False)
            if config.activation_checkpointing:
                contexts = functools.partial(_checkpoint_contexts, recompute_context)
                function = functools.partial(checkpoint, function, use_reentrant=False, context_fn=contexts)
            setattr(layer, method, function)


def _has_compiler(network: nn.Module) -> bool:
    """On CUDA torch brings its own (Triton); on a CPU it needs one for C++."""
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    if not is_on_cpu or shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++"):
        return True
    logger.warning("training.compute.compile: no C++ compiler is installed; layers run eagerly")
    return False


def _checkpoint_contexts(
    recompute_context: Callable[[], AbstractContextManager[Any]],
) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), recompute_context()
