"""Writes a contact sheet of a reference world: frames seen by a policy, and the map of the maze. Prints frames/s.

python tools/world_sheet.py --out assets/maze_true.png
python tools/world_sheet.py --preset presets/memory-maze/preset.toml --every 5 --out sheet.png
"""

from __future__ import annotations

import argparse
import random
import time
from contextlib import closing
from pathlib import Path

from PIL import Image, ImageDraw

from worldsim.core.images import GAP_PX, grid
from worldsim.core.types import Frame, Pose
from worldsim.presets.config import read_preset_toml
from worldsim.worlds import open_world
from worldsim.worlds.base import GroundTruthWorld
from worldsim.worlds.doom.config import THEMES, DoomConfig
from worldsim.worlds.doom.layout import DoomMazeLayout
from worldsim.worlds.doom.world import DoomWorld
from worldsim.worlds.memory_maze.layout import MemoryMazeLayout
from worldsim.worlds.memory_maze.world import MemoryMazeWorld
from worldsim.worlds.scripted_policy import POLICY_NAMES

THEME_COLORS = {
    "red": "#e00000", "green": "#3a8a3a", "blue": "#000070", "orange": "#d98a50", "white": "#b0b0b0", "wood": "#80502a",
    "yellow": "#ecd85c", "lilac": "#aaaaff", "bronze": "#40301a", "tan": "#a08468", "crimson": "#b04048",
    "silver": "#808890",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", type=Path, help="preset.toml whose world replaces --maps and --grid")
    parser.add_argument("--maps", type=int, nargs="*", default=[1], help="fixed maze seeds (none: the maze of --seed)")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--grid", type=int, nargs=2, default=[4, 4])
    parser.add_argument("--policy", choices=POLICY_NAMES, default="mixed")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--every", type=int, default=40, help="ticks between frames")
    parser.add_argument("--scale", type=int, default=3, help="screen pixels per frame pixel")
    parser.add_argument("--out", type=Path, default=Path("assets/maze_true.png"))
    args = parser.parse_args()
    own = DoomConfig(maps=tuple(args.maps), grid=tuple(args.grid))
    config = read_preset_toml(args.preset)[0].ground_truth_config if args.preset else own
    num_frames = args.columns * args.rows
    with closing(open_world(config)) as world:
        frames, poses = play(world, args.policy, args.seed, num_frames, args.every)
        height_px = args.rows * (config.frame_height_px * args.scale + GAP_PX) - GAP_PX
        assert isinstance(world, DoomWorld | MemoryMazeWorld)
        layout = world.layout
        if isinstance(layout, DoomMazeLayout):
            plan = draw_plan(layout, poses, height_px)
        else:
            plan = draw_cells(layout, poses, height_px)
    rows = [frames[i : i + args.columns] for i in range(0, len(frames), args.columns)]
    sheet = Image.fromarray(grid(rows, scale=args.scale, gap_px=GAP_PX))
    image = Image.new("RGB", (sheet.width + GAP_PX + plan.width, sheet.height), "black")
    image.paste(sheet, (0, 0))
    image.paste(plan, (sheet.width + GAP_PX, 0))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(128, dither=Image.Dither.NONE).save(args.out, optimize=True)
    print(f"{args.out}: {image.width}x{image.height}, {args.out.stat().st_size} bytes")


def play(
    world: GroundTruthWorld, policy_name: str, seed: int, num_frames: int, every: int
) -> tuple[list[Frame], list[Pose]]:
    """Every `every`-th frame of an episode, and the pose of every tick."""
    step = world.reset(seed)
    policy = world.make_policy(policy_name, random.Random(seed))
    frames, poses = [], []
    started_s = time.perf_counter()
    for tick in range(num_frames * every):
        assert step.pose is not None
        poses.append(step.pose)
        if tick % every == 0:
            frames.append(step.frame)
        step = world.step(policy.act(step.pose))
    print(f"{len(poses)} ticks at {len(poses) / (time.perf_counter() - started_s):.0f} frames/s, including the policy")
    return frames, poses


def draw_plan(layout: DoomMazeLayout, poses: list[Pose], height_px: int) -> Image.Image:
    """The maze from above, north up: walls in the color of their theme, landmarks as dots, the path as a line."""
    per_unit = height_px / (layout.rows * layout.cell_units)
    image = Image.new("RGB", (round(layout.columns * layout.cell_units * per_unit), height_px), "black")
    draw = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return (x * per_unit, height_px - y * per_unit)

    half = (layout.cell_units - layout.wall_units) / 2
    for cell in layout.cells:
        x, y = layout.center(cell)
        color = THEME_COLORS[THEMES[layout.walls[cell]].name]
        draw.rectangle((*at(x - half, y + half), *at(x + half, y - half)), fill="#303030", outline=color, width=5)
    for (a, b), width in layout.openings.items():
        x, y = layout.opening_center(a, b)
        across, along = layout.wall_units / 2 + 6 / per_unit, width / 2 - 6 / per_unit
        dx, dy = (across, along) if a[1] == b[1] else (along, across)
        draw.rectangle((*at(x - dx, y + dy), *at(x + dx, y - dy)), fill="#303030")
    for mark in layout.landmarks:
        x, y = at(mark.x, mark.y)
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="white")
    draw.line([at(pose.x, pose.y) for pose in poses], fill="#b0b0b0", width=1)
    return image


def draw_cells(plan: MemoryMazeLayout, poses: list[Pose], height_px: int) -> Image.Image:
    """A Memory Maze from above, north up: walls dark, targets as black dots, the path as a line."""
    rows, columns = plan.free.shape
    per_cell = height_px / rows
    image = Image.new("RGB", (round(columns * per_cell), height_px), "#303030")
    draw = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return (x * per_cell, height_px - y * per_cell)

    for x, y in plan.cells:
        draw.rectangle((*at(x, y + 1), *at(x + 1, y)), fill="#b0b0b0")
    for cell in plan.targets:
        dot_x, dot_y = at(*plan.center(cell))
        draw.ellipse((dot_x - 8, dot_y - 8, dot_x + 8, dot_y + 8), fill="black")
    draw.line([at(pose.x, pose.y) for pose in poses], fill="#c03030", width=2)
    return image


if __name__ == "__main__":
    main()
