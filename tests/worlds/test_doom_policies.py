"""Policies produce varied data: they go everywhere, return, look around, and hold keys as players do."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest

from worldsim.core.errors import ConfigError
from worldsim.core.types import Action, Pose
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.layout import generate_maze
from worldsim.worlds.doom.policies import DoomPolicy
from worldsim.worlds.doom.world import DoomWorld
from worldsim.worlds.scripted_policy import POLICY_NAMES

CONFIG = DoomConfig(maps=(1,))


@pytest.fixture(scope="module")
def world() -> Iterator[DoomWorld]:
    with DoomWorld(CONFIG) as world:
        yield world


def walk(world: DoomWorld, name: str, num_ticks: int, seed: int = 3) -> tuple[list[Action], list[Pose]]:
    step = world.reset(seed)
    policy = DoomPolicy(name, world.layout, CONFIG, random.Random(seed))
    actions, poses = [], []
    for _ in range(num_ticks):
        assert step.pose is not None
        poses.append(step.pose)
        actions.append(policy.act(step.pose))
        step = world.step(actions[-1])
    return actions, poses


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_trajectory_is_deterministic_by_seed(world: DoomWorld, name: str) -> None:
    assert walk(world, name, 120) == walk(world, name, 120)
    assert walk(world, name, 120)[0] != walk(world, name, 120, seed=4)[0]


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_actions_are_always_valid(name: str) -> None:
    """Even with nonsensical poses, a policy gives valid actions (it gives up and goes elsewhere)."""
    rng = random.Random(0)
    policy = DoomPolicy(name, generate_maze(CONFIG, 1), CONFIG, rng)
    for _ in range(1500):
        pose = Pose(x=rng.uniform(0, 768), y=rng.uniform(0, 768), angle_rad=rng.uniform(0, math.tau))
        CONFIG.action_spec.check(policy.act(pose))


def test_spin_stays_in_place_and_looks_in_every_direction(world: DoomWorld) -> None:
    actions, poses = walk(world, "spin", 160)
    assert {(round(pose.x, 3), round(pose.y, 3)) for pose in poses} == {(round(poses[0].x, 3), round(poses[0].y, 3))}
    assert len({round(math.degrees(pose.angle_rad)) % 360 // 10 for pose in poses}) == 36
    assert {action.axis("turn") for action in actions} == {-1.0, 1.0}


def test_explore_visits_most_cells_with_all_combinations_of_keys(world: DoomWorld) -> None:
    actions, poses = walk(world, "explore", 1600)
    visited = {world.layout.cell_at(pose.x, pose.y) for pose in poses}
    assert len(visited) >= 12, visited
    turns = [action.axis("turn") for action in actions if action.axis("turn")]
    exact = sum(abs(turn) == 1.0 for turn in turns) / len(turns)
    assert 0.6 < exact < 1.0, f"{exact:.2f} of the turns hold a key"
    assert {1.0, -1.0} < set(turns)
    walking_turn = sum(action.buttons == {"forward"} and abs(action.axis("turn")) == 1 for action in actions)
    pure_turn = sum(not action.buttons and abs(action.axis("turn")) == 1 for action in actions)
    forward_only = sum(action.buttons == {"forward"} and not action.axis("turn") for action in actions)
    nothing = sum(action == Action() for action in actions)
    assert min(walking_turn, pure_turn, forward_only) > 100 and nothing > 10
    assert {"forward", "back", "left", "right"} == set().union(*(action.buttons for action in actions))


def test_look_makes_full_turns_in_both_directions(world: DoomWorld) -> None:
    actions, _ = walk(world, "look", 900)
    circles: list[float] = []
    run: list[float] = []
    for action in actions:
        turn = 0.0 if action.buttons else action.axis("turn")
        if run and turn != run[-1]:
            circles.append(sum(run) * CONFIG.turn_deg)
            run = []
        if turn:
            run.append(turn)
    full = [degrees for degrees in circles if abs(degrees) > 340]
    assert min(full) < 0 < max(full) and len(full) >= 5, circles


def test_return_comes_back_to_the_start(world: DoomWorld) -> None:
    _, poses = walk(world, "return", 600)
    start = poses[0]
    distances = [math.hypot(pose.x - start.x, pose.y - start.y) for pose in poses]
    farthest = distances.index(max(distances[:150]))
    assert distances[farthest] > 150, "it left"
    back = next((t for t in range(farthest, len(poses)) if distances[t] < 60), None)
    assert back is not None, "and came back"
    out, home = ({world.layout.cell_at(p.x, p.y) for p in part} for part in (poses[:farthest], poses[farthest:back]))
    assert home <= out, "along the same path"


def test_unknown_policy_suggests_the_closest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        DoomPolicy("explorer", generate_maze(CONFIG, 1), CONFIG, random.Random(0))
    assert "explore" in caught.value.hint
