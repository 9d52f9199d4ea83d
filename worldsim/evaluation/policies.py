"""Policies of evaluation episodes: out and back, spinning, lapping a loop, random keys, idling.

A policy chooses the next action from the newest step, unlike the `PosePolicy` of a world, which sees poses only.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

from worldsim.core.types import NO_ACTION, Action, ActionSpec, Pose, Step
from worldsim.worlds.base import Cell, GroundTruthWorld, MazeLayout

StepPolicy = Callable[[Step], Action]
"""Chooses the next action; one per episode."""
PolicyFactory = Callable[[int], StepPolicy]
"""The policy of a seed. Called after the world's reset."""
Waypoints = list[tuple[float, float]]

HALF_TURN_DEG = 180.0
WALK_WITHIN_DEG = 45.0
HOLD_TICKS = (6, 14)
"""Fewest and most ticks for which random keys are held."""


def explore_policy(world: GroundTruthWorld) -> PolicyFactory:
    """Explores the maze, preferring cells with few visits."""

    def make(seed: int) -> StepPolicy:
        policy = world.make_policy("explore", random.Random(f"evaluation:{seed}"))
        return lambda step: policy.act(pose_of(step))

    return make


def tour_policy(layout: Callable[[], MazeLayout], num_views: int, action_to: Callable[[Pose], Action]) -> PolicyFactory:
    """Visits `num_views` views, four headings at each place, and then all of them again in random order.

    `action_to` gives the action that puts the camera at a pose, in a world whose inputs are poses.
    """

    def make(seed: int) -> StepPolicy:
        rng, maze = random.Random(f"tour:{seed}"), layout()
        cells = [*maze.cells]
        places = rng.sample(cells, min(len(cells), num_views // 4))
        places += rng.choices(cells, k=num_views // 4 - len(places))
        views = []
        for place in places:
            x, y = maze.center(place)
            views += [Pose(x=x, y=y, angle_rad=quarter * math.pi / 2) for quarter in range(4)]
        again = rng.sample(views, len(views))
        sequence = [*views, *again]
        return lambda step: action_to(sequence[step.index % len(sequence)])

    return make


def return_policy(world: GroundTruthWorld, num_frames: int) -> PolicyFactory:
    """Explores for the first half of the episode, then turns around and returns along the same path."""
    config = world.config
    return lambda seed: ReturnPolicy(
        explore_policy(world)(seed), num_frames // 2, config.turn_deg, config.waypoint_radius
    )


class ReturnPolicy:
    """Follows `outbound` for `num_outbound` frames, then returns by held keys. `radius`: of the world's waypoints."""

    def __init__(self, outbound: StepPolicy, num_outbound: int, turn_deg: float, radius: float) -> None:
        self._outbound, self._num_outbound, self._turn_deg, self._radius = outbound, num_outbound, turn_deg, radius
        self._trail: Waypoints = []

    def __call__(self, step: Step) -> Action:
        pose = pose_of(step)
        next_index = step.index + 1
        if next_index < self._num_outbound:
            self._trail.append((pose.x, pose.y))
            return self._outbound(step)
        if next_index < self._num_outbound + round(HALF_TURN_DEG / self._turn_deg):
            return Action.of(turn=1.0)
        return self._return(pose)

    def _return(self, pose: Pose) -> Action:
        """Steers towards the newest point of the trail not reached yet; turns on the spot at the end of the trail."""
        while self._trail and is_near(pose, self._trail[-1], self._radius):
            self._trail.pop()
        return steer_towards(pose, self._trail[-1], self._turn_deg) if self._trail else Action.of(turn=1.0)


class LoopPolicy:
    """Visits waypoints by held keys: once those of the approach, then those of the lap again and again.

    `find_waypoints` is called at the first step and returns (approach, lap).
    """

    def __init__(
        self, find_waypoints: Callable[[Step], tuple[Waypoints, Waypoints]], turn_deg: float, radius: float
    ) -> None:
        self._find_waypoints, self._turn_deg, self._radius = find_waypoints, turn_deg, radius
        self._waypoints: Iterator[tuple[float, float]] | None = None
        self._next = (0.0, 0.0)

    def __call__(self, step: Step) -> Action:
        if self._waypoints is None:
            approach, lap = self._find_waypoints(step)
            self._waypoints = itertools.chain(approach, itertools.cycle(lap))
            self._next = next(self._waypoints)
        pose = pose_of(step)
        while is_near(pose, self._next, self._radius):
            self._next = next(self._waypoints)
        return steer_towards(pose, self._next, self._turn_deg)


def steer_towards(pose: Pose, point: tuple[float, float], turn_deg: float) -> Action:
    """Keys that lead to a point: turns first, walks once it is roughly ahead."""
    direction = math.atan2(point[1] - pose.y, point[0] - pose.x)
    bearing_deg = math.degrees(math.remainder(direction - pose.angle_rad, math.tau))
    turn = math.copysign(1.0, bearing_deg) if abs(bearing_deg) > turn_deg * 0.6 else 0.0
    walks = abs(bearing_deg) < WALK_WITHIN_DEG
    return Action(buttons=frozenset({"forward"} if walks else ()), axes=(("turn", turn),))


def is_near(pose: Pose, point: tuple[float, float], radius: float) -> bool:
    return math.hypot(point[0] - pose.x, point[1] - pose.y) < radius


def loop_waypoints(maze: MazeLayout, start: Cell) -> tuple[Waypoints, Waypoints] | None:
    """Waypoints to the nearest of the shortest loops, and once around it. None in a maze without loops."""
    lap = nearest_loop(maze, start)
    if lap is None:
        return None
    return _waypoints(maze, maze.path(start, lap[0])), _waypoints(maze, [*lap, lap[0]])


def nearest_loop(maze: MazeLayout, start: Cell) -> list[Cell] | None:
    """The cells of a shortest loop, once each; of several the nearest to `start`, beginning with its nearest cell."""
    edges = [(a, b) for a in maze.cells for b in maze.neighbors(a) if a < b]
    loops = [loop for a, b in edges if (loop := _detour(maze, a, b))]
    if not loops:
        return None
    shortest = min(map(len, loops))
    rotations = [[*loop[i:], *loop[:i]] for loop in loops if len(loop) == shortest for i in range(shortest)]
    return min(rotations, key=lambda loop: (len(maze.path(start, loop[0])), loop))


def _detour(maze: MazeLayout, start: Cell, goal: Cell) -> list[Cell] | None:
    """A shortest path between two neighbors that avoids the edge between them."""
    paths = [[start]]
    reached = {start}
    for path in paths:
        if path[-1] == goal:
            return path
        for cell in maze.neighbors(path[-1]):
            if cell not in reached and (path[-1], cell) != (start, goal):
                reached.add(cell)
                paths.append([*path, cell])
    return None


def _waypoints(maze: MazeLayout, cells: Sequence[Cell]) -> Waypoints:
    """For every next cell, the midpoint of the way to it and its center."""
    points = []
    for (ax, ay), (bx, by) in itertools.pairwise(map(maze.center, cells)):
        points += [((ax + bx) / 2, (ay + by) / 2), (bx, by)]
    return points


def spin_ticks(turn_deg: float) -> int:
    """Ticks of one full turn."""
    return round(360.0 / turn_deg)


def spin_policy(seed: int) -> StepPolicy:
    """Turns on the spot: even seeds to the left, odd seeds to the right."""
    action = Action.of(turn=1.0 if seed % 2 == 0 else -1.0)
    return lambda step: action


def idle_after(lead: StepPolicy, num_frames: int) -> StepPolicy:
    """`lead` for the first `num_frames` frames, then no input."""
    return lambda step: lead(step) if step.index + 1 < num_frames else NO_ACTION


def random_keys_after(lead: StepPolicy, num_frames: int, spec: ActionSpec, seed: int) -> StepPolicy:
    """`lead` for the first `num_frames` frames, then random keys."""
    keys = random_keys(spec, seed)
    return lambda step: lead(step) if step.index + 1 < num_frames else next(keys)


def random_keys_policy(spec: ActionSpec) -> PolicyFactory:
    def make(seed: int) -> StepPolicy:
        keys = random_keys(spec, seed)
        return lambda step: next(keys)

    return make


def random_keys(spec: ActionSpec, seed: int) -> Iterator[Action]:
    """Holds at most one button, and every axis at an end or at rest, for a random time; all choices equally likely."""
    rng = random.Random(f"keys:{seed}")

    def held() -> list[Action]:
        button = rng.choice((None, *spec.buttons))
        axes = {axis: rng.choice((-1.0, 0.0, 1.0)) for axis in spec.axes}
        return [Action.of(*([button] if button else []), **axes)] * rng.randint(*HOLD_TICKS)

    return itertools.chain.from_iterable(held() for _ in itertools.count())


def pose_of(step: Step) -> Pose:
    assert step.pose is not None, "this policy needs the true pose"
    return step.pose
