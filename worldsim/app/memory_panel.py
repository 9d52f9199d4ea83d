"""The memory view: what is said of looks back and drift, and the map of the path. Pure, no pygame.

Owns: words and the map's pixels. Does not own: the scores (`engine.memory`), when it is shown (`app.reference_panel`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from worldsim.actions.bindings import BINDINGS, Binding, Command, key_for
from worldsim.app.hud import InlineImage, PanelRow, Style
from worldsim.core.types import Pose
from worldsim.engine.memory import Memory, RevisitScore

MAP_PX = 96
MAP_LINES = 9
MARGIN_PX = 8
MIN_MAP_STRIDES = 24.0
"""A map shows at least that much, so that a step on the spot does not fill it."""
MAP_BACKGROUND, OLD, NEW, HERE = (24, 28, 36), (70, 90, 120), (255, 214, 120), (255, 255, 255)


def memory_rows(
    memory: Memory, truth_psnr_db: float | None, bindings: tuple[Binding, ...] = BINDINGS
) -> tuple[PanelRow, ...]:
    """`truth_psnr_db`: of the newest frame against the true world, while that runs."""
    level = memory.drift.level
    style = Style.ERROR if level is not None and level > 1 else Style.PLAIN
    words = "not enough frames yet" if level is None else f"{level:.2f}   {'too much' if level > 1 else 'good up to 1'}"
    rows = [
        PanelRow("Memory", style=Style.STRONG),
        PanelRow("look back", _format_revisits(memory.revisits)),
        *(
            [PanelRow("the true world's", _format_revisits(memory.reference_revisits))]
            if memory.reference_revisits.num_scores
            else []
        ),
        PanelRow("drift", words, style=style),
        *([PanelRow("against the truth", f"{truth_psnr_db:.1f} dB")] if truth_psnr_db is not None else []),
    ]
    if memory.path:
        pixels = path_map([pose for _, pose in memory.path])
        rows.append(PanelRow("", image=InlineImage(MAP_PX, MAP_PX, pixels, MAP_LINES)))
    key = key_for(Command.RESET_CONTEXT, bindings=bindings)
    return (*rows, PanelRow(f"{key} brings a drifted world back", style=Style.MUTED))


def _format_revisits(revisits: RevisitScore) -> str:
    if revisits.last_db is None or revisits.mean_db is None:
        return "nothing seen twice yet"
    return f"{revisits.last_db:.1f} dB, mean of {revisits.num_scores}: {revisits.mean_db:.1f}"


def path_map(poses: Iterable[Pose]) -> bytes:
    """RGB of `MAP_PX` squared: the path from old to new, the camera and the way it looks. North is +y."""
    points = np.array([(pose.x, pose.y, pose.angle_rad) for pose in poses], np.float64)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    scale = (MAP_PX - 2 * MARGIN_PX) / max(MIN_MAP_STRIDES, float((high - low).max()))
    places = ((points[:, :2] - (low + high) / 2) * scale + MAP_PX / 2).astype(int)
    fraction = np.linspace(0.0, 1.0, len(points))[:, None]
    pixels = np.empty((MAP_PX, MAP_PX, 3), np.uint8)
    pixels[:] = MAP_BACKGROUND
    pixels[MAP_PX - 1 - places[:, 1], places[:, 0]] = (1 - fraction) * OLD + fraction * NEW
    (column, row), angle_rad, ahead = places[-1], points[-1, 2], np.arange(0.0, 8.0)
    columns = (column + ahead * math.cos(angle_rad)).astype(int)
    rows = (MAP_PX - 1 - row - ahead * math.sin(angle_rad)).astype(int)
    pixels[rows.clip(0, MAP_PX - 1), columns.clip(0, MAP_PX - 1)] = HERE
    return pixels.tobytes()
