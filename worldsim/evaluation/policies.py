"""Who walks in an evaluation's episodes: out and back, on the spot, round and round, keys at random, standing still.

Owns: which action comes next. Does not own: recording (`evaluation.clips`), what a world offers
(`evaluation.ground_truth`).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from worldsim.core.types import NO_ACTION, Action, ActionSpec, Pose, Step
from worldsim.worlds.grid import Cell

StepPolicy = Callable[[Step], Action]
"""Chooses the next action from the newest step; one per episode."""
PolicyFactory = Callable[[int], StepPolicy]
"""The pilot of a seed. Called after the world's reset."""

HALF_TURN_DEG = 180.0
WALK_WITHIN_DEG = 45.0
HOLD_TICKS = (6, 14)
"""How long a key is held at random: fewest and most ticks."""


class GridMaze(Protocol):
    """The plan of a place of cells."""

    @property
    def cells(self) -> tuple[Cell, ...]: ...
    def center(self, cell: Cell) -> tuple[float, float]: ...
    def cell_at(self, x: float, y: float) -> Cell: ...
    def neighbors(self, cell: Cell) -> list[Cell]: ...
    def path(self, start: Cell, goal: Cell) -> list[Cell]: ...


class ReturnPolicy:
    """Lets another lead for `out_frames` frames, then returns by held keys. `reach`: the world's `waypoint_radius`."""

    def __init__(self, out: StepPolicy, out_frames: int, turn_deg: float, reach: float) -> None:
        self._out, self._out_frames, self._turn_deg, self._reach = out, out_frames, turn_deg, reach
        self._trail: list[tuple[float, float]] = []

    def __call__(self, step: Step) -> Action:
        pose = pose_of(step)
        next_index = step.index + 1
        if next_index < self._out_frames:
            self._trail.append((pose.x, pose.y))
            return self._out(step)
        if next_index < self._out_frames + round(HALF_TURN_DEG / self._turn_deg):
            return Action.of(turn=1.0)
        return self._back(pose)

    def _back(self, pose: Pose) -> Action:
        """Towards the newest place not reached again yet; turns on the spot when there is none left."""
        while self._trail and is_near(pose, self._trail[-1], self._reach):
            self._trail.pop()
        return steer_towards(pose, self._trail[-1], self._turn_deg) if self._trail else Action.of(turn=1.0)


Waypoints = list[tuple[float, float]]


class LoopPolicy:
    """Goes from point to point by held keys, and from the last to the first again.

    `way` is asked at the first step: the way there, then once round.
    """

    def __init__(self, way: Callable[[Step], tuple[Waypoints, Waypoints]], turn_deg: float, reach: float) -> None:
        self._find_way, self._turn_deg, self._reach = way, turn_deg, reach
        self._waypoints: Iterator[tuple[float, float]] | None = None
        self._next = (0.0, 0.0)

    def __call__(self, step: Step) -> Action:
        if self._waypoints is None:
            way_there, lap = self._find_way(step)
            self._waypoints = itertools.chain(way_there, itertools.cycle(lap))
            self._next = next(self._waypoints)
        pose = pose_of(step)
        while is_near(pose, self._next, self._reach):
            self._next = next(self._waypoints)
        return steer_towards(pose, self._next, self._turn_deg)


def steer_towards(pose: Pose, point: tuple[float, float], turn_deg: float) -> Action:
    """The keys to hold towards a point: turns first, walks once it lies ahead."""
    direction = math.atan2(point[1] - pose.y, point[0] - pose.x)
    bearing_deg = math.degrees(math.remainder(direction - pose.angle_rad, math.tau))
    turn = math.copysign(1.0, bearing_deg) if abs(bearing_deg) > turn_deg * 0.6 else 0.0
    walks = abs(bearing_deg) < WALK_WITHIN_DEG
    return Action(buttons=frozenset({"forward"} if walks else ()), axes=(("turn", turn),))


