"""Config of a Doom world in plain values, and the textures of its mazes. Imports neither vizdoom nor torch.

The Freedoom textures were chosen by eye on contact sheets and by low high-frequency energy. None is animated: a
flickering torch or blinking panel would teach a model only noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from worldsim.core.config import MAX_INTEGER, check_ranges
from worldsim.core.errors import ConfigError
from worldsim.core.types import PLANAR_POSE_AXES, ActionSpec, PoseControl

POSE_AXES = (*PLANAR_POSE_AXES, "cos2", "sin2", "cos4", "sin4")
"""A pose as input: position, heading and two octaves of it, so that directions are told apart early in training."""

WALK_UNITS_PER_TIC = 8.3
"""Measured top walking speed."""

ENGINE_RESOLUTIONS_PX = ((160, 120), (256, 192), (320, 240), (400, 300), (512, 384), (640, 480), (800, 600))
"""4:3 resolutions (width, height) of the engine, cheapest first."""


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Look of one kind of cell: texture names of the Freedoom WAD, or painted ones of `wad` (WS...)."""

    name: str
    wall: str
    floor: str
    ceiling: str


@dataclass(frozen=True, kw_only=True)
class LandmarkKind:
    """A static thing by its Doom editor number; 32 units wide, so that it fits into a cell's corner."""

    name: str
    thing: int


THEMES = (
    Theme(name="red", wall="REDWALL1", floor="FLAT5", ceiling="CEIL3_5"),
    Theme(name="green", wall="DOKGRIR", floor="CRATOP2", ceiling="CEIL3_5"),
    Theme(name="blue", wall="COMPBLUE", floor="FLAT19", ceiling="AQF067"),
    Theme(name="orange", wall="DOGLDIR", floor="GRASS2", ceiling="CEIL3_5"),
    Theme(name="white", wall="AQCONC17", floor="FLOOR1_6", ceiling="CEIL3_5"),
    Theme(name="wood", wall="A-MYWOOD", floor="FLAT14", ceiling="AQF067"),
    Theme(name="yellow", wall="WSYELLOW", floor="FLAT23", ceiling="CEIL3_5"),
    Theme(name="lilac", wall="WSLILAC", floor="AQF067", ceiling="CEIL3_5"),
    Theme(name="bronze", wall="BRONZE2", floor="FLOOR3_3", ceiling="AQF067"),
    Theme(name="tan", wall="TANROCK2", floor="FLOOR0_2", ceiling="CEIL3_5"),
    Theme(name="crimson", wall="SKIN2", floor="FLAT5_3", ceiling="AQF067"),
    Theme(name="silver", wall="SILVER1", floor="FLOOR7_1", ceiling="CEIL3_5"),
)

TRIM_WALL = "SHAWN2"
TRIM_FLOOR = "FLAT19"
TRIM_CEILING = "CEIL3_5"

LANDMARK_KINDS = (
    LandmarkKind(name="green pillar", thing=30),
    LandmarkKind(name="red pillar", thing=32),
    LandmarkKind(name="tech pillar", thing=48),
    LandmarkKind(name="lamp", thing=2028),
    LandmarkKind(name="burnt tree", thing=43),
    LandmarkKind(name="short green pillar", thing=31),
)


@dataclass(frozen=True, kw_only=True)
class DoomConfig:
    """Mazes, frame size, and the effect of an action in one model tick."""

    kind: Literal["doom"] = "doom"
    maps: tuple[int, ...] = ()
    """Maze seeds of fixed maps, one of which an episode's seed selects. Empty: the episode's seed is the maze seed."""
    grid: tuple[int, int] = (4, 4)
    """Cells (columns, rows)."""
    openness: float = 0.35
    """Fraction of the inner walls removed after the maze is connected: makes rooms and loops."""
    cell_units: int = 192
    """Distance between the centers of neighboring cells, map units (a player is 56 high, 32 wide)."""
    wall_units: int = 32
    """Thickness of the walls between cells, map units."""
    num_themes: int = 10
    """Number of wall textures; neighboring cells never share one."""
    accent_share: float = 0.25
    """Fraction of the closed walls with a texture other than their cell's."""
    landmarks: int = 6
    """Number of pillars, lamps and trees in cell corners. None moves or flickers."""
    light: int = 224
    """Light level of every cell, 0 to 255."""
    frame_height_px: int = 48
    frame_width_px: int = 64
    tics_per_step: int = 2
    """Engine tics (35 per second) in one model tick."""
    turn_deg: float = 10.0
    """Counterclockwise degrees per model tick with the turn axis at 1."""
    inputs: Literal["keys", "pose"] = "keys"
    """`pose`: a frame's input is the pose it was seen from, relative to the start. Keys still move the player, and a
    pose places the player there."""

    def __post_init__(self) -> None:
        columns, rows = self.grid
        limits: dict[str, tuple[float, float]] = {
            "grid": (1, 32),
            "openness": (0, 1),
            "accent_share": (0, 1),
            "wall_units": (8, 1024),
            "cell_units": (self.wall_units + 112, 1024),
            "num_themes": (4, len(THEMES)),
            "landmarks": (0, columns * rows),
            "light": (0, 255),
            "tics_per_step": (1, 35),
            "turn_deg": (1e-9, 90),
            "maps": (0, MAX_INTEGER),
        }
        check_ranges(self, limits)
        if columns * rows < 2:
            raise ConfigError(f"grid is {self.grid}", hint="expected at least 2 cells")
        if len(set(self.maps)) != len(self.maps):
            raise ConfigError(f"maps are {self.maps}", hint="expected every maze seed once")
        if self._engine_resolution() is None:
            raise ConfigError(
                f"no engine resolution averages exactly to {self.frame_width_px}x{self.frame_height_px}",
                hint="expected 4:3, for example 64x48, 80x60, 128x96 or 160x120",
            )

    @property
    def action_spec(self) -> ActionSpec:
        """Inputs of a frame: the keys, or the pose."""
        if self.inputs == "keys":
            return self.key_spec
        units = tuple((name, "of the way across" if name in "xy" else "of the heading") for name in POSE_AXES)
        step_length = WALK_UNITS_PER_TIC * self.tics_per_step / self.extent_units
        pose_control = PoseControl(step_length=step_length, turn_rad=math.radians(self.turn_deg))
        return ActionSpec(buttons=(), axes=POSE_AXES, axis_units=units, pose_control=pose_control)

    @property
    def key_spec(self) -> ActionSpec:
        """The keys. left and right step sideways; turn at +1 turns left (counterclockwise) by `turn_deg` per tick."""
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
        """Distance from the start that is 1 in pose inputs."""
        return float(max(self.grid) * self.cell_units)

    @property
    def waypoint_radius(self) -> float:
        """Distance at which a point counts as reached: one tick of walking stays within it."""
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
        """(width, height) rendered and area-averaged to the frame: the smallest of at least twice the size."""
        resolution = self._engine_resolution()
        assert resolution is not None
        return resolution

    def _engine_resolution(self) -> tuple[int, int] | None:
        for width, height in ENGINE_RESOLUTIONS_PX:
            factor = width // max(self.frame_width_px, 1)
            if factor >= 2 and (self.frame_width_px * factor, self.frame_height_px * factor) == (width, height):
                return (width, height)
        return None
