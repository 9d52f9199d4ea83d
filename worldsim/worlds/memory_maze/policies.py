"""Closed-loop walkers of a Memory Maze: they see the true pose and the plan, and hold the keys there are.

Owns: data worth remembering something for: ways out and back, full turns, walks to every corner. A random policy bumps
into the nearest wall. Ticks are coarse (a quarter of a cell, 18 degrees), so a walker turns before it walks.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from worldsim.core.types import NO_ACTION, Action
from worldsim.worlds.base import Explorer
from worldsim.worlds.grid import Cell
from worldsim.worlds.memory_maze.config import CELLS_PER_S, MemoryMazeConfig
from worldsim.worlds.memory_maze.layout import MazePlan
from worldsim.worlds.scripted_policy import SINGLE_LEGS, Actions, Legs, Point, Walker, legs_of

JITTER_CELLS = 0.15
STEER_DEG = 40.0
"""A walker that is off by less walks on while it turns."""


def make_policy(name: str, plan: MazePlan, config: MemoryMazeConfig, rng: random.Random) -> Explorer:
    """One of `POLICY_NAMES`. Raises: ConfigError."""
    return _Walker(legs_of(name, _LEGS), plan, config, rng)


class _Walker(Walker):
    def __init__(self, legs: Legs, plan: MazePlan, config: MemoryMazeConfig, rng: random.Random) -> None:
        super().__init__(legs, plan, config, rng)
        self._plan, self._config = plan, config

    def _bodies(self) -> dict[str, Callable[[], Actions]]:
        return {
            "explore": self._explore,
            "return": self._return,
            "look": self._look,
            "wander": lambda: self._blindly(10, 40),
            "spin": self._spin,
        }

    def _explore(self) -> Actions:
        """To a cell that was seldom visited, with a glance on the way now and then."""
        for point in self._way_to(self._rng.choice(self._least_visited(self._others()))):
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

    def _spin(self) -> Actions:
        yield from self._turn_by(self._rng.choice((-360.0, 360.0)) * self._rng.randint(1, 3))

    def _way_to(self, goal: Cell) -> list[Point]:
        """Points near the middle of the cells on the way."""
        jitter = JITTER_CELLS
        middles = [self._plan.centre(cell) for cell in self._plan.path(self._here, goal)[1:]]
        return [(x + self._rng.uniform(-jitter, jitter), y + self._rng.uniform(-jitter, jitter)) for x, y in middles]

    def _go_to(self, point: Point) -> Actions:
        """Walks to a point; gives up when it takes far too long."""
        ticks_per_cell = self._config.control_hz / CELLS_PER_S
        patience = round(180 / self._config.turn_deg + 3 * ticks_per_cell * (1 + self._distance(point)))
        while self._distance(point) > self._config.reach_units and patience > 0:
            patience -= 1
            off_deg = self._bearing_deg(point)
            yield Action.of(*(["forward"] if abs(off_deg) < STEER_DEG else []), turn=self._key_turn(off_deg))
        self._visit()

    def _glance(self) -> Actions:
        """Aside and back again."""
        degrees = self._rng.choice((-90.0, 90.0, -180.0, 180.0))
        yield from self._turn_by(degrees)
        yield from self._turn_by(-degrees)

    def _pause(self) -> Actions:
        yield from [NO_ACTION] * self._rng.randint(1, 4)


_LEGS: dict[str, Legs] = {
    **SINGLE_LEGS,
    "mixed": {"explore": 0.3, "return": 0.3, "look": 0.2, "wander": 0.2},
}
POLICY_NAMES = tuple(_LEGS)
"""`mixed` draws a leg of the others each time."""
