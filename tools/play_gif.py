"""Writes the README's moving picture: a scripted walk through a preset, as `worldsim rollout` makes it.

python tools/play_gif.py maze assets/maze_play.gif --frames 140 --seed 1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from worldsim.actions.scripts import script_actions
from worldsim.engine.simulator import Simulator
from worldsim.presets.store import load_preset

SCALE = 4


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="write a scripted walk through a preset as a GIF")
    parser.add_argument("preset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=140)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--script", default="explore")
    arguments = parser.parse_args(argv)
    simulator = Simulator(load_preset(arguments.preset))
    frames = [simulator.reset(arguments.seed).frame]
    for action in script_actions(arguments.script, simulator.action_spec, arguments.seed, arguments.frames):
        frames.append(simulator.step(action).frame)
    pictures = [Image.fromarray(frame) for frame in frames]
    size = (pictures[0].width * SCALE, pictures[0].height * SCALE)
    # Few colours keep the file small enough for a README.
    small = [p.resize(size, Image.Resampling.NEAREST).quantize(48) for p in pictures]
    small[0].save(arguments.out, save_all=True, append_images=small[1:], duration=57, loop=0, optimize=True)
    print(f"{arguments.out}: {len(frames)} frames, {arguments.out.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
