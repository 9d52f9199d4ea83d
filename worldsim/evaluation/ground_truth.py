"""The true world as an evaluation needs it: who walks in it, how far a turn is, what the camera sees.

Owns: what of a world the tasks may ask. Does not own: the worlds (`worlds`), the pilots' ways.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from worldsim.core.types import Step
from worldsim.evaluation.clips import Depth
from worldsim.evaluation.policies import (
    LoopPolicy,
    PolicyFactory,
    ReturnPolicy,
    StepPolicy,
    Waypoints,
    loop_waypoints,
    pose_of,
)
from worldsim.evaluation.visibility import Camera
from worldsim.presets.config import PresetConfig
from worldsim.worlds.base import GroundTruthWorld
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.registry import open_world

DOOM_STRETCH = 1.2
"""Doom's pixels were a fifth higher than wide; the engine draws as if they still were."""


@dataclass(frozen=True, kw_only=True)
class EvaluationWorld:
    """A running true world."""

    world: GroundTruthWorld
    camera: Camera

    def read_depth(self) -> Depth:
        """Depth of the newest frame at the camera's points."""
        return self.camera.subsample(self.world.depth)

    def seeds_with_loop(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """Those whose maze has a loop to go round. Side effects: resets the world."""
        return tuple(seed for seed in seeds if self._loop_waypoints(self.world.reset(seed)) is not None)

    def loop_policy(self) -> PolicyFactory:
        """Round and round the nearest loop; only for seeds `seeds_with_loop`."""
        config = self.world.config

        def way(step: Step) -> tuple[Waypoints, Waypoints]:
            points = self._loop_waypoints(step)
            assert points is not None, "this maze has no loop"
            return points

        return lambda seed: LoopPolicy(way, config.turn_deg, config.waypoint_radius)

    def _loop_waypoints(self, step: Step) -> tuple[Waypoints, Waypoints] | None:
        """Of the maze of the newest reset, from where the step stands."""
        pose = pose_of(step)
        maze = self.world.layout
        return loop_waypoints(maze, maze.cell_at(pose.x, pose.y))


@contextmanager
def open_evaluation_world(config: PresetConfig) -> Iterator[EvaluationWorld]:
    """The true world of a preset, ended on the way out.

    Raises: ConfigError for a preset that has none, MissingPackageError when its package is not installed.
    """
    true_world = config.ground_truth_config
    height_px, width_px, _ = true_world.frame_shape
    camera = Camera(
        height_px=height_px,
        width_px=width_px,
        fov_deg=true_world.fov_deg,
        cell_units=true_world.cell_units,
        stretch=DOOM_STRETCH if isinstance(true_world, DoomConfig) else 1.0,
    )
    with closing(open_world(true_world, with_depth=True)) as world:
        yield EvaluationWorld(world=world, camera=camera)


def explore_policy(world: GroundTruthWorld) -> PolicyFactory:
    """Walks through the maze to cells seldom visited."""

    def make(seed: int) -> StepPolicy:
        policy = world.make_policy("explore", random.Random(f"evaluation:{seed}"))
        return lambda step: policy.act(pose_of(step))

    return make


def return_policy(world: GroundTruthWorld, num_frames: int) -> PolicyFactory:
    """Explores during the first half of the episode, then turns round and walks back over the same places."""
    config = world.config
    return lambda seed: ReturnPolicy(
        explore_policy(world)(seed), num_frames // 2, config.turn_deg, config.waypoint_radius
    )
