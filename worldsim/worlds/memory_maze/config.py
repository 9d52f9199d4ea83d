"""What a Memory Maze is made of, in plain values. Imports neither the package nor torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from worldsim.core.config import check_ranges
from worldsim.core.errors import ConfigError
from worldsim.core.types import PLANAR_POSE_AXES, ActionSpec, PoseControl

TARGETS = {5: 1, 7: 2, 9: 3, 11: 4, 13: 5, 15: 6}
"""Cells along a side, walls around it left out, to coloured targets. 9 to 15 are the package's own four tasks."""
TURN_DEG_PER_S = 73.6
"""How fast the ball turns while a turn is held, measured. It needs a fifth of a second to come to that, and glides on
for 3 degrees."""
CELLS_PER_S = 1.0
"""How fast it rolls while forward is held, measured; it glides on for a sixth of a cell."""
VERTICAL_FOV_DEG = 80.0
"""The camera's vertical field of view."""
PHYSICS_HZ = 200
POSE_AXES = PLANAR_POSE_AXES


@dataclass(frozen=True, kw_only=True)
class MemoryMazeConfig:
    """One world of mazes: their size, the picture, and what an action does in one model tick.

    Units of poses and depth: cells. (0, 0) is the inner corner to the south-west.
    """

    kind: Literal["memory_maze"] = "memory_maze"
    maps: tuple[int, ...] = ()
    """Maze seeds of a fixed set of mazes; an episode's seed picks one. Empty: the episode's seed is the package's."""
    cells: int = 9
    """Along each side: 9, 11, 13 or 15 as in the package, or 7 or 5."""
    frame_height_px: int = 64
    frame_width_px: int = 64
    control_hz: float = 4.0
    """Model ticks per second of the engine's own time."""
    target_border: bool = True
    """Draw the colour of the target that is sought around the picture, as the package does."""
    inputs: Literal["keys", "pose"] = "keys"
    """`pose`: as in the paper, what a frame is given is where it was seen from. Keys still move the world."""

    def __post_init__(self) -> None:
        check_ranges(
            self, {"frame_height_px": (8, 480), "frame_width_px": (8, 640), "control_hz": (1, 100), "maps": (0, 2**31)}
        )
        if self.cells not in TARGETS:
            raise ConfigError(f"cells is {self.cells}", hint="one of " + ", ".join(map(str, TARGETS)))
        if len(set(self.maps)) != len(self.maps):
            raise ConfigError(f"maps are {self.maps}", hint="every maze seed once")
        if not (PHYSICS_HZ / self.control_hz).is_integer():
            raise ConfigError(f"control_hz is {self.control_hz:g}", hint=f"a divisor of {PHYSICS_HZ}, for example 4")

    @property
    def action_spec(self) -> ActionSpec:
        """What a frame's input is: the keys, or the pose."""
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
        """What moves the world. `turn` at +1 turns left; the package knows six actions, so it is -1, 0 or 1."""
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
        """Degrees of a turn that is held for one model tick."""
        return TURN_DEG_PER_S / self.control_hz

    @property
    def cell_units(self) -> int:
        """Poses count in cells."""
        return 1

    @property
    def waypoint_radius(self) -> float:
        """So near to a point counts as there: a quarter of a cell a tick, and the ball glides on."""
        return 0.3

    @property
    def fov_deg(self) -> float:
        """The camera's horizontal field of view."""
        half = math.tan(math.radians(VERTICAL_FOV_DEG / 2)) * self.frame_width_px / self.frame_height_px
        return 2 * math.degrees(math.atan(half))
