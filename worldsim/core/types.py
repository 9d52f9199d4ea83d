"""Values shared by all packages: Action, ActionSpec, PoseControl, Frame, Pose, Step, World.

Owns: their meaning, validation and encoding. All values are frozen and may be passed between threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from worldsim.core.config import NOT_STORED
from worldsim.core.errors import ConfigError, did_you_mean

Frame: TypeAlias = npt.NDArray[np.uint8]
"""An RGB image: uint8 [H, W, 3]."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """Player input during one model tick: the buttons held, and axes in [-1, 1].

    An axis that is not named is 0. Hashable and canonical: equal input compares equal.
    """

    buttons: frozenset[str] = frozenset()
    axes: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name, value in self.axes:
            assert -1.0 <= value <= 1.0, f"axis {name} is {value}, outside [-1, 1]"
        canonical = tuple(sorted((name, float(value)) for name, value in self.axes if value != 0.0))
        assert len({name for name, _ in canonical}) == len(canonical), f"duplicate axis: {self.axes}"
        object.__setattr__(self, "axes", canonical)

    @classmethod
    def of(cls, *buttons: str, **axes: float) -> Action:
        """`Action.of("forward", turn=0.5)`."""
        return cls(buttons=frozenset(buttons), axes=tuple(axes.items()))

    def axis(self, name: str) -> float:
        return dict(self.axes).get(name, 0.0)


NO_ACTION = Action()

PLANAR_POSE_AXES = ("x", "y", "cos", "sin")
"""The first axes of a world whose inputs are poses."""


@dataclass(frozen=True, kw_only=True)
class PoseControl:
    """How far the movement keys move the camera per model tick in a world whose inputs are poses.

    See `actions.pose_control`.
    """

    step_length: float
    """In units of the axes x and y."""
    turn_rad: float
    has_collisions: bool = False
    """Whether walls stop the camera."""


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """The buttons and axes of a world, in encoding order."""

    buttons: tuple[str, ...]
    axes: tuple[str, ...] = ()
    axis_units: tuple[tuple[str, str], ...] = ()
    """Axis to the effect of its value 1 in one model tick, such as "10 deg per tick"; for help texts and importers."""
    pose_control: PoseControl | None = field(default=None, compare=False, metadata=NOT_STORED)
    """Where inputs are poses. Not stored: recordings hold the poses, not the keys that produced them."""

    def __post_init__(self) -> None:
        has_poses = not self.buttons and self.axes[:4] == PLANAR_POSE_AXES
        assert self.pose_control is None or has_poses, "pose control requires pose inputs"
        names = (*self.buttons, *self.axes)
        if len(set(names)) != len(names):
            raise ConfigError(f"duplicate input name in {names}", hint="use every name once")

    @property
    def size(self) -> int:
        """Length of an encoded action."""
        return len(self.buttons) + len(self.axes)

    def encode(self, action: Action) -> npt.NDArray[np.float32]:
        """Buttons as 0 or 1, then axes, in the order of the spec.

        Shapes: returns [A] float32 with A = `size`. Raises: ConfigError for an unknown input.
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
        """Raises: ConfigError if `action` names an input that this world does not have."""
        known = (*self.buttons, *self.axes)
        for name in (*action.buttons, *(n for n, _ in action.axes)):
            if name not in known:
                raise ConfigError(f"unknown input {name!r} in an action", hint=did_you_mean(name, known))


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Ground-truth camera pose: world units; angle in radians, counterclockwise from +x."""

    x: float
    y: float
    angle_rad: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """One frame of play or data.

    `action` led *to* `frame`; the first frame after a reset has NO_ACTION, or its own pose where inputs are poses.
    Times are from the session's clock, or 0 without one (generated data).
    """

    index: int
    action: Action
    frame: Frame = field(repr=False)
    t_input_ns: int = 0
    t_ready_ns: int = 0
    pose: Pose | None = None
    num_steps: int = 0
    """Denoising steps that generated the frame; 0 for a frame of a reference world."""
    device: str = ""
    """Device that generated the frame, as torch names it; empty for a reference world, or if unknown."""
    estimated_pose: Pose | None = None
    """Estimate of a model with a map: x and y in walking ticks, in the coordinates of that map."""


class World(Protocol):
    """Something playable: a reference world or the learned simulator. Not thread-safe; one owner."""

    @property
    def action_spec(self) -> ActionSpec: ...

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        ...

    def reset(self, seed: int) -> Step:
        """Starts over; the same seed gives the same world, start and first frame."""
        ...

    def step(self, action: Action) -> Step:
        """Advances one model tick under `action`."""
        ...

    def close(self) -> None: ...
