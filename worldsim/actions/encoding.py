"""Action to vector and back: buttons as 0 or 1, axes as they are, in the spec's order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from worldsim.core.types import Action, ActionSpec


def encode_action(spec: ActionSpec, action: Action) -> npt.NDArray[np.float32]:
    """Shapes: returns [A] float32 with A = `spec.size`. Raises ConfigError for an input the spec does not name."""
    spec.check(action)
    values = [1.0 if name in action.buttons else 0.0 for name in spec.buttons]
    values += [action.axis(name) for name in spec.axes]
    return np.asarray(values, dtype=np.float32)


def decode_action(spec: ActionSpec, vector_A: npt.NDArray[np.float32]) -> Action:
    """The inverse of `encode_action`; a button counts as held above one half."""
    assert vector_A.shape == (spec.size,), f"got {vector_A.shape}, expected ({spec.size},)"
    num_buttons = len(spec.buttons)
    buttons = frozenset(n for n, v in zip(spec.buttons, vector_A[:num_buttons], strict=True) if v > 0.5)
    axes = tuple((n, float(v)) for n, v in zip(spec.axes, vector_A[num_buttons:], strict=True))
    return Action(buttons=buttons, axes=axes)
