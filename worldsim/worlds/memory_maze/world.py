"""MemoryMazeWorld: a Memory Maze played tick by tick, with ground-truth poses. Deterministic by seed.

Owns: which maze and start a seed means, the mapping of actions to the package's six, poses as inputs. Does not own: the
package (`engine`).

The ball's motion is not reversible: it reaches full speed within a tick and rolls on for a sixth of a cell, and the
first tick of a turn turns less than the next. Only the engine can tell what a path back looks like.
"""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import WorldError
from worldsim.core.types import NO_ACTION, Action, Pose, Step
from worldsim.worlds.base import GroundTruthWorld, PosePolicy
from worldsim.worlds.memory_maze.config import POSE_AXES, MemoryMazeConfig
from worldsim.worlds.memory_maze.engine import MemoryMazeEngine
from worldsim.worlds.memory_maze.layout import MemoryMazeLayout
from worldsim.worlds.memory_maze.policies import MemoryMazePolicy


class MemoryMazeWorld(GroundTruthWorld):
    """A Memory Maze as a world. `depth`, `layout` and `ground_truth` belong to the newest Step."""

    def __init__(self, config: MemoryMazeConfig) -> None:
        self._config = config
        self._engine: MemoryMazeEngine | None = None
        self._index = 0

    @property
    def config(self) -> MemoryMazeConfig:
        return self._config

    @property
    def layout(self) -> MemoryMazeLayout:
        return self._running_engine.layout

    @property
    def depth(self) -> npt.NDArray[np.float32]:
        """Rendered on access. Shapes: [H, W]. Units: cells along the view direction; hundreds for the sky."""
        return self._running_engine.depth()

    @property
    def ground_truth(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of the package's own datasets for the newest Step, except image and action."""
        return self._running_engine.ground_truth()

    def make_policy(self, name: str, rng: random.Random) -> PosePolicy:
        return MemoryMazePolicy(name, self.layout, self._config, rng)

    def action_to(self, pose: Pose) -> Action:
        if self._config.inputs != "pose":
            return super().action_to(pose)
        return pose_action(pose, self._config.cells)

    def reset(self, seed: int) -> Step:
        """Without fixed maps: the state of the package's environment of that seed after its first reset.

        Side effects: builds the maze unless it is the current one (1 s).
        Raises: MissingPackageError without the package, WorldError if it cannot render.
        """
        assert seed >= 0, f"seed is {seed}"
        maze_seed, start_seed = maze_and_start(self._config, seed)
        if self._engine is None:
            self._engine = MemoryMazeEngine(self._config)
        self._engine.start(maze_seed, start_seed)
        self._index = 0
        return self._observe(NO_ACTION)

    def step(self, action: Action) -> Step:
        """One model tick with keys held, or, if inputs are poses, with the camera placed at a pose.

        Raises: ConfigError for an unknown input, WorldError before the first reset or if MuJoCo diverged.
        """
        engine = self._running_engine
        if self._config.inputs == "pose" and action.axes and not action.buttons and action.axes[0][0] in POSE_AXES:
            self.action_spec.check(action)
            engine.set_pose(pose_from_action(action, self._config.cells))
        else:
            self._config.key_spec.check(action)
            action = quantize_action(action)
            engine.advance(forward="forward" in action.buttons, turn=round(action.axis("turn")))
        self._index += 1
        return self._observe(action)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @property
    def _running_engine(self) -> MemoryMazeEngine:
        if self._engine is None:
            raise WorldError("the world has not been started", hint="call reset(seed) first")
        return self._engine

    def _observe(self, action: Action) -> Step:
        frame, pose = self._running_engine.observe()
        if self._config.inputs == "pose":
            action = pose_action(pose, self._config.cells)
        return Step(index=self._index, action=action, frame=frame, pose=pose)


def maze_and_start(config: MemoryMazeConfig, seed: int) -> tuple[int, int | None]:
    """Maze seed and start seed of an episode's seed; start seed None: the package's own start."""
    if not config.maps:
        return seed, None
    return random.Random(f"map:{seed}").choice(config.maps), random.Random(f"start:{seed}").getrandbits(32)


def quantize_action(action: Action) -> Action:
    """The nearest of the package's actions: a turn of at least a half is a full one, a smaller one none."""
    turn = action.axis("turn")
    return Action.of(*action.buttons, turn=math.copysign(1.0, turn) if abs(turn) >= 0.5 else 0.0)


def pose_action(pose: Pose, cells: int) -> Action:
    """A pose as an input: x and y from -1 at one wall to 1 at the opposite one, the heading as cos and sin."""
    x, y = (min(1.0, max(-1.0, 2 * value / cells - 1)) for value in (pose.x, pose.y))
    return Action.of(x=x, y=y, cos=math.cos(pose.angle_rad), sin=math.sin(pose.angle_rad))


def pose_from_action(action: Action, cells: int) -> Pose:
    """The inverse of `pose_action`."""
    x, y = ((action.axis(name) + 1) / 2 * cells for name in ("x", "y"))
    return Pose(x=x, y=y, angle_rad=math.atan2(action.axis("sin"), action.axis("cos")) % math.tau)
