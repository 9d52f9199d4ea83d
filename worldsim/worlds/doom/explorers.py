"""Closed-loop walkers: they see the true pose and the plan, and hold keys as a person would.

Owns: data worth learning from. A random policy stares at walls; these walk corridors along planned paths, look round,
come back the way they went, strafe, back off, bump into walls and stand still. Most turns hold a key (the turn axis at
exactly 1 or -1, as the keyboard does); some follow a mouse (fractions).
Does not own: scripts that need no true world (`worldsim.actions.scripts`).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator

from worldsim.actions.scripts import script_actions
from worldsim.core.errors import ConfigError, nearest
from worldsim.core.types import NO_ACTION, Action, Pose
from worldsim.worlds.base import Explorer
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.layout import MazeLayout
from worldsim.worlds.grid import Cell

REACH_UNITS = 34.0
"""A waypoint counts as reached from here: about two ticks of walking."""
SLOWEST_UNITS_PER_TICK = 6.0
KEYBOARD_SHARE = 0.88
"""Share of stretches steered by held keys; the rest are steered by a mouse."""

Actions = Iterator[Action]


def make_explorer(name: str, layout: MazeLayout, config: DoomConfig, rng: random.Random) -> Explorer:
    """A walker through `layout`: one of `EXPLORER_NAMES`. The same `rng` state and poses, the same actions."""
    if name not in _LEGS:
        raise ConfigError(f"no explorer {name!r}", hint=nearest(name, EXPLORER_NAMES))
    return _Walker(_LEGS[name], layout, config, rng)


class _Walker:
    """Strings legs together. A leg is a generator of actions that reads `self._pose` afresh before each."""

    def __init__(self, legs: dict[str, float], layout: MazeLayout, config: DoomConfig, rng: random.Random) -> None:
        self._layout = layout
        self._turn_deg = config.turn_deg
        self._key_spec = config.key_spec
        self._rng = rng
        self._pose = Pose(x=0.0, y=0.0, angle_rad=0.0)
        self._visits: dict[Cell, int] = {}
        self._actions = self._string_together(legs)

    def act(self, pose: Pose) -> Action:
        self._pose = pose
        return next(self._actions)

    def _string_together(self, legs: dict[str, float]) -> Actions:
        bodies: dict[str, Callable[[], Actions]] = {
            "explore": self._explore_leg,
            "return": self._return_leg,
            "look": self._look_leg,
            "wander": self._wander_leg,
            "spin": self._spin_leg,
        }
        while True:
            (name,) = self._rng.choices(list(legs), list(legs.values()))
            yield from bodies[name]()

    # -- legs

    def _explore_leg(self) -> Actions:
        """To a cell that was seldom visited, with things a person does on the way."""
        for point in self._plan(self._pick_goal()):
            yield from self._go_to(point)
            if self._rng.random() < 0.3:
                yield from self._rng.choice((self._glance, self._pause, self._sidestep, self._back_off, self._bump))()

    def _return_leg(self) -> Actions:
        """Out, round, and back the same way."""
        num_ticks_out = self._rng.randint(20, 120)
        here = self._layout.cell_at(self._pose.x, self._pose.y)
        trail = [(self._pose.x, self._pose.y)]
        for point in self._plan(self._pick_far(here)):
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

    def _look_leg(self) -> Actions:
        """Full circles on the spot, then a step to another place."""
        for _ in range(self._rng.choice((1, 1, 2))):
            yield from self._turn_by(self._rng.choice((-360.0, 360.0)), self._pick_turn_rate())
            if self._rng.random() < 0.3:
                yield from self._pause()
        here = self._layout.cell_at(self._pose.x, self._pose.y)
        for point in self._plan(self._rng.choice(self._layout.neighbours(here))):
            yield from self._go_to(point)

    def _wander_leg(self) -> Actions:
        """Keys held whatever is there: a player runs into walls, and slides along them, all the time."""
        seed, num_ticks = self._rng.randrange(2**31), self._rng.randint(40, 160)
        yield from script_actions("explore", self._key_spec, seed, num_ticks)

    def _spin_leg(self) -> Actions:
        """Full circles on the spot and nothing else, now and then the other way round: all but the first of them show
        what was seen, which is the plainest lesson in memory."""
        turn = self._rng.choice((-1.0, 1.0))
        for _ in range(self._rng.randint(10, 60)):
            yield Action.of(turn=turn)

    # -- where to

    def _pick_goal(self) -> Cell:
        """Half the time the cell visited least, else any other than this one."""
        here = self._layout.cell_at(self._pose.x, self._pose.y)
        others = [cell for cell in self._layout.cells if cell != here]
        if self._rng.random() < 0.5:
            least = min(self._visits.get(cell, 0) for cell in others)
            others = [cell for cell in others if self._visits.get(cell, 0) == least]
        return self._rng.choice(others)

    def _pick_far(self, here: Cell) -> Cell:
        """The farthest of three random cells."""
        others = [cell for cell in self._layout.cells if cell != here]
        return max(self._rng.choices(others, k=3), key=lambda cell: len(self._layout.path(here, cell)))

    def _plan(self, goal: Cell) -> list[tuple[float, float]]:
        """Points through the middle of the passages and near the middle of the cells, up to `goal`."""
        layout = self._layout
        walk = layout.path(layout.cell_at(self._pose.x, self._pose.y), goal)
        points = []
        for a, b in itertools.pairwise(walk):
            points.append(layout.opening_centre(a, b))
            x, y = layout.centre(b)
            points.append((x + self._rng.uniform(-16, 16), y + self._rng.uniform(-16, 16)))
        return points

    # -- movements

    def _go_to(self, point: tuple[float, float]) -> Actions:
        """Walks to a point; gives up when it takes far too long (something is in the way)."""
        by_keys = self._rng.random() < KEYBOARD_SHARE
        rate = self._rng.uniform(0.3, 1.0)
        keeps_heading = self._rng.random() < 0.08
        stops_to_turn = self._rng.random() < 0.5
        patience = 45 + int(self._distance(point) / SLOWEST_UNITS_PER_TICK)
        while self._distance(point) > REACH_UNITS and patience > 0:
            patience -= 1
            bearing = self._bearing_deg(point)
            if keeps_heading:
                yield Action(buttons=_buttons_towards(bearing))
                continue
            turn = self._key_turn(bearing) if by_keys else self._mouse_turn(bearing, rate)
            walks = abs(bearing) < (25.0 if stops_to_turn else 70.0)
            yield Action(buttons=frozenset({"forward"} if walks else ()), axes=(("turn", turn),))
        if patience == 0:
            yield from self._back_off()
        here = self._layout.cell_at(self._pose.x, self._pose.y)
        self._visits[here] = self._visits.get(here, 0) + 1

    def _turn_by(self, degrees: float, rate: float) -> Actions:
        """Turns on the spot by `degrees` with the axis at `rate`; what is left at the end is dropped."""
        for _ in range(round(abs(degrees) / (rate * self._turn_deg))):
            yield Action.of(turn=math.copysign(rate, degrees))

    def _glance(self) -> Actions:
        degrees = self._rng.choice((-1, 1)) * self._rng.choice((40.0, 90.0, 90.0, 180.0, 360.0))
        rate = self._pick_turn_rate()
        yield from self._turn_by(degrees, rate)
        if self._rng.random() < 0.5:
            yield from self._pause()
        if self._rng.random() < 0.5:
            yield from self._turn_by(-degrees, rate)

    def _pause(self) -> Actions:
        for _ in range(self._rng.randint(2, 12)):
            yield NO_ACTION

    def _sidestep(self) -> Actions:
        """Sideways one way and half the time back again, now and then while turning."""
        side, other = self._rng.sample(("left", "right"), 2)
        turn = self._rng.choice((0.0, 0.0, 1.0, -1.0))
        num_ticks = self._rng.randint(4, 12)
        for _ in range(num_ticks):
            yield Action.of(side, turn=turn)
        for _ in range(num_ticks if self._rng.random() < 0.5 else 0):
            yield Action.of(other)

    def _back_off(self) -> Actions:
        turn = self._rng.choice((0.0, 0.0, 1.0, -1.0))
        for _ in range(self._rng.randint(4, 12)):
            yield Action.of("back", turn=turn)

    def _bump(self) -> Actions:
        """Holds forward whatever is there, often a wall, sometimes sliding along it."""
        yield from self._turn_by(self._rng.choice((-1, 1)) * self._rng.choice((30.0, 60.0, 90.0)), 1.0)
        for _ in range(self._rng.randint(6, 16)):
            yield Action.of("forward", turn=self._rng.choice((0.0, 0.0, 0.0, 0.0, 1.0, -1.0)))

    # -- steering

    def _key_turn(self, bearing_deg: float) -> float:
        return math.copysign(1.0, bearing_deg) if abs(bearing_deg) > 0.6 * self._turn_deg else 0.0

    def _mouse_turn(self, bearing_deg: float, rate: float) -> float:
        return max(-rate, min(rate, bearing_deg / self._turn_deg)) if abs(bearing_deg) > 2.0 else 0.0

    def _pick_turn_rate(self) -> float:
        return 1.0 if self._rng.random() < KEYBOARD_SHARE else self._rng.uniform(0.3, 0.95)

    def _distance(self, point: tuple[float, float]) -> float:
        return math.hypot(point[0] - self._pose.x, point[1] - self._pose.y)

    def _bearing_deg(self, point: tuple[float, float]) -> float:
        """Where a point is as seen from here: degrees to the left of straight ahead, -180 to 180."""
        direction = math.atan2(point[1] - self._pose.y, point[0] - self._pose.x)
        return math.degrees(math.remainder(direction - self._pose.angle_rad, math.tau))


_LEGS: dict[str, dict[str, float]] = {
    "explore": {"explore": 1.0},
    "return": {"return": 1.0},
    "look": {"look": 1.0},
    "wander": {"wander": 1.0},
    "spin": {"spin": 1.0},
    "mixed": {"explore": 0.35, "return": 0.15, "look": 0.25, "wander": 0.25},
}
EXPLORER_NAMES = tuple(_LEGS)
"""`mixed` draws a leg of the others each time; its weights are per leg, explore legs being the longest."""


def _buttons_towards(bearing_deg: float) -> frozenset[str]:
    """The keys that walk towards a bearing without turning, in steps of 45 degrees."""
    ahead, left = math.cos(math.radians(bearing_deg)), math.sin(math.radians(bearing_deg))
    buttons = set()
    if abs(ahead) > 0.38:
        buttons.add("forward" if ahead > 0 else "back")
    if abs(left) > 0.38:
        buttons.add("left" if left > 0 else "right")
    return frozenset(buttons)
