"""Writes the README's animations: the reference world on the left, the model under the same actions on the right.

python tools/play_gif.py maze assets/maze_play.gif --frames 100 --seed 900003
python tools/play_gif.py memory-maze assets/way_back.gif --frames 72 --seed 900006 --return-path

The model sees the first frames of a held-out episode, which are not shown, and then only actions. With --return-path
its context is the outbound path, as long as the return path that is shown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from worldsim.core.images import GAP_PX, grid
from worldsim.evaluation.clips import record_clips
from worldsim.evaluation.evaluator import Evaluator
from worldsim.evaluation.policies import explore_policy, return_policy
from worldsim.presets.store import load_preset
from worldsim.worlds import open_world

SCALE = 4
NUM_COLORS = 64
"""Few, to keep the file small."""
CONTEXT_FRAMES = 32


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="write a GIF of a held-out episode: ground truth beside the model")
    parser.add_argument("preset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=170)
    parser.add_argument("--seed", type=int, default=900_000)
    parser.add_argument("--return-path", action="store_true")
    arguments = parser.parse_args(argv)
    preset = load_preset(arguments.preset)
    num_context = arguments.frames if arguments.return_path else CONTEXT_FRAMES
    num_frames = num_context + arguments.frames
    with closing(open_world(preset.config.ground_truth_config)) as world:
        policy = return_policy(world, num_frames) if arguments.return_path else explore_policy(world)
        clips = record_clips(world, policy, [arguments.seed], num_frames)
    blank = np.zeros(preset.config.frame_shape, dtype=np.uint8)
    result = Evaluator(preset, mean_image=blank).compare(clips, num_context=num_context)
    pairs = zip(result.truth[0], result.generated[0], strict=True)
    frames = [grid([pair], scale=SCALE, gap_px=SCALE * GAP_PX) for pair in pairs]
    palette = Image.fromarray(np.concatenate(frames[::10])).quantize(NUM_COLORS)
    quantized = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    duration_ms = round(1000 / preset.config.play.ticks_per_s)
    quantized[0].save(
        arguments.out, save_all=True, append_images=quantized[1:], duration=duration_ms, loop=0, optimize=True
    )
    print(f"{arguments.out}: {len(quantized)} frames, {arguments.out.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
