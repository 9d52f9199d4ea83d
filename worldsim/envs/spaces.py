"""Spaces, actions, reset options and seeds of single and batched environments. Torch-free.

An action is the vector in the column `action` of a recorded session: buttons first (held above 0.5), then axes. B
batch, A action.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from worldsim.core.errors import UsageError, did_you_mean
from worldsim.core.types import ActionSpec, Frame
from worldsim.worlds.trajectories import EVALUATION_SEED_START

SEED, START, STEPS, RESET_MASK = "seed", "start", "steps", "reset_mask"
"""Arguments of `reset`: the seed, and the options: number of the recorded start, denoising steps per frame, rows of a
batch to reset."""
MIN_WINDOW_PX = 480
"""Minimum height of the window of render_mode "human", which is an integer multiple of the frame's."""


def frame_space(frame_shape: tuple[int, int, int]) -> spaces.Box[np.uint8]:
    return spaces.Box(0, 255, frame_shape, np.uint8)


def action_space(spec: ActionSpec) -> spaces.Box[np.float32]:
    """Buttons in [0, 1], axes in [-1, 1]. Shapes: [A]."""
    low = np.asarray([0.0] * len(spec.buttons) + [-1.0] * len(spec.axes), np.float32)
    return spaces.Box(low, np.ones_like(low), dtype=np.float32)


def validate_action(space: spaces.Box[np.float32], action: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Shapes: those of `space`. Raises: UsageError for another shape, a value out of bounds, NaN."""
    vector = np.asarray(action, np.float32)
    if vector.shape != space.shape:
        raise UsageError(f"an action has shape {vector.shape}", hint=f"expected {space.shape}")
    if not ((space.low <= vector) & (vector <= space.high)).all():
        raise UsageError(f"an action is out of bounds: {vector}", hint="use gymnasium.wrappers.ClipAction")
    return vector


def validate_options(options: Mapping[str, Any] | None, known: Iterable[str]) -> dict[str, Any]:
    """Raises: UsageError for an unknown option."""
    found, names = dict(options or {}), set(known)
    for name in found:
        if name not in names:
            raise UsageError(f"unknown option {name!r} of reset", hint=did_you_mean(str(name), names))
    return found


def seed_of_start(seed: int, start: int | None, num_starts: int) -> int:
    """The seed near `seed` that begins at this recorded start, or `seed` itself without one: the result alone
    determines an episode. Raises: UsageError.
    """
    if start is None:
        return seed
    if not 0 <= start < num_starts:
        raise UsageError(f"option start is {start}", hint=f"the preset has starts 0 to {num_starts - 1}")
    return seed - seed % num_starts + int(start)


def sample_seed(generator: np.random.Generator) -> int:
    """A random seed for an episode, never one reserved for evaluation."""
    return int(generator.integers(EVALUATION_SEED_START))


def upscale(frame: Frame, scale: int) -> Frame:
    """Repeats every pixel `scale` times in both directions. Returns a copy."""
    return np.asarray(frame).repeat(scale, 0).repeat(scale, 1)
