"""The memory view: revisit PSNR, drift, and a map of the path. Pure, no pygame."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from worldsim.actions.bindings import BINDINGS, Binding, Command
from worldsim.app.hud import InlineImage, PanelRow, Style
from worldsim.app.key_labels import key_for
from worldsim.core.types import Pose
from worldsim.engine.memory import Memory, RevisitScore

MAP_PX = 96
MAP_LINES = 9
MARGIN_PX = 8
MIN_MAP_STRIDES = 24.0
"""Minimum extent of the map, so that a few steps on the spot do not fill it."""
MAP_BACKGROUND, OLD, NEW, HERE = (24, 28, 36), (70, 90, 120), (255, 214, 120), (255, 255, 255)


def memory_rows(
    memory: Memory, truth_psnr_db: float | None, bindings: tuple[Binding, ...] = BINDINGS
) -> tuple[PanelRow, ...]:
    """`truth_psnr_db`: of the newest frame against the reference world, while that runs."""
    level = memory.drift.level
    style = Style.ERROR if level is not None and level > 1 else Style.PLAIN
    rows = [
        PanelRow("Memory", style=Style.STRONG),
        PanelRow("revisit PSNR", _format_revisits(memory.revisits)),
        PanelRow("drift", "not enough frames yet" if level is None else f"{level:.2f} (ok < 1)", style=style),
    ]
    if memory.reference_revisits.num_scores:
        rows.insert(2, PanelRow("reference", _format_revisits(memory.reference_revisits)))
    if truth_psnr_db is not None:
        rows.append(PanelRow("PSNR to reference", f"{truth_psnr_db:.1f} dB"))
    if memory.path:
        pixels = path_map([pose for _, pose in memory.path])
        rows.append(PanelRow("", image=InlineImage(MAP_PX, MAP_PX, pixels, MAP_LINES)))
    key = key_for(Command.RESET_CONTEXT, bindings=bindings)
    return (*rows, PanelRow(f"{key} reset context", style=Style.MUTED))


def _format_revisits(revisits: RevisitScore) -> str:
    if revisits.last_db is None or revisits.mean_db is None:
        return "no revisits yet"
    return f"{revisits.last_db:.1f} dB (mean of {revisits.num_scores}: {revisits.mean_db:.1f})"


def path_map(poses: Iterable[Pose]) -> bytes:
    """RGB bytes, `MAP_PX` squared: the path from old (dark) to new (bright), and the camera's heading. +y is up."""
    points = np.array([(pose.x, pose.y, pose.angle_rad) for pose in poses], np.float64)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    scale = (MAP_PX - 2 * MARGIN_PX) / max(MIN_MAP_STRIDES, float((high - low).max()))
    cells = ((points[:, :2] - (low + high) / 2) * scale + MAP_PX / 2).astype(int)
    fraction = np.linspace(0.0, 1.0, len(points))[:, None]
    pixels = np.empty((MAP_PX, MAP_PX, 3), np.uint8)
    pixels[:] = MAP_BACKGROUND
    pixels[MAP_PX - 1 - cells[:, 1], cells[:, 0]] = (1 - fraction) * OLD + fraction * NEW
    (column, row), angle_rad, ahead = cells[-1], points[-1, 2], np.arange(0.0, 8.0)
    columns = (column + ahead * math.cos(angle_rad)).astype(int)
    rows = (MAP_PX - 1 - row - ahead * math.sin(angle_rad)).astype(int)
    pixels[rows.clip(0, MAP_PX - 1), columns.clip(0, MAP_PX - 1)] = HERE
    return pixels.tobytes()
