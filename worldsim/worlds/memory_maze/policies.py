"""Closed-loop policies for a Memory Maze: they know the ground-truth pose and the plan, and hold keys.

Owns: training data with something to remember: paths out and back, full turns, visits to every corner. A random policy
only bumps into the nearest wall. Ticks are coarse (a quarter of a cell, 18 degrees), so a policy turns before it walks.
"""

from __future__ import annotations

import random
from typing import ClassVar

from worldsim.core.types import NO_ACTION, Action
from worldsim.worlds.base import Cell, MazeLayout
from worldsim.worlds.memory_maze.config import CELLS_PER_S, MemoryMazeConfig
from worldsim.worlds.scripted_policy import ActionIterator, Point, ScriptedPolicy

JITTER_CELLS = 0.15
STEER_DEG = 40.0
"""Below this heading error, a policy walks while it turns."""


class MemoryMazePolicy(ScriptedPolicy):
    mixed_weights: ClassVar = {"explore": 0.3, "return": 0.3, "look": 0.2, "wander": 0.2}

    def __init__(self, name: str, layout: MazeLayout, config: MemoryMazeConfig, rng: random.Random) -> None:
        super().__init__(name, layout, config, rng)
        self._config = config

    def _explore(self) -> ActionIterator:
        for point in self._waypoints(self._rng.choice(self._least_visited(self._other_cells()))):
            yield from self._go_to(point)
            if self._rng.random() < 0.1:
                yield from self._rng.choice((self._glance, self._pause))()

    def _return(self) -> ActionIterator:
        goal = max(self._rng.choices(self._layout.cells, k=3), key=lambda c: len(self._layout.path(self._cell, c)))
        trail = [(self._pose.x, self._pose.y), *self._waypoints(goal)[: self._rng.randint(3, 16)]]
        for point in trail[1:]:
            yield from self._go_to(point)
        yield from self._turn_by(self._rng.choice((-180.0, 180.0)))
        for point in trail[-2::-1]:
            yield from self._go_to(point)

    def _look(self) -> ActionIterator:
        yield from self._turn_by(self._rng.choice((-360.0, 360.0)))
        for point in self._waypoints(self._rng.choice(self._layout.cells))[: self._rng.randint(1, 4)]:
            yield from self._go_to(point)

    def _wander(self) -> ActionIterator:
        return self._open_loop(10, 40)

    def _spin(self) -> ActionIterator:
        yield from self._turn_by(self._rng.choice((-360.0, 360.0)) * self._rng.randint(1, 3))

    def _push(self) -> ActionIterator:
        yield from self._turn_by(self._rng.uniform(-180.0, 180.0))
        ticks_per_cell = self._config.control_hz / CELLS_PER_S
        for _ in range(round(self._rng.uniform(1, 4) * ticks_per_cell)):
            yield Action.of("forward", turn=self._rng.choice((*[0.0] * 8, 1.0, -1.0)))

    def _waypoints(self, goal: Cell) -> list[Point]:
        """Points near the middle of the cells up to `goal`."""
        jitter = JITTER_CELLS
        middles = [self._layout.center(cell) for cell in self._layout.path(self._cell, goal)[1:]]
        return [(x + self._rng.uniform(-jitter, jitter), y + self._rng.uniform(-jitter, jitter)) for x, y in middles]

    def _go_to(self, point: Point) -> ActionIterator:
        """Walks to a point; gives up if it takes far too long."""
        ticks_per_cell = self._config.control_hz / CELLS_PER_S
        ticks_left = round(180 / self._config.turn_deg + 3 * ticks_per_cell * (1 + self._distance(point)))
        while self._distance(point) > self._config.waypoint_radius and ticks_left > 0:
            ticks_left -= 1
            off_deg = self._bearing_deg(point)
            yield Action.of(*(["forward"] if abs(off_deg) < STEER_DEG else []), turn=self._key_turn(off_deg))
        self._count_visit()

    def _glance(self) -> ActionIterator:
        """Turns aside and back again."""
        degrees = self._rng.choice((-90.0, 90.0, -180.0, 180.0))
        yield from self._turn_by(degrees)
        yield from self._turn_by(-degrees)

    def _pause(self) -> ActionIterator:
        yield from [NO_ACTION] * self._rng.randint(1, 4)
