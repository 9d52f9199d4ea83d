"""How the arithmetic of training is done: precision, memory against time, compilation. Not what is computed."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from worldsim.training.config import ComputeConfig

TRAINED_VERBS = ("write", "read")
"""Of a layer, those with a backward pass; see `models.mixer`."""


def precision(config: ComputeConfig, device: str) -> AbstractContextManager[Any]:
    """The context of a forward pass. Scans and the place memory stay in float32 (`models.precision`)."""
    kind = torch.device(device).type
    if config.precision == "float32" or (config.precision == "auto" and kind != "cuda"):
        return nullcontext()
    # A pass without gradient inside would otherwise leave weights in the cache that have none.
    return torch.autocast(kind, dtype=torch.bfloat16, cache_enabled=False)


def prepare_layers(network: nn.Module, config: ComputeConfig) -> None:
    """Compiles the layers, or makes them forget what the backward pass can compute again. Side effects: `network`.

    Layer by layer, with static shapes: one graph serves all layers, and compiling a whole model takes minutes.
    """
    for layer in getattr(network, "layers", ()):
        for verb in TRAINED_VERBS:
            function = getattr(layer, verb)
            if config.compile_layers:
                function = torch.compile(function, dynamic=False)
            if config.forget_activations:
                function = functools.partial(checkpoint, function, use_reentrant=False)
            setattr(layer, verb, function)
