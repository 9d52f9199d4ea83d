"""Closed-loop walkers of a Memory Maze: they see the true pose and the plan, and hold the keys there are.

Owns: data worth remembering something for: ways out and back, full turns, walks to every corner. A random policy bumps
into the nearest wall. Ticks are coarse (a quarter of a cell, 18 degrees), so a walker turns before it walks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

from worldsim.actions.scripts import script_actions
from worldsim.core.errors import ConfigError, nearest
from worldsim.core.types import NO_ACTION, Action, Pose
from worldsim.worlds.grid import Cell
from worldsim.worlds.memory_maze.config import CELLS_PER_S, MemoryMazeConfig
from worldsim.worlds.memory_maze.layout import MazePlan

JITTER_CELLS = 0.15
STEER_DEG = 40.0
"""A walker that is off by less walks on while it turns."""

Actions = Iterator[Action]


def make_explorer(name: str, plan: MazePlan, config: MemoryMazeConfig, rng: random.Random) -> Walker:
    """One of `EXPLORER_NAMES`. Raises: ConfigError."""
    if name not in _LEGS:
        raise ConfigError(f"no explorer {name!r}", hint=nearest(name, EXPLORER_NAMES))
    return Walker(_LEGS[name], plan, config, rng)


class Walker:
    """Strings legs together. A leg is a generator of actions that reads `self._pose` afresh before each."""

    def __init__(self, legs: dict[str, float], plan: MazePlan, config: MemoryMazeConfig, rng: random.Random) -> None:
        self._legs, self._plan, self._config, self._rng = legs, plan, config, rng
        self._pose = Pose(x=0.0, y=0.0, angle_rad=0.0)
        self._visits: dict[Cell, int] = {}
        self._actions = self._walk()

    def act(self, pose: Pose) -> Action:
        self._pose = pose
        return next(self._actions)

    def _walk(self) -> Actions:
        bodies: dict[str, Callable[[], Actions]] = {
            "explore": self._explore,
            "return": self._return,
            "look": self._look,
            "wander": self._wander,
            "spin": self._spin,
        }
        while True:
            (name,) = self._rng.choices(list(self._legs), list(self._legs.values()))
            yield from bodies[name]()

    def _explore(self) -> Actions:
        """To a cell that was seldom visited, with a glance on the way now and then."""
        others = [cell for cell in self._plan.cells if cell != self._here]
        least = min(self._visits.get(cell, 0) for cell in others)
        for point in self._way_to(self._rng.choice([cell for cell in others if self._visits.get(cell, 0) == least])):
            yield from self._go_to(point)
            if self._rng.random() < 0.1:
                yield from self._rng.choice((self._glance, self._pause))()

    def _return(self) -> Actions:
        """Out, half a turn, and back over the same places."""
        goal = max(self._rng.choices(self._plan.cells, k=3), key=lambda c: len(self._plan.path(self._here, c)))
        trail = [(self._pose.x, self._pose.y), *self._way_to(goal)[: self._rng.randint(3, 16)]]
        for point in trail[1:]:
            yield from self._go_to(point)
        yield from self._turn_by(self._rng.choice((-180.0, 180.0)))
        for point in trail[-2::-1]:
            yield from self._go_to(point)

    def _look(self) -> Actions:
        """A full turn on the spot, then some steps to another place."""
        yield from self._turn_by(self._rng.choice((-360.0, 360.0)))
        for point in self._way_to(self._rng.choice(self._plan.cells))[: self._rng.randint(1, 4)]:
            yield from self._go_to(point)

    def _wander(self) -> Actions:
        """Keys held whatever is there: along walls and into them."""
        seed, num_ticks = self._rng.randrange(2**31), self._rng.randint(10, 40)
        yield from script_actions("explore", self._config.key_spec, seed, num_ticks)

    def _spin(self) -> Actions:
        yield from self._turn_by(self._rng.choice((-360.0, 360.0)) * self._rng.randint(1, 3))

    @property
    def _here(self) -> Cell:
        return self._plan.cell_at(self._pose.x, self._pose.y)

    def _way_to(self, goal: Cell) -> list[tuple[float, float]]:
        """Points near the middle of the cells on the way."""
        jitter = JITTER_CELLS
        middles = [self._plan.centre(cell) for cell in self._plan.path(self._here, goal)[1:]]
        return [(x + self._rng.uniform(-jitter, jitter), y + self._rng.uniform(-jitter, jitter)) for x, y in middles]

    def _go_to(self, point: tuple[float, float]) -> Actions:
        """Walks to a point; gives up when it takes far too long."""
        ticks_per_cell = self._config.control_hz / CELLS_PER_S
        patience = round(180 / self._config.turn_deg + 3 * ticks_per_cell * (1 + self._distance(point)))
        while self._distance(point) > self._config.reach_units and patience > 0:
            patience -= 1
            off_deg = self._bearing_deg(point)
            turns = abs(off_deg) > 0.6 * self._config.turn_deg
            yield Action.of(
                *(["forward"] if abs(off_deg) < STEER_DEG else []), turn=math.copysign(1.0, off_deg) if turns else 0.0
            )
        self._visits[self._here] = self._visits.get(self._here, 0) + 1

    def _turn_by(self, degrees: float) -> Actions:
        for _ in range(round(abs(degrees) / self._config.turn_deg)):
            yield Action.of(turn=math.copysign(1.0, degrees))

    def _glance(self) -> Actions:
        """Aside and back again."""
        degrees = self._rng.choice((-90.0, 90.0, -180.0, 180.0))
        yield from self._turn_by(degrees)
        yield from self._turn_by(-degrees)

    def _pause(self) -> Actions:
        yield from [NO_ACTION] * self._rng.randint(1, 4)

    def _distance(self, point: tuple[float, float]) -> float:
        return math.dist(point, (self._pose.x, self._pose.y))

    def _bearing_deg(self, point: tuple[float, float]) -> float:
        """Degrees to the left of straight ahead, -180 to 180."""
        direction = math.atan2(point[1] - self._pose.y, point[0] - self._pose.x)
        return math.degrees(math.remainder(direction - self._pose.angle_rad, math.tau))


_LEGS: dict[str, dict[str, float]] = {
    **{name: {name: 1.0} for name in ("explore", "return", "look", "wander", "spin")},
    "mixed": {"explore": 0.3, "return": 0.3, "look": 0.2, "wander": 0.2},
}
EXPLORER_NAMES = tuple(_LEGS)
"""`mixed` draws a leg of the others each time."""
