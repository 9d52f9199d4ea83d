"""Writes the README's moving pictures: the true engine on the left, on the right the model under the same actions.

python tools/play_gif.py maze assets/maze_play.gif --frames 100 --seed 900003
python tools/play_gif.py memory-maze assets/way_back.gif --frames 72 --seed 900006 --way-back

The model sees the first frames of a held-out walk, which are not shown, and from then on actions alone. With --way-back
what it sees is the way out, as long as the way back that is shown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from worldsim.evaluation.clips import record_clips
from worldsim.evaluation.evaluator import Evaluator
from worldsim.evaluation.ground_truth import explore_pilot, return_pilot
from worldsim.presets.store import load_preset
from worldsim.worlds.registry import open_world

SCALE = 4
GAP_PX = 2
COLOURS = 64
"""Few, to keep the file small enough for a README."""
CONTEXT_FRAMES = 32


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="write a walk through the true world beside the learned one as a GIF")
    parser.add_argument("preset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=170)
    parser.add_argument("--seed", type=int, default=900_000)
    parser.add_argument("--way-back", action="store_true")
    arguments = parser.parse_args(argv)
    preset = load_preset(arguments.preset)
    num_context = arguments.frames if arguments.way_back else CONTEXT_FRAMES
    num_frames = num_context + arguments.frames
    with closing(open_world(preset.config.ground_truth_config)) as world:
        pilot = return_pilot(world, num_frames) if arguments.way_back else explore_pilot(world)
        clips = record_clips(world, pilot, [arguments.seed], num_frames)
    none = np.zeros(preset.config.frame_shape, dtype=np.uint8)
    outcome = Evaluator(preset, mean_image=none).compare(clips, num_context=num_context)
    gap = np.zeros((arguments.frames, none.shape[0], GAP_PX, 3), dtype=np.uint8)
    beside = np.concatenate([outcome.truth[0], gap, outcome.generated[0]], axis=2)
    pictures = [Image.fromarray(frame.repeat(SCALE, axis=0).repeat(SCALE, axis=1)) for frame in beside]
    palette = Image.fromarray(np.concatenate(list(beside[::10]))).quantize(COLOURS)
    small = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    duration_ms = round(1000 / preset.config.play.ticks_per_s)
    small[0].save(arguments.out, save_all=True, append_images=small[1:], duration=duration_ms, loop=0, optimize=True)
    print(f"{arguments.out}: {len(small)} frames, {arguments.out.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
