"""What a reference world offers beyond `World`: ground truth, and policies that play it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import ConfigError
from worldsim.core.types import Action, ActionSpec, Pose, Step
from worldsim.worlds.grid import MazeLayout

W = TypeVar("W", bound="GroundTruthWorld")


class PosePolicy(Protocol):
    def act(self, pose: Pose) -> Action:
        """The next action, given the newest pose. Call once per tick."""
        ...


class WorldConfig(Protocol):
    """Properties of every reference world's config."""

    @property
    def action_spec(self) -> ActionSpec: ...

    @property
    def frame_shape(self) -> tuple[int, int, int]: ...

    @property
    def turn_deg(self) -> float:
        """Counterclockwise degrees per model tick with the turn axis at 1."""
        ...

    @property
    def fov_deg(self) -> float:
        """The camera's horizontal field of view."""
        ...

    @property
    def cell_units(self) -> int:
        """Distance between the centers of neighboring cells, in units of the pose."""
        ...

    @property
    def waypoint_radius(self) -> float:
        """Distance at which a keyboard player counts as having reached a point: one tick of walking stays within it."""
        ...


class GroundTruthWorld(ABC):
    """A World with an engine behind it. Every Step has a pose. A context manager; not thread-safe, one owner."""

    @property
    @abstractmethod
    def config(self) -> WorldConfig: ...

    @property
    @abstractmethod
    def layout(self) -> MazeLayout:
        """The maze of the latest reset."""

    @property
    @abstractmethod
    def depth(self) -> npt.NDArray[np.float32]:
        """Depth of the newest frame along the view direction. Shapes: [H, W]. Units: those of the pose."""

    @abstractmethod
    def make_policy(self, name: str, rng: random.Random) -> PosePolicy:
        """A policy for the maze of the latest reset; the same `rng` state and poses give the same actions.

        Raises: ConfigError for an unknown name.
        """

    def action_to(self, pose: Pose) -> Action:
        """The action that puts the camera at a pose. Raises: ConfigError where inputs are not poses."""
        raise ConfigError(f"no action of a {type(self).__name__} leads to {pose}", hint="world.inputs = 'pose'")

    @abstractmethod
    def reset(self, seed: int) -> Step: ...

    @abstractmethod
    def step(self, action: Action) -> Step: ...

    @abstractmethod
    def close(self) -> None:
        """Frees the engine. A later reset starts another."""

    @property
    def action_spec(self) -> ActionSpec:
        return self.config.action_spec

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return self.config.frame_shape

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
