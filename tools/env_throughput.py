"""Env steps per second of vectorized environments by batch size, relative to a single environment.

    python tools/env_throughput.py maze --envs 1 8 32 --rounds 5 --threads 1

Every round measures all batch sizes in turn, so that other load affects all of them alike. Prints medians over the
rounds, and medians of the ratios within a round. `single` is one environment stepped in a loop; N of them in one
process would reach the same number of steps per second.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median
from typing import Any

import gymnasium
import torch

import worldsim.envs  # noqa: F401  # registers

PRESET = "worldsim/Preset-v0"
SECONDS = 2.0
"""Duration of a measurement, which takes at least one step."""


def steps_per_s(env: Any, num_envs: int) -> float:
    """Env steps per second, over all rows of the batch."""
    num_steps, begin_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - begin_s) < SECONDS or not num_steps:
        env.step(env.action_space.sample())
        num_steps += num_envs
    return num_steps / elapsed_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kwargs: dict[str, Any] = {"preset": arguments.preset, "device": arguments.device, "max_episode_steps": -1}
    single = gymnasium.make(PRESET, disable_env_checker=True, **kwargs)
    batches = {n: gymnasium.make_vec(PRESET, num_envs=n, **kwargs) for n in arguments.envs}
    all_envs: list[Any] = [single, *batches.values()]
    for env in all_envs:
        env.reset(seed=0)
        for _ in range(3):
            env.step(env.action_space.sample())
    single_rates: list[float] = []
    rates: dict[int, list[float]] = {n: [] for n in batches}
    for _ in range(arguments.rounds):
        single_rates.append(steps_per_s(single, 1))
        for n, env in batches.items():
            rates[n].append(steps_per_s(env, n))
    print(f"{arguments.preset}, threads: {arguments.threads}, {arguments.device}, {arguments.rounds} rounds")
    print(f"system load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"single    {median(single_rates):7.1f} env steps/s")
    for n, found in rates.items():
        ratio = median(a / b for a, b in zip(found, single_rates, strict=True))
        step_s = n / median(found)
        print(f"batch {n:3d} {median(found):7.1f} env steps/s, {ratio:.2f} times single, {step_s:.3f} s per step")


if __name__ == "__main__":
    main()
