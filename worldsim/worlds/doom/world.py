"""DoomWorld: a maze played tick by tick, with ground-truth poses. Deterministic by seed.

Owns: which maze and start a seed means, the warm-up, the size of frames. Does not own: the engine's process (`engine`).

Movement is Doom's: with a key held, speed reaches 14 map units per tick within ten ticks and finally 16.6 (sideways
15.9); after release the player slides some 80 units, slower than 1 unit per tick after 15 ticks. So a path back is
never the reverse of the path out. Turns are immediate and exact: 36 ticks of 10 degrees are a full turn to the bit.
"""

from __future__ import annotations

import math
import random

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import ConfigError, WorldError
from worldsim.core.types import NO_ACTION, Action, Frame, Pose, Step
from worldsim.worlds.base import Cell, GroundTruthWorld, PosePolicy
from worldsim.worlds.doom.config import POSE_AXES, DoomConfig
from worldsim.worlds.doom.engine import BINARY_UNITS_PER_TURN, DoomEngine
from worldsim.worlds.doom.layout import DoomMazeLayout, generate_maze
from worldsim.worlds.doom.policies import DoomPolicy
from worldsim.worlds.doom.wad import map_name, wad_bytes
from worldsim.worlds.trajectories import SEEDS_PER_BLOCK

WARM_UP_TICS = 12
"""After a map starts, the engine ignores turns for about seven tics and a warp for one."""

START_JITTER_UNITS = 24
DEPTH_STEP_UNITS = 8.0
REST_TICS = 70
"""Enough without a key to come to rest: from top speed it takes about fifty."""


