"""A world known only from recordings: its inputs and frame size. Torch-free.

Owns: those values and their limits. Does not own: the recordings (`episodes`), training on them (`training`).
There is no engine, so there is no ground truth to compare with, and training needs data.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from worldsim.core.config import check_ranges, short_repr
from worldsim.core.errors import ConfigError
from worldsim.core.types import PLANAR_POSE_AXES, ActionSpec, PoseControl

MAX_SIDE_PX = 512
MAX_INPUTS = 64
DEFAULT_POSE_CONTROL = PoseControl(step_length=0.05, turn_rad=math.radians(10))
"""For recordings whose inputs are poses: they do not say how fast the player walked."""

_NAME = re.compile(r"[A-Za-z][\w.-]{0,31}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class RecordedWorldConfig:
    """`worldsim train --data` fills in from the recordings what preset.toml leaves out."""

    kind: Literal["recorded"] = "recorded"
    buttons: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    axis_units: tuple[tuple[str, str], ...] = ()
    """Effect of an axis at 1 in one model tick, for example ["turn", "10 deg per tick"]."""
    frame_height_px: int
    frame_width_px: int

    def __post_init__(self) -> None:
        check_ranges(self, {"frame_height_px": (8, MAX_SIDE_PX), "frame_width_px": (8, MAX_SIDE_PX)})
        if not 1 <= self.action_spec.size <= MAX_INPUTS:
            raise ConfigError(
                f"the world has {self.action_spec.size} buttons and axes", hint=f"name 1 to {MAX_INPUTS} of them"
            )
        for name in (*self.buttons, *self.axes):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"an input is named {short_repr(name)}", hint="letters, digits, '.', '-' and '_'; at most 32"
                )

    @property
    def action_spec(self) -> ActionSpec:
        is_pose = not self.buttons and self.axes[: len(PLANAR_POSE_AXES)] == PLANAR_POSE_AXES
        pose_control = DEFAULT_POSE_CONTROL if is_pose else None
        return ActionSpec(buttons=self.buttons, axes=self.axes, axis_units=self.axis_units, pose_control=pose_control)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return (self.frame_height_px, self.frame_width_px, 3)
