"""Actions of all policies are unchanged: starts of presets and evaluation episodes are reproduced with them."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from worldsim.core.types import Action, Pose
from worldsim.worlds.base import PosePolicy
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.layout import generate_maze
from worldsim.worlds.doom.policies import DoomPolicy
from worldsim.worlds.memory_maze.config import MemoryMazeConfig
from worldsim.worlds.memory_maze.layout import MemoryMazeLayout
from worldsim.worlds.memory_maze.policies import MemoryMazePolicy

DOOM, MEMORY_MAZE = DoomConfig(maps=(1,)), MemoryMazeConfig()
ROWS = ["111110", "100010", "101111", "111001", "001101", "111111"]  # south first
PLAN = MemoryMazeLayout(seed=0, free=np.array([[letter == "1" for letter in row] for row in ROWS]), targets=((0, 0),))
NUM_TICKS, SEEDS = 600, (0, 7)
DIGESTS = {
    "doom/explore": "ffee7175fb84",
    "doom/return": "1688d1f9a31a",
    "doom/look": "9dbb1981c0f6",
    "doom/wander": "856650d39a78",
    "doom/spin": "b9b896d599ee",
    "doom/mixed": "c8901e8b8225",
    "memory_maze/explore": "d0fbd98733d3",
    "memory_maze/return": "16b3c6bd7ee8",
    "memory_maze/look": "73766ef90c3f",
    "memory_maze/wander": "4fc56d1c5142",
    "memory_maze/spin": "288cd2926f4e",
    "memory_maze/mixed": "a89cdf91be79",
}
"""Digests of the actions, recorded before the policies of both worlds shared any code. `mixed` leads to the starts of
bundled presets, which the reference world has to reproduce."""


def walk(policy: PosePolicy, pose: Pose, stride: float, turn_deg: float, size: float) -> Iterator[Action]:
    """Moves a point without walls inside a square."""
    for _ in range(NUM_TICKS):
        action = policy.act(pose)
        yield action
        angle = pose.angle_rad + math.radians(action.axis("turn") * turn_deg)
        ahead = stride * (("forward" in action.buttons) - ("back" in action.buttons))
        aside = stride * (("left" in action.buttons) - ("right" in action.buttons))
        x = pose.x + ahead * math.cos(angle) - aside * math.sin(angle)
        y = pose.y + ahead * math.sin(angle) + aside * math.cos(angle)
        pose = Pose(x=min(max(x, 0.0), size), y=min(max(y, 0.0), size), angle_rad=angle % math.tau)


def walk_in(world: str, name: str, seed: int) -> Iterator[Action]:
    rng = random.Random(seed)
    if world == "doom":
        layout = generate_maze(DOOM, 1)
        x, y = layout.center((0, 0))
        policy = DoomPolicy(name, layout, DOOM, rng)
        return walk(policy, Pose(x=x, y=y, angle_rad=0.0), 16.0, DOOM.turn_deg, 640.0)
    return walk(
        MemoryMazePolicy(name, PLAN, MEMORY_MAZE, rng),
        Pose(x=0.5, y=0.5, angle_rad=0.0),
        0.25,
        MEMORY_MAZE.turn_deg,
        5.99,
    )


def digest(world: str, name: str) -> str:
    """Digest of the actions; axes are rounded because the last bits of atan2 depend on the platform."""
    hashed = hashlib.blake2b(digest_size=6)
    for seed in SEEDS:
        for action in walk_in(world, name, seed):
            hashed.update(repr((sorted(action.buttons), [(n, round(v, 4)) for n, v in action.axes])).encode())
    return hashed.hexdigest()


@pytest.mark.parametrize("case", DIGESTS)
def test_actions_of_a_seed_are_unchanged(case: str) -> None:
    world, name = case.split("/")
    assert digest(world, name) == DIGESTS[case]


@pytest.mark.parametrize("name", ["push", "mixed_push"])
def test_pushes_hold_forward_for_more_than_a_second(name: str) -> None:
    config = replace(MEMORY_MAZE, control_hz=10.0)
    policy = MemoryMazePolicy(name, PLAN, config, random.Random(0))
    actions = list(walk(policy, Pose(x=0.5, y=0.5, angle_rad=0.0), 0.1, config.turn_deg, 5.99))
    runs = [len(list(run)) for held, run in groupby(actions, lambda a: "forward" in a.buttons) if held]
    assert max(runs) >= 20
