"""Base class of the closed-loop policies of all worlds: they hold keys, and chain segments at random.

Owns: the choice of segments, the policy's position and visit counts, turning in place. Does not own: the segments and
path following (each world's `policies`). A segment is a generator of actions that reads the newest pose before each.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias

from worldsim.actions.scripted_actions import script_actions
from worldsim.core.errors import ConfigError, did_you_mean
from worldsim.core.types import Action, Pose
from worldsim.worlds.base import Cell, MazeLayout, WorldConfig

ActionIterator: TypeAlias = Iterator[Action]
Point: TypeAlias = tuple[float, float]

POLICY_NAMES = ("explore", "return", "look", "wander", "spin", "push", "mixed", "mixed_push")
"""`mixed` draws among the segments of the others but `push`, `mixed_push` among all; the others repeat one kind of
segment each. A motion that is learned without pushes against walls walks through them."""
PUSH_WEIGHT = 0.3
"""Relative probability of a push in `mixed_push`; those of `mixed` add up to 1."""


class ScriptedPolicy(ABC):
    """A `PosePolicy`: the same state of `rng` and the same poses give the same actions."""

    mixed_weights: ClassVar[Mapping[str, float]]
    """Relative probability of each segment in the policy `mixed`."""

    def __init__(self, name: str, layout: MazeLayout, config: WorldConfig, rng: random.Random) -> None:
        """`name`: one of `POLICY_NAMES`. Raises: ConfigError."""
        if name not in POLICY_NAMES:
            raise ConfigError(f"no policy {name!r}", hint=did_you_mean(name, POLICY_NAMES))
        self._layout, self._turn_deg, self._key_spec, self._rng = layout, config.turn_deg, config.key_spec, rng
        self._pose = Pose(x=0.0, y=0.0, angle_rad=0.0)
        self._visits: dict[Cell, int] = {}
        mixed = dict(self.mixed_weights)
        composed = {"mixed": mixed, "mixed_push": {**mixed, "push": PUSH_WEIGHT}}
        self._actions = self._chain_segments(composed.get(name, {name: 1.0}))

    def act(self, pose: Pose) -> Action:
        self._pose = pose
        return next(self._actions)

    def _chain_segments(self, weights: Mapping[str, float]) -> ActionIterator:
        segments: dict[str, Callable[[], ActionIterator]] = {
            "explore": self._explore,
            "return": self._return,
            "look": self._look,
            "wander": self._wander,
            "spin": self._spin,
            "push": self._push,
        }
        while True:
            (name,) = self._rng.choices(list(weights), list(weights.values()))
            yield from segments[name]()

    # -- segments

    @abstractmethod
    def _explore(self) -> ActionIterator:
        """Walks to a rarely visited cell, interrupted by what players do on the way."""

    @abstractmethod
    def _return(self) -> ActionIterator:
        """Walks out, turns around, and returns along the same path."""

    @abstractmethod
    def _look(self) -> ActionIterator:
        """Full turns in place, then a short walk."""

    @abstractmethod
    def _wander(self) -> ActionIterator:
        """Holds keys regardless of obstacles: see `_open_loop`."""

    @abstractmethod
    def _spin(self) -> ActionIterator:
        """Only turns in place."""

    @abstractmethod
    def _push(self) -> ActionIterator:
        """Turns and holds forward, whatever is ahead, long enough to reach a wall and stay at it."""

    # -- position

    @property
    def _cell(self) -> Cell:
        return self._layout.cell_at(self._pose.x, self._pose.y)

    def _count_visit(self) -> None:
        """Counts the current cell."""
        self._visits[self._cell] = self._visits.get(self._cell, 0) + 1

    def _other_cells(self) -> list[Cell]:
        """All cells but the current one."""
        here = self._cell
        return [cell for cell in self._layout.cells if cell != here]

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