class DoomWorld(GroundTruthWorld):
    """ViZDoom as a world. `depth` and `layout` belong to the newest Step."""

    def __init__(self, config: DoomConfig, *, with_depth: bool = False) -> None:
        self._config = config
        self._with_depth = with_depth
        self._engine: DoomEngine | None = None
        self._loaded_seeds: tuple[int, ...] = ()
        self._layouts: dict[int, DoomMazeLayout] = {}
        self._layout: DoomMazeLayout | None = None
        self._depth: npt.NDArray[np.float32] | None = None
        self._index = 0
        self._turn_units_wanted = 0.0
        self._turn_units_done = 0
        self._start: Pose | None = None
        """Start pose of the episode, if inputs are poses."""
        self._has_momentum = False

    @property
    def config(self) -> DoomConfig:
        return self._config

    @property
    def layout(self) -> DoomMazeLayout:
        assert self._layout is not None, "no maze before the first reset"
        return self._layout

    @property
    def depth(self) -> npt.NDArray[np.float32]:
        """Shapes: [H, W]. Units: map units along the view direction, in steps of 8 up to 2040."""
        assert self._depth is not None, "no depth: create the world with with_depth=True and reset it"
        return self._depth

    def make_policy(self, name: str, rng: random.Random) -> PosePolicy:
        return DoomPolicy(name, self.layout, self._config, rng)

    def reset(self, seed: int) -> Step:
        """Starts an episode in the maze and at the start pose that `seed` means.

        Side effects: starts an engine if none runs or it lacks that maze (0.25 s).
        Raises: MissingPackageError without vizdoom, WorldError if the engine does not start.
        """
        maze_seed = maze_seed_of(self._config, seed)
        engine = self._load(maze_seed)
        self._layout = layout = self._layouts[maze_seed]
        cell, (x, y), heading_units = start_pose_of(layout, seed)
        engine.start_map(map_name(self._loaded_seeds.index(maze_seed)))
        engine.warp(x, y)
        engine.advance_tics(WARM_UP_TICS)
        self._index = 0
        self._turn_units_wanted, self._turn_units_done = 0.0, 0
        self._start, self._has_momentum = None, False
        self._engine_turn(engine, heading_units)
        step = self._observe(NO_ACTION)
        assert step.pose is not None and layout.cell_at(step.pose.x, step.pose.y) == cell, "warp missed the start"
        return step

    def step(self, action: Action) -> Step:
        """One model tick with keys held, or, if inputs are poses, with the player placed at a pose, at rest.

        Poses are exact to half a map unit. Raises: ConfigError for an unknown input or a pose inside a wall, WorldError
        before the first reset or if the engine died (a reset starts another).
        """
        if self._engine is None or self._layout is None:
            raise WorldError("the world has not been started", hint="call reset(seed) first")
        try:
            if self._config.inputs == "pose" and action.axes and action.axes[0][0] in POSE_AXES:
                self._move_to_pose(self._engine, action)
            else:
                self._apply_keys(self._engine, action)
        except WorldError:
            self.close()
            raise
        self._index += 1
        return self._observe(action)

    def _apply_keys(self, engine: DoomEngine, action: Action) -> None:
        self._config.key_spec.check(action)
        tics = self._config.tics_per_step
        # Whole units per tic; the rounding error is carried over, so that turns add up exactly.
        self._turn_units_wanted += action.axis("turn") * self._config.turn_deg * BINARY_UNITS_PER_TURN / 360.0
        units = tics * round((self._turn_units_wanted - self._turn_units_done) / tics)
        self._turn_units_done += units
        self._has_momentum = True
        engine.advance(action.buttons, units)

    def _move_to_pose(self, engine: DoomEngine, action: Action) -> None:
        self._config.action_spec.check(action)
        assert self._start is not None, "set by the first frame of an episode"
        pose = pose_from_action(action, self._start, extent_units=self._config.extent_units)
        x, y = round(pose.x), round(pose.y)
        if not self.layout.has_floor(x, y):
            raise ConfigError(f"the pose {x}, {y} is inside a wall", hint="give one in a room or passage")
        if self._has_momentum:
            engine.advance_tics(REST_TICS)
            self._has_momentum = False
        now = engine.observe()[2]
        engine.warp(x, y)
        engine.advance_tics(1)
        turn_rad = math.remainder(pose.angle_rad - now.angle_rad, math.tau)
        self._engine_turn(engine, round(turn_rad * BINARY_UNITS_PER_TURN / math.tau))
        self._turn_units_wanted, self._turn_units_done = 0.0, 0

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _engine_turn(self, engine: DoomEngine, units: int) -> None:
        tics = self._config.tics_per_step
        engine.advance(frozenset(), tics * (units // tics))

    def _load(self, maze_seed: int) -> DoomEngine:
        """An engine whose WAD has this maze: all fixed maps, or the seed's block."""
        if self._engine is None or maze_seed not in self._loaded_seeds:
            self.close()
            first = maze_seed - maze_seed % SEEDS_PER_BLOCK
            self._loaded_seeds = self._config.maps or tuple(range(first, first + SEEDS_PER_BLOCK))
            self._layouts = {seed: generate_maze(self._config, seed) for seed in self._loaded_seeds}
            self._engine = DoomEngine(
                wad_bytes([self._layouts[seed] for seed in self._loaded_seeds]),
                resolution_px=self._config.engine_resolution_px,
                with_depth=self._with_depth,
                tics_per_step=self._config.tics_per_step,
            )
        return self._engine

    def _observe(self, action: Action) -> Step:
        assert self._engine is not None
        image, depth, pose = self._engine.observe()
        if depth is not None:
            self._depth = mean_depth(depth, self._config.frame_height_px)
        frame = mean_frame(image, self._config.frame_height_px)
        if self._config.inputs == "pose":
            self._start = self._start or pose
            action = pose_action(pose, self._start, extent_units=self._config.extent_units)
        return Step(index=self._index, action=action, frame=frame, pose=pose)


def maze_seed_of(config: DoomConfig, seed: int) -> int:
    """Maze seed of an episode's seed: one of the fixed maps, or the seed itself."""
    assert seed >= 0, f"seed is {seed}"
    return random.Random(f"map:{seed}").choice(config.maps) if config.maps else seed


def start_pose_of(layout: DoomMazeLayout, seed: int) -> tuple[Cell, tuple[int, int], int]:
    """Start of an episode's seed: the cell, the point (whole map units), the heading (65536 units per turn)."""
    rng = random.Random(f"start:{seed}")
    cell = rng.choice(layout.cells)
    x, y = layout.center(cell)
    jitter_x, jitter_y = (rng.randint(-START_JITTER_UNITS, START_JITTER_UNITS) for _ in range(2))
    return cell, (round(x) + jitter_x, round(y) + jitter_y), rng.randrange(BINARY_UNITS_PER_TURN)


def pose_action(pose: Pose, start: Pose, *, extent_units: float) -> Action:
    """A pose relative to `start` as an input; a distance of `extent_units` is 1. See `config.POSE_AXES`."""
    dx, dy = (pose.x - start.x) / extent_units, (pose.y - start.y) / extent_units
    cos, sin = math.cos(start.angle_rad), math.sin(start.angle_rad)
    angle_rad = pose.angle_rad - start.angle_rad
    headings = [f(octave * angle_rad) for octave in (1, 2, 4) for f in (math.cos, math.sin)]
    values = (cos * dx + sin * dy, cos * dy - sin * dx, *headings)
    return Action(axes=tuple((n, max(-1.0, min(1.0, v))) for n, v in zip(POSE_AXES, values, strict=True)))


def pose_from_action(action: Action, start: Pose, *, extent_units: float) -> Pose:
    """The inverse of `pose_action`."""
    x, y, cos_angle, sin_angle = (action.axis(name) for name in POSE_AXES[:4])
    cos, sin = math.cos(start.angle_rad), math.sin(start.angle_rad)
    return Pose(
        x=start.x + extent_units * (cos * x - sin * y),
        y=start.y + extent_units * (sin * x + cos * y),
        angle_rad=(start.angle_rad + math.atan2(sin_angle, cos_angle)) % math.tau,
    )


def mean_frame(image: npt.NDArray[np.uint8], height_px: int) -> Frame:
    """Rounded area average; the image's height is a multiple of `height_px`."""
    factor = image.shape[0] // height_px
    width_px = image.shape[1] // factor
    rows = image.reshape(height_px, factor, width_px * factor * 3)
    sums = rows[:, 0].astype(np.uint16)
    for i in range(1, factor):
        sums += rows[:, i]
    # Multiplying by a 0-1 matrix sums the columns of each channel faster than strided slices; sums stay exact.
    adder = np.tile(np.eye(3, dtype=np.float32), (factor, 1))
    means = sums.reshape(-1, factor * 3).astype(np.float32) @ adder
    means *= 1.0 / factor**2
    means += 0.5
    return means.astype(np.uint8).reshape(height_px, width_px, 3)


def mean_depth(depth: npt.NDArray[np.uint8], height_px: int) -> npt.NDArray[np.float32]:
    """Area average of the engine's depth buffer, in map units."""
    factor = depth.shape[0] // height_px
    blocks = depth.reshape(height_px, factor, depth.shape[1] // factor, factor)
    return blocks.mean(axis=(1, 3), dtype=np.float32) * DEPTH_STEP_UNITS
