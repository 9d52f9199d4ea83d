"""Records a dataset in the format of the published Memory Maze data: one npz per episode, with all its arrays.

python tools/memory_maze_npz.py presets/memory-maze/preset.toml data/ --episodes 10 --frames 1001
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worldsim.core.types import Action
from worldsim.episodes.importers import memory_maze
from worldsim.presets.config import read_preset_toml
from worldsim.worlds.memory_maze.config import MemoryMazeConfig
from worldsim.worlds.memory_maze.world import MemoryMazeWorld
from worldsim.worlds.scripted_policy import POLICY_NAMES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", type=Path, help="preset.toml of a Memory Maze")
    parser.add_argument("out", type=Path)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--frames", type=int, default=1001)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--policy", choices=POLICY_NAMES, default="mixed")
    args = parser.parse_args()
    config = read_preset_toml(args.preset)[0].ground_truth_config
    if not isinstance(config, MemoryMazeConfig):
        parser.error(f"the world of {args.preset} is not a Memory Maze")
    started_s = time.perf_counter()
    with MemoryMazeWorld(config) as world:
        for seed in range(args.first_seed, args.first_seed + args.episodes):
            path = args.out / f"{seed:06d}.npz"
            memory_maze.write(path, episode_arrays(world, seed, args.frames, args.policy))
            print(
                f"{path}, {args.frames * (seed + 1 - args.first_seed) / (time.perf_counter() - started_s):.0f} frames/s"
            )


def episode_arrays(world: MemoryMazeWorld, seed: int, num_frames: int, policy_name: str) -> dict[str, npt.NDArray[Any]]:
    """Shapes: [T, ...]; action[t] led to frame t, the first is no input."""
    step = world.reset(seed)
    policy = world.make_policy(policy_name, random.Random(seed))
    spec, actions, frames, truths = world.config.key_spec, [Action()], [step.frame], [world.ground_truth]
    for _ in range(num_frames - 1):
        assert step.pose is not None
        actions.append(policy.act(step.pose))
        step = world.step(actions[-1])
        frames.append(step.frame)
        truths.append(world.ground_truth)
    rows = np.stack([spec.encode(action) for action in actions])
    return {
        "image": np.stack(frames),
        "action": memory_maze.one_hot(rows, spec),
        **{key: np.stack([ground_truth[key] for ground_truth in truths]) for key in truths[0]},
    }


if __name__ == "__main__":
    main()
