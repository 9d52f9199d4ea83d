"""What a Doom maze is made of, in plain values. Imports neither vizdoom nor torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from worldsim.core.errors import ConfigError
from worldsim.core.types import PLANAR_POSE_AXES, ActionSpec, PoseControl
from worldsim.worlds.doom.palette import THEMES

EVALUATION_SEED_START = 900_000
"""Seeds from here up are for evaluation only; training never draws them (`seeds.training_seeds`)."""

POSE_AXES = (*PLANAR_POSE_AXES, "cos2", "sin2", "cos4", "sin4")
"""Of a pose as input: the heading and two octaves of it, so that views to this side and that are told apart early."""

WALK_UNITS_PER_TIC = 8.3
"""How fast one walks in the end, measured."""

ENGINE_RESOLUTIONS_PX = ((160, 120), (256, 192), (320, 240), (400, 300), (512, 384), (640, 480), (800, 600))
"""4:3 resolutions (width, height) the engine can render, cheapest first."""


@dataclass(frozen=True, kw_only=True)
class DoomConfig:
    """One maze world: the mazes, the picture, and what an action does in one model tick."""

    kind: Literal["doom"] = "doom"
    maps: tuple[int, ...] = ()
    """Maze seeds of a fixed set of maps; an episode's seed picks one. Empty: the episode's seed is the maze seed."""
    grid: tuple[int, int] = (4, 4)
    """Cells (columns, rows)."""
    openness: float = 0.35
    """Share of the inner walls that are opened after the maze is connected: rooms and loops."""
    cell_units: int = 192
    """From one cell's centre to the next, map units (a person is 56 high, 32 wide)."""
    wall_units: int = 32
    """Thickness of the walls between cells, map units."""
    num_themes: int = 10
    """How many wall textures; neighbouring cells never share one."""
    accent_share: float = 0.25
    """Share of the closed walls that show another texture than their cell's."""
    landmarks: int = 6
    """Pillars, lamps and trees in cell corners. None of them moves or flickers."""
    light: int = 224
    """Light level of every cell, 0 to 255."""
    frame_height_px: int = 48
    frame_width_px: int = 64
    tics_per_step: int = 2
    """Engine tics (35 per second) in one model tick."""
    turn_deg: float = 10.0
    """Degrees of the turn axis at 1 in one model tick, counter-clockwise."""
    inputs: Literal["keys", "pose"] = "keys"
    """`pose`: what a frame is given is where it was seen from, relative to the start. Keys still move the world,
    and a pose puts the player there."""

    def __post_init__(self) -> None:
        columns, rows = self.grid
        fits = 1 <= columns <= 32 and 1 <= rows <= 32 and columns * rows >= 2
        _require(fits, f"grid is {self.grid}", "2 cells to 32x32")
        _require(0.0 <= self.openness <= 1.0, f"openness is {self.openness}", "0 to 1")
        _require(0.0 <= self.accent_share <= 1.0, f"accent_share is {self.accent_share}", "0 to 1")
        _require(self.wall_units >= 8, f"wall_units is {self.wall_units}", "8 or more")
        _require(
            self.wall_units + 112 <= self.cell_units <= 1024,
            f"cell_units is {self.cell_units} with walls of {self.wall_units}",
            "112 more than wall_units, at most 1024",
        )
        _require(4 <= self.num_themes <= len(THEMES), f"num_themes is {self.num_themes}", f"4 to {len(THEMES)}")
        _require(0 <= self.landmarks <= columns * rows, f"landmarks is {self.landmarks}", "at most one per cell")
        _require(0 <= self.light <= 255, f"light is {self.light}", "0 to 255")
        _require(1 <= self.tics_per_step <= 35, f"tics_per_step is {self.tics_per_step}", "1 to 35")
        _require(0.0 < self.turn_deg <= 90.0, f"turn_deg is {self.turn_deg}", "above 0, at most 90")
        _require(len(set(self.maps)) == len(self.maps), f"maps are {self.maps}", "every maze seed once")
        _require(all(m >= 0 for m in self.maps), f"maps are {self.maps}", "seeds of 0 or more")
        _require(
            self._engine_resolution() is not None,
            f"no engine resolution averages exactly to {self.frame_width_px}x{self.frame_height_px}",
            "4:3, for example 64x48, 80x60, 128x96 or 160x120",
        )

    @property
    def action_spec(self) -> ActionSpec:
        """What a frame's input is: the keys, or the pose."""
        if self.inputs == "keys":
            return self.key_spec
        units = tuple((name, "of the way across" if name in "xy" else "of the heading") for name in POSE_AXES)
        step_length = WALK_UNITS_PER_TIC * self.tics_per_step / self.extent_units
        pose_control = PoseControl(step_length=step_length, turn_rad=math.radians(self.turn_deg))
        return ActionSpec(buttons=(), axes=POSE_AXES, axis_units=units, pose_control=pose_control)

    @property
    def key_spec(self) -> ActionSpec:
        """What moves the world. left and right step sideways; turn at +1 turns left (counter-clockwise) by `turn_deg`
        per tick."""
        return ActionSpec(
            buttons=("forward", "back", "left", "right"),
            axes=("turn",),
            axis_units=(("turn", f"{self.turn_deg:g} deg per tick"),),
        )

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return (self.frame_height_px, self.frame_width_px, 3)

    @property
    def extent_units(self) -> float:
        """So far away from the start is 1, where poses are inputs."""
        return float(max(self.grid) * self.cell_units)

    @property
    def waypoint_radius(self) -> float:
        """So near to a point counts as there: a tick's walk does not carry past it."""
        return 30 / 192 * self.cell_units

    @property
    def fov_deg(self) -> float:
        """The camera's horizontal field of view."""
        return 90.0

    @property
    def ticks_per_s(self) -> float:
        """Model ticks per second of the engine's own time."""
        return 35.0 / self.tics_per_step

    @property
    def engine_resolution_px(self) -> tuple[int, int]:
        """(width, height) that is rendered and area-averaged to the frame: the smallest at twice the size or more."""
        resolution = self._engine_resolution()
        assert resolution is not None
        return resolution

    def _engine_resolution(self) -> tuple[int, int] | None:
        for width, height in ENGINE_RESOLUTIONS_PX:
            factor = width // max(self.frame_width_px, 1)
            if factor >= 2 and (self.frame_width_px * factor, self.frame_height_px * factor) == (width, height):
                return (width, height)
        return None


def _require(condition: bool, found: str, expected: str) -> None:
    if not condition:
        raise ConfigError(found, hint=f"expected {expected}")
