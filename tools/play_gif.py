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
from worldsim.evaluation.policies import explore_policy, return_policy
from worldsim.presets.store import load_preset
from worldsim.worlds.registry import open_world

SCALE = 4
GAP_PX = 2
NUM_COLORS = 64
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
        policy = return_policy(world, num_frames) if arguments.way_back else explore_policy(world)
        clips = record_clips(world, policy, [arguments.seed], num_frames)
    blank = np.zeros(preset.config.frame_shape, dtype=np.uint8)
    result = Evaluator(preset, mean_image=blank).compare(clips, num_context=num_context)
    gap = np.zeros((arguments.frames, blank.shape[0], GAP_PX, 3), dtype=np.uint8)
    side_by_side = np.concatenate([result.truth[0], gap, result.generated[0]], axis=2)
    images = [Image.fromarray(frame.repeat(SCALE, axis=0).repeat(SCALE, axis=1)) for frame in side_by_side]
    palette = Image.fromarray(np.concatenate(list(side_by_side[::10]))).quantize(NUM_COLORS)
    quantized = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in images]
    duration_ms = round(1000 / preset.config.play.ticks_per_s)
    quantized[0].save(
        arguments.out, save_all=True, append_images=quantized[1:], duration=duration_ms, loop=0, optimize=True
    )
    print(f"{arguments.out}: {len(quantized)} frames, {arguments.out.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
