"""Base class of the closed-loop policies of all worlds: they hold keys, and chain segments at random.

Owns: the choice of segments, the policy's position and visit counts, turning in place. Does not own: the segments and
path following (each world's `policies`). A segment is a generator of actions that reads the newest pose before each.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from worldsim.actions.scripted_actions import script_actions
from worldsim.core.errors import ConfigError, did_you_mean
from worldsim.core.types import Action, ActionSpec, Pose
from worldsim.worlds.base import Cell, MazeLayout

ActionIterator: TypeAlias = Iterator[Action]
Point: TypeAlias = tuple[float, float]
SegmentWeights: TypeAlias = Mapping[str, float]
"""Segment name to its relative probability."""

SINGLE_SEGMENT_POLICIES: dict[str, SegmentWeights] = {
    name: {name: 1.0} for name in ("explore", "return", "look", "wander", "spin")
}
"""Policies that repeat one kind of segment."""


class PolicyConfig(Protocol):
    @property
    def turn_deg(self) -> float: ...

    @property
    def key_spec(self) -> ActionSpec: ...


def segment_weights(name: str, known: Mapping[str, SegmentWeights]) -> SegmentWeights:
    """Raises: ConfigError for an unknown policy name."""
    if name not in known:
        raise ConfigError(f"no policy {name!r}", hint=did_you_mean(name, known))
    return known[name]


class ScriptedPolicy(ABC):
    """A `PosePolicy`: the same state of `rng` and the same poses give the same actions."""

    def __init__(self, weights: SegmentWeights, layout: MazeLayout, config: PolicyConfig, rng: random.Random) -> None:
        self._cells, self._cell_at = layout.cells, layout.cell_at
        self._turn_deg, self._key_spec = config.turn_deg, config.key_spec
        self._rng = rng
        self._pose = Pose(x=0.0, y=0.0, angle_rad=0.0)
        self._visits: dict[Cell, int] = {}
        self._actions = self._chain_segments(weights)

    def act(self, pose: Pose) -> Action:
        self._pose = pose
        return next(self._actions)

    @abstractmethod
    def _segments(self) -> Mapping[str, Callable[[], ActionIterator]]:
        """All segments by name."""

    def _chain_segments(self, weights: SegmentWeights) -> ActionIterator:
        segments = self._segments()
        while True:
            (name,) = self._rng.choices(list(weights), list(weights.values()))
            yield from segments[name]()

    # -- position

    @property
    def _cell(self) -> Cell:
        return self._cell_at(self._pose.x, self._pose.y)

    def _count_visit(self) -> None:
        """Counts the current cell."""
        self._visits[self._cell] = self._visits.get(self._cell, 0) + 1

    def _other_cells(self) -> list[Cell]:
        """All cells but the current one."""
        here = self._cell
        return [cell for cell in self._cells if cell != here]

    def _least_visited(self, cells: Sequence[Cell]) -> list[Cell]:
        least = min(self._visits.get(cell, 0) for cell in cells)
        return [cell for cell in cells if self._visits.get(cell, 0) == least]

    def _distance(self, point: Point) -> float:
        return math.dist(point, (self._pose.x, self._pose.y))

    def _bearing_deg(self, point: Point) -> float:
        """Direction of a point: degrees to the left of straight ahead, -180 to 180."""
        direction = math.atan2(point[1] - self._pose.y, point[0] - self._pose.x)
        return math.degrees(math.remainder(direction - self._pose.angle_rad, math.tau))

    # -- movements

    def _turn_by(self, degrees: float, rate: float = 1.0) -> ActionIterator:
        """Turns in place by `degrees` with the axis at `rate`, rounded to whole ticks."""
        for _ in range(round(abs(degrees) / (rate * self._turn_deg))):
            yield Action.of(turn=math.copysign(rate, degrees))

    def _key_turn(self, bearing_deg: float) -> float:
        """The turn axis with a key held, or 0 if one tick would turn too far."""
        return math.copysign(1.0, bearing_deg) if abs(bearing_deg) > 0.6 * self._turn_deg else 0.0

    def _open_loop(self, least_ticks: int, most_ticks: int) -> ActionIterator:
        """Holds keys regardless of obstacles: players run into walls and slide along them all the time."""
        seed, num_ticks = self._rng.randrange(2**31), self._rng.randint(least_ticks, most_ticks)
        yield from script_actions("explore", self._key_spec, seed, num_ticks)
