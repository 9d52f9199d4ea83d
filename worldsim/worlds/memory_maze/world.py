"""MemoryMazeWorld: a Memory Maze that is walked in, tick by tick, with the true pose. Deterministic by seed.

Owns: which maze and start a seed means, actions as the package's six, poses as inputs. Does not own: the package
(`engine`). Not thread-safe; one owner.

A walk of the ball is no reversible thing: it comes to speed in a tick and glides on for a sixth of a cell, and the
first tick of a turn turns less than the next. Whoever wants to see a way back asks the engine.
"""

from __future__ import annotations

import math
import random
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import WorldError
from worldsim.core.types import NO_ACTION, Action, ActionSpec, Pose, Step
from worldsim.worlds.base import PosePolicy
from worldsim.worlds.memory_maze.config import POSE_AXES, MemoryMazeConfig
from worldsim.worlds.memory_maze.engine import MemoryMazeEngine
from worldsim.worlds.memory_maze.layout import MemoryMazeLayout
from worldsim.worlds.memory_maze.policies import make_policy


class MemoryMazeWorld:
    """A TrueWorld over MuJoCo. `depth` and `layout` belong to the newest Step."""

    def __init__(self, config: MemoryMazeConfig) -> None:
        self._config = config
        self._engine: MemoryMazeEngine | None = None
        self._index = 0

    @property
    def config(self) -> MemoryMazeConfig:
        return self._config

    @property
    def action_spec(self) -> ActionSpec:
        return self._config.action_spec

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return self._config.frame_shape

    @property
    def layout(self) -> MemoryMazeLayout:
        """The maze being walked in."""
        return self._running_engine.layout

    @property
    def depth(self) -> npt.NDArray[np.float32]:
        """Depth of the newest frame, drawn when it is asked for; where there is sky, some hundreds.

        Shapes: [H, W]. Units: cells along the view direction.
        """
        return self._running_engine.depth()

    @property
    def ground_truth(self) -> dict[str, npt.NDArray[Any]]:
        """Of the newest Step, all that the package's own data hold of a frame but picture and action."""
        return self._running_engine.ground_truth()

    def make_policy(self, name: str, rng: random.Random) -> PosePolicy:
        return make_policy(name, self.layout, self._config, rng)

    def reset(self, seed: int) -> Step:
        """Without fixed maps, what the package's environment of that seed shows after its first reset.

        Side effects: builds a maze that is not the last one (a second). With poses as inputs, the first has one too.
        Raises: MissingPackageError without the package, WorldError when it cannot draw.
        """
        assert seed >= 0, f"seed is {seed}"
        maze_seed, start_seed = maze_and_start(self._config, seed)
        if self._engine is None:
            self._engine = MemoryMazeEngine(self._config)
        self._engine.start(maze_seed, start_seed)
        self._index = 0
        return self._observe(NO_ACTION)

    def step(self, action: Action) -> Step:
        """One model tick under the keys held; where poses are inputs, a pose puts the camera there.

        Raises: ConfigError for an input that there is not; WorldError when there was no reset or MuJoCo diverged.
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
        """Frees the graphics. A later reset starts again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __enter__(self) -> MemoryMazeWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
    """The maze an episode's seed means, and where it starts there; None: where the package starts."""
    if not config.maps:
        return seed, None
    return random.Random(f"map:{seed}").choice(config.maps), random.Random(f"start:{seed}").getrandbits(32)


def quantize_action(action: Action) -> Action:
    """What the package can do of it: a turn of a half or more is a whole one, a smaller one none."""
    turn = action.axis("turn")
    return Action.of(*action.buttons, turn=math.copysign(1.0, turn) if abs(turn) >= 0.5 else 0.0)


def pose_action(pose: Pose, cells: int) -> Action:
    """Where the camera is, as an input: x and y from -1 at one wall to 1 at the other, the heading as cos and sin."""
    x, y = (min(1.0, max(-1.0, 2 * value / cells - 1)) for value in (pose.x, pose.y))
    return Action.of(x=x, y=y, cos=math.cos(pose.angle_rad), sin=math.sin(pose.angle_rad))


def pose_from_action(action: Action, cells: int) -> Pose:
    """The inverse."""
    x, y = ((action.axis(name) + 1) / 2 * cells for name in ("x", "y"))
    return Pose(x=x, y=y, angle_rad=math.atan2(action.axis("sin"), action.axis("cos")) % math.tau)
