"""Config of a Memory Maze in plain values. Imports neither the package nor torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from worldsim.core.config import check_ranges
from worldsim.core.errors import ConfigError
from worldsim.core.types import PLANAR_POSE_AXES, ActionSpec, PoseControl

TARGETS = {5: 1, 7: 2, 9: 3, 11: 4, 13: 5, 15: 6}
"""Cells per side, without the outer wall, to number of targets. 9 to 15 are the package's four tasks."""
TURN_DEG_PER_S = 73.6
"""Measured turning speed of the ball with a turn held: reached after 0.2 s; after release it turns 3 more degrees."""
CELLS_PER_S = 1.0
"""Measured rolling speed with forward held; after release it rolls on for a sixth of a cell."""
VERTICAL_FOV_DEG = 80.0
"""The camera's vertical field of view."""
PHYSICS_HZ = 200
POSE_AXES = PLANAR_POSE_AXES


@dataclass(frozen=True, kw_only=True)
class MemoryMazeConfig:
    """Maze size, frame size, and the effect of an action in one model tick.

    Units of poses and depth: cells. (0, 0) is the southwest inner corner.
    """

    kind: Literal["memory_maze"] = "memory_maze"
    maps: tuple[int, ...] = ()
    """Maze seeds of a fixed set, one of which an episode's seed selects. Empty: the episode's seed is the package's."""
    cells: int = 9
    """Per side: 9, 11, 13 or 15 as in the package, or 7 or 5."""
    frame_height_px: int = 64
    frame_width_px: int = 64
    control_hz: float = 4.0
    """Model ticks per second of simulated time."""
    target_border: bool = True
    """Draw a border in the color of the current target, as the package does."""
    inputs: Literal["keys", "pose"] = "keys"
    """`pose`: a frame's input is the pose it was seen from, as in the paper. Keys still move the ball."""

    def __post_init__(self) -> None:
        check_ranges(
            self, {"frame_height_px": (8, 480), "frame_width_px": (8, 640), "control_hz": (1, 100), "maps": (0, 2**31)}
        )
        if self.cells not in TARGETS:
            raise ConfigError(f"cells is {self.cells}", hint="expected one of " + ", ".join(map(str, TARGETS)))
        if len(set(self.maps)) != len(self.maps):
            raise ConfigError(f"maps are {self.maps}", hint="expected every maze seed once")
        if not (PHYSICS_HZ / self.control_hz).is_integer():
            raise ConfigError(
                f"control_hz is {self.control_hz:g}", hint=f"expected a divisor of {PHYSICS_HZ}, such as 4"
            )

    @property
    def action_spec(self) -> ActionSpec:
        """Inputs of a frame: the keys, or the pose."""
        if self.inputs == "keys":
            return self.key_spec
        units = ("from wall to wall", "from wall to wall", "of the heading", "of the heading")
        pose_control = PoseControl(
            step_length=2 * CELLS_PER_S / self.control_hz / self.cells, turn_rad=math.radians(self.turn_deg)
        )
        units_of = tuple(zip(POSE_AXES, units, strict=True))
        return ActionSpec(buttons=(), axes=POSE_AXES, axis_units=units_of, pose_control=pose_control)

    @property
    def key_spec(self) -> ActionSpec:
        """The keys. `turn` at +1 turns left; the package has six discrete actions, so it is -1, 0 or 1."""
        units = (("turn", f"{self.turn_deg:g} deg per tick"),)
        return ActionSpec(buttons=("forward",), axes=("turn",), axis_units=units)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return (self.frame_height_px, self.frame_width_px, 3)

    @property
    def ticks_per_s(self) -> float:
        return self.control_hz

    @property
    def turn_deg(self) -> float:
        """Degrees per model tick with a turn held."""
        return TURN_DEG_PER_S / self.control_hz

    @property
    def cell_units(self) -> int:
        """Poses are in cells."""
        return 1

    @property
    def waypoint_radius(self) -> float:
        """Distance at which a point counts as reached: the ball moves a quarter of a cell per tick and rolls on."""
        return 0.3

    @property
    def fov_deg(self) -> float:
        """The camera's horizontal field of view."""
        half = math.tan(math.radians(VERTICAL_FOV_DEG / 2)) * self.frame_width_px / self.frame_height_px
        return 2 * math.degrees(math.atan(half))
