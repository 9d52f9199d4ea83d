"""Closed-loop policies: they know the ground-truth pose and the plan, and hold keys as a player would.

Owns: varied training data. A random policy stares at walls; these walk corridors along planned paths, look around,
return the way they came, strafe, back off, bump into walls and stand still. Most turns hold a key (the turn axis at
exactly 1 or -1, as the keyboard does); some imitate a mouse (fractions).
Does not own: scripts that need no reference world (`worldsim.actions.scripted_actions`).
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

from worldsim.core.types import NO_ACTION, Action
from worldsim.worlds.base import Cell
from worldsim.worlds.scripted_policy import ActionIterator, Point, ScriptedPolicy

WAYPOINT_RADIUS_UNITS = 34.0
"""Distance at which a waypoint counts as reached: about two ticks of walking."""
SLOWEST_UNITS_PER_TICK = 6.0
KEYBOARD_FRACTION = 0.88
"""Fraction of movements steered by held keys; the others imitate a mouse."""


class DoomPolicy(ScriptedPolicy):
    mixed_weights: ClassVar = {"explore": 0.35, "return": 0.15, "look": 0.25, "wander": 0.25}
    """Explore segments are the longest."""

    # -- segments

    def _explore(self) -> ActionIterator:
        for point in self._waypoints(self._pick_goal()):
            yield from self._go_to(point)
            if self._rng.random() < 0.3:
                yield from self._rng.choice((self._glance, self._pause, self._sidestep, self._back_off, self._bump))()

    def _return(self) -> ActionIterator:
        num_ticks_out = self._rng.randint(20, 120)
        here = self._cell
        trail = [(self._pose.x, self._pose.y)]
        for point in self._waypoints(self._pick_far(here)):
            for action in self._go_to(point):
                yield action
                num_ticks_out -= 1
            trail.append(point)
            if num_ticks_out <= 0:
                break
        if self._rng.random() < 0.3:
            yield from self._pause()
        yield from self._turn_by(self._rng.choice((-180.0, 180.0)), self._pick_turn_rate())
        for point in trail[-2::-1]:
            yield from self._go_to(point)

    def _look(self) -> ActionIterator:
        for _ in range(self._rng.choice((1, 1, 2))):
            yield from self._turn_by(self._rng.choice((-360.0, 360.0)), self._pick_turn_rate())
            if self._rng.random() < 0.3:
                yield from self._pause()
        for point in self._waypoints(self._rng.choice(self._layout.neighbors(self._cell))):
            yield from self._go_to(point)

    def _wander(self) -> ActionIterator:
        return self._open_loop(40, 160)

    def _spin(self) -> ActionIterator:
        """Turns in place only, sometimes reversing: after the first full turn every view was seen before, the simplest
        lesson in memory."""
        turn = self._rng.choice((-1.0, 1.0))
        for _ in range(self._rng.randint(10, 60)):
            yield Action.of(turn=turn)

    def _push(self) -> ActionIterator:
        return self._bump()

    # -- goals

    def _pick_goal(self) -> Cell:
        """One of the least visited cells half of the time, otherwise any other cell."""
        others = self._other_cells()
        return self._rng.choice(self._least_visited(others) if self._rng.random() < 0.5 else others)

    def _pick_far(self, here: Cell) -> Cell:
        """The farthest of three random cells."""
        return max(self._rng.choices(self._other_cells(), k=3), key=lambda cell: len(self._layout.path(here, cell)))

    def _waypoints(self, goal: Cell) -> list[Point]:
        """Points at the middle of the passages and near the middle of the cells up to `goal`."""
        layout = self._layout
        walk = layout.path(self._cell, goal)
        points = []
        for a, b in itertools.pairwise(walk):
            (ax, ay), (x, y) = layout.center(a), layout.center(b)
            points.append(((ax + x) / 2, (ay + y) / 2))
            points.append((x + self._rng.uniform(-16, 16), y + self._rng.uniform(-16, 16)))
        return points

    # -- movements

    def _go_to(self, point: Point) -> ActionIterator:
        """Walks to a point; gives up if it takes far too long (something is in the way)."""
        uses_keyboard = self._rng.random() < KEYBOARD_FRACTION
        rate = self._rng.uniform(0.3, 1.0)
        keeps_heading = self._rng.random() < 0.08
        stops_to_turn = self._rng.random() < 0.5
        ticks_left = 45 + int(self._distance(point) / SLOWEST_UNITS_PER_TICK)
        while self._distance(point) > WAYPOINT_RADIUS_UNITS and ticks_left > 0:
            ticks_left -= 1
            bearing = self._bearing_deg(point)
            if keeps_heading:
                yield Action(buttons=_buttons_toward(bearing))
                continue
            turn = self._key_turn(bearing) if uses_keyboard else self._mouse_turn(bearing, rate)
            walks = abs(bearing) < (25.0 if stops_to_turn else 70.0)
            yield Action(buttons=frozenset({"forward"} if walks else ()), axes=(("turn", turn),))
        if ticks_left == 0:
            yield from self._back_off()
        self._count_visit()

    def _glance(self) -> ActionIterator:
        degrees = self._rng.choice((-1, 1)) * self._rng.choice((40.0, 90.0, 90.0, 180.0, 360.0))
        rate = self._pick_turn_rate()
        yield from self._turn_by(degrees, rate)
        if self._rng.random() < 0.5:
            yield from self._pause()
        if self._rng.random() < 0.5:
            yield from self._turn_by(-degrees, rate)

    def _pause(self) -> ActionIterator:
        for _ in range(self._rng.randint(2, 12)):
            yield NO_ACTION

    def _sidestep(self) -> ActionIterator:
        """Steps sideways, half of the time back again, sometimes while turning."""
        side, other = self._rng.sample(("left", "right"), 2)
        turn = self._rng.choice((0.0, 0.0, 1.0, -1.0))
        num_ticks = self._rng.randint(4, 12)
        for _ in range(num_ticks):
            yield Action.of(side, turn=turn)
        for _ in range(num_ticks if self._rng.random() < 0.5 else 0):
            yield Action.of(other)

    def _back_off(self) -> ActionIterator:
        turn = self._rng.choice((0.0, 0.0, 1.0, -1.0))
        for _ in range(self._rng.randint(4, 12)):
            yield Action.of("back", turn=turn)

    def _bump(self) -> ActionIterator:
        """Holds forward regardless of obstacles, sometimes turning: often slides along a wall."""
        yield from self._turn_by(self._rng.choice((-1, 1)) * self._rng.choice((30.0, 60.0, 90.0)), 1.0)
        for _ in range(self._rng.randint(6, 16)):
            yield Action.of("forward", turn=self._rng.choice((0.0, 0.0, 0.0, 0.0, 1.0, -1.0)))

    # -- steering

    def _mouse_turn(self, bearing_deg: float, rate: float) -> float:
        return max(-rate, min(rate, bearing_deg / self._turn_deg)) if abs(bearing_deg) > 2.0 else 0.0

    def _pick_turn_rate(self) -> float:
        return 1.0 if self._rng.random() < KEYBOARD_FRACTION else self._rng.uniform(0.3, 0.95)


def _buttons_toward(bearing_deg: float) -> frozenset[str]:
    """The keys that walk toward a bearing without turning, in steps of 45 degrees."""
    ahead, left = math.cos(math.radians(bearing_deg)), math.sin(math.radians(bearing_deg))
    buttons = set()
    if abs(ahead) > 0.38:
        buttons.add("forward" if ahead > 0 else "back")
    if abs(left) > 0.38:
        buttons.add("left" if left > 0 else "right")
    return frozenset(buttons)
