"""What a reference world offers beyond `World`: ground truth, the plan of its maze, and policies that play it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import ConfigError
from worldsim.core.types import Action, ActionSpec, Pose, Step

W = TypeVar("W", bound="GroundTruthWorld")

Cell: TypeAlias = tuple[int, int]
"""(column, row); rows count northward."""

SIDES = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "south": (0, -1)}


class MazeLayout(Protocol):
    """The plan of a maze, in the units of the world's poses."""

    @property
    def cells(self) -> tuple[Cell, ...]: ...

    def center(self, cell: Cell) -> tuple[float, float]: ...

    def cell_at(self, x: float, y: float) -> Cell: ...

    def neighbors(self, cell: Cell) -> list[Cell]:
        """Cells that can be walked to directly."""
        ...

    def path(self, start: Cell, goal: Cell) -> list[Cell]:
        """A shortest path, both ends included."""
        ...


class PosePolicy(Protocol):
    def act(self, pose: Pose) -> Action:
        """The next action, given the newest pose. Call once per tick."""
        ...


class WorldConfig(Protocol):
    """Properties of every reference world's config."""

    @property
    def action_spec(self) -> ActionSpec: ...

    @property
    def key_spec(self) -> ActionSpec:
        """The keys, also where inputs are poses."""
        ...

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


def shortest_path(neighbors: Callable[[Cell], Iterable[Cell]], start: Cell, goal: Cell) -> list[Cell]:
    """A shortest path from `start` to `goal`, both included."""
    came_from: dict[Cell, Cell] = {start: start}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        for other in neighbors(cell):
            if other not in came_from:
                came_from[other] = cell
                queue.append(other)
    assert goal in came_from, f"no path from {start} to {goal}: the maze is not connected"
    path = [goal]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]
