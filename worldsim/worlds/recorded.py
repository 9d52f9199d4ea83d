"""A world that is known from recordings alone: which inputs it takes and how large its pictures are. Torch-free.

Owns: those values and their limits. Does not own: the recordings (`episodes`), how they are trained on (`training`).
There is no engine behind it: nothing can be compared with the truth, and training needs data.
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
"""Where recorded inputs are poses: recordings do not say how fast one walked."""

_NAME = re.compile(r"[A-Za-z][\w.-]{0,31}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class RecordedWorldConfig:
    """What `worldsim train --data` fills in from the recordings, where preset.toml leaves it out."""

    kind: Literal["recorded"] = "recorded"
    buttons: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    axis_units: tuple[tuple[str, str], ...] = ()
    """What an axis at 1 does in one model tick, for example ["turn", "10 deg per tick"]."""
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
                    f"an input is named {short_repr(name)}", hint="letters, digits, dot, dash, underline; at most 32"
                )

    @property
    def action_spec(self) -> ActionSpec:
        is_pose = not self.buttons and self.axes[: len(PLANAR_POSE_AXES)] == PLANAR_POSE_AXES
        pose_control = DEFAULT_POSE_CONTROL if is_pose else None
        return ActionSpec(buttons=self.buttons, axes=self.axes, axis_units=self.axis_units, pose_control=pose_control)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return (self.frame_height_px, self.frame_width_px, 3)