def is_near(pose: Pose, point: tuple[float, float], reach: float) -> bool:
    return math.hypot(point[0] - pose.x, point[1] - pose.y) < reach


def loop_waypoints(maze: GridMaze, here: Cell) -> tuple[Waypoints, Waypoints] | None:
    """The way to the nearest shortest loop, and once round it. None in a maze without a loop."""
    lap = nearest_loop(maze, here)
    if lap is None:
        return None
    return _waypoints(maze, maze.path(here, lap[0])), _waypoints(maze, [*lap, lap[0]])


def nearest_loop(maze: GridMaze, here: Cell) -> list[Cell] | None:
    """The cells of a shortest loop, each once; of several the one that `here` is nearest to, and its nearest first."""
    edges = [(a, b) for a in maze.cells for b in maze.neighbors(a) if a < b]
    loops = [loop for a, b in edges if (loop := _path_without(maze, a, b))]
    if not loops:
        return None
    shortest = min(map(len, loops))
    turned = [[*loop[i:], *loop[:i]] for loop in loops if len(loop) == shortest for i in range(shortest)]
    return min(turned, key=lambda loop: (len(maze.path(here, loop[0])), loop))


def _path_without(maze: GridMaze, start: Cell, goal: Cell) -> list[Cell] | None:
    """A shortest walk between neighbours that does not go straight from one to the other."""
    ways = [[start]]
    reached = {start}
    for way in ways:
        if way[-1] == goal:
            return way
        for cell in maze.neighbors(way[-1]):
            if cell not in reached and (way[-1], cell) != (start, goal):
                reached.add(cell)
                ways.append([*way, cell])
    return None


def _waypoints(maze: GridMaze, cells: Sequence[Cell]) -> Waypoints:
    """Half way to every next cell, and its middle."""
    points = []
    for (ax, ay), (bx, by) in itertools.pairwise(map(maze.center, cells)):
        points += [((ax + bx) / 2, (ay + by) / 2), (bx, by)]
    return points


def spin_ticks(turn_deg: float) -> int:
    """Ticks of one full turn."""
    return round(360.0 / turn_deg)


def spin_policy(seed: int) -> StepPolicy:
    """Turns on the spot: even seeds to the left, odd ones to the right."""
    action = Action.of(turn=1.0 if seed % 2 == 0 else -1.0)
    return lambda step: action


def idle_after(lead: StepPolicy, num_frames: int) -> StepPolicy:
    """`lead` makes the first `num_frames` frames; then nothing is held."""
    return lambda step: lead(step) if step.index + 1 < num_frames else NO_ACTION


def random_keys_after(lead: StepPolicy, num_frames: int, spec: ActionSpec, seed: int) -> StepPolicy:
    """`lead` makes the first `num_frames` frames; then keys are held at random."""
    keys = random_keys(spec, seed)
    return lambda step: lead(step) if step.index + 1 < num_frames else next(keys)


def random_keys_policy(spec: ActionSpec) -> PolicyFactory:
    """Keys held at random from the start."""
    return lambda seed: random_keys_after(_no_lead, 0, spec, seed)


def _no_lead(step: Step) -> Action:
    raise AssertionError(f"nobody leads at frame {step.index}")


def random_keys(spec: ActionSpec, seed: int) -> Iterator[Action]:
    """One button or none and every axis to one end or at rest, all alike in likelihood, each choice held a while."""
    rng = random.Random(f"keys:{seed}")

    def held() -> list[Action]:
        button = rng.choice((None, *spec.buttons))
        axes = {axis: rng.choice((-1.0, 0.0, 1.0)) for axis in spec.axes}
        return [Action.of(*([button] if button else []), **axes)] * rng.randint(*HOLD_TICKS)

    return itertools.chain.from_iterable(held() for _ in itertools.count())


def pose_of(step: Step) -> Pose:
    assert step.pose is not None, "this walk needs the true pose"
    return step.pose
