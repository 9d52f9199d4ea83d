"""The values that cross package borders: Action, ActionSpec, PoseControl, Frame, Pose, Step, World.

Owns: their meaning, validation and encoding.
All are frozen and may be handed between threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from worldsim.core.config import NOT_STORED
from worldsim.core.errors import ConfigError, did_you_mean

Frame: TypeAlias = npt.NDArray[np.uint8]
"""One picture: uint8, H x W x 3, RGB."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """What the player does during one model tick: named buttons held, and axes in [-1, 1].

    An axis that is not named is at 0. Hashable, so that "is it still the same action?" is `==`.
    """

    buttons: frozenset[str] = frozenset()
    axes: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name, value in self.axes:
            assert -1.0 <= value <= 1.0, f"axis {name} is {value}, outside [-1, 1]"
        canonical = tuple(sorted((name, float(value)) for name, value in self.axes if value != 0.0))
        assert len({name for name, _ in canonical}) == len(canonical), f"axis named twice: {self.axes}"
        object.__setattr__(self, "axes", canonical)

    @classmethod
    def of(cls, *buttons: str, **axes: float) -> Action:
        """`Action.of("forward", turn=0.5)`."""
        return cls(buttons=frozenset(buttons), axes=tuple(axes.items()))

    def axis(self, name: str) -> float:
        return dict(self.axes).get(name, 0.0)

    def to_json(self) -> dict[str, object]:
        return {"buttons": sorted(self.buttons), "axes": dict(self.axes)}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Action:
        buttons, axes = data.get("buttons", []), data.get("axes", {})
        assert isinstance(buttons, list) and isinstance(axes, Mapping)
        return cls(buttons=frozenset(buttons), axes=tuple((str(k), float(v)) for k, v in axes.items()))


NO_ACTION = Action()


PLANAR_POSE_AXES = ("x", "y", "cos", "sin")
"""The first inputs of a world whose inputs are poses."""


@dataclass(frozen=True, kw_only=True)
class PoseControl:
    """How far the usual keys move the camera in one model tick, where the inputs are poses (`actions.pose_control`)."""

    step_length: float
    """In the units of the inputs x and y."""
    turn_rad: float


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """Which buttons and axes a world knows, in the order in which they are encoded.

    `axis_units` says what an axis at 1 does in one model tick, for help texts and scripts (for example 10 deg).
    """

    buttons: tuple[str, ...]
    axes: tuple[str, ...] = ()
    axis_units: tuple[tuple[str, str], ...] = ()
    pose_control: PoseControl | None = field(default=None, compare=False, metadata=NOT_STORED)
    """Where the inputs are poses. How keys make them is a matter of play: what was recorded are the poses."""

    def __post_init__(self) -> None:
        assert self.pose_control is None or (not self.buttons and self.axes[:4] == PLANAR_POSE_AXES), (
            "pose control needs poses"
        )
        names = (*self.buttons, *self.axes)
        if len(set(names)) != len(names):
            raise ConfigError(f"the action spec names an input twice: {names}", hint="every name once")

    @property
    def size(self) -> int:
        """Length of the encoded action."""
        return len(self.buttons) + len(self.axes)

    def encode(self, action: Action) -> npt.NDArray[np.float32]:
        """Buttons as 0 or 1, then axes, in the order of the spec.

        Shapes: returns [A] float32 with A = `size`. Raises: ConfigError for an input that the spec does not name.
        """
        self.check(action)
        values = [1.0 if name in action.buttons else 0.0 for name in self.buttons]
        values += [action.axis(name) for name in self.axes]
        return np.asarray(values, dtype=np.float32)

    def decode(self, vector_A: npt.NDArray[np.float32]) -> Action:
        """The inverse of `encode`. A button counts as held above 0.5."""
        assert vector_A.shape == (self.size,), f"got {vector_A.shape}, expected ({self.size},)"
        num_buttons = len(self.buttons)
        buttons = frozenset(n for n, v in zip(self.buttons, vector_A[:num_buttons], strict=True) if v > 0.5)
        axes = tuple((n, float(v)) for n, v in zip(self.axes, vector_A[num_buttons:], strict=True))
        return Action(buttons=buttons, axes=axes)

    def check(self, action: Action) -> None:
        """Raises ConfigError when `action` names an input this world does not have."""
        for name in (*action.buttons, *(n for n, _ in action.axes)):
            if name not in self.buttons and name not in self.axes:
                raise ConfigError(
                    f"unknown input {name!r} in an action", hint=did_you_mean(name, (*self.buttons, *self.axes))
                )


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where the camera truly is. World units; angle in radians, counter-clockwise from +x."""

    x: float
    y: float
    angle_rad: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """One frame of play or data.

    `action` is the one that led *to* `frame`; the first frame after a reset has NO_ACTION, or its own pose where poses
    are the inputs.
    Times are from the session's clock; 0 where there is none (data made ahead of time).
    """

    index: int
    action: Action
    frame: Frame = field(repr=False)
    t_input_ns: int = 0
    t_ready_ns: int = 0
    pose: Pose | None = None
    num_steps: int = 0
    """Denoising steps that made the frame; 0 for a true one."""
    device: str = ""
    """Where a model made it, as torch names devices; empty for a true one, or where nobody said."""
    estimated_pose: Pose | None = None
    """Where a model with a map takes the camera to be: x and y in ticks of walking, of a map of its own."""


class World(Protocol):
    """What can be played: a true engine, or the learned simulator. Not thread-safe; one owner."""

    @property
    def action_spec(self) -> ActionSpec: ...

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        ...

    def reset(self, seed: int) -> Step:
        """Start afresh; the same seed gives the same world, start and first frame."""
        ...

    def step(self, action: Action) -> Step:
        """Advance one model tick under `action`."""
        ...

    def close(self) -> None: ...
