"""A decorator that disables autocast, for computations that must not be rounded to bfloat16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Runs `function` in the precision of its inputs, also where autocast rounds matrix products to bfloat16."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        device_types = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        if not device_types:
            return function(*args, **kwargs)
        with torch.autocast(device_types[0], enabled=False), torch.autocast(device_types[-1], enabled=False):
            return function(*args, **kwargs)

    return run
