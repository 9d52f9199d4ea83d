"""Contact sheets: frames in labeled rows and columns as one PNG, to check scores by eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from worldsim.core.files import atomic_path
from worldsim.core.images import upscale
from worldsim.core.types import Frame
from worldsim.episodes.video import read_frames, upscale_factor
from worldsim.evaluation.evaluator import RolloutResult
from worldsim.presets.score_names import task_name

ROLLOUT_COLUMNS = (1, 2, 5, 10, 20, 30, 45, 60, 100, 150, 200, 300, 500)
"""Generated frames in the rows of a rollout, in addition to the scored horizons."""
MEMORY_COLUMNS = 12
CLIP_ROWS, CLIP_COLUMNS = 4, 6
SEEDS_SHOWN = {
    "rollout": 4,
    "retrieval": 3,
    "reverse": 3,
    "tour": 3,
    "reasoning": 2,
    "spin": 3,
    "loop": 2,
    "fidelity": 2,
    "idle": 1,
}
FRAME_WIDTH_PX = 128
"""Frames are enlarged by the largest integer factor that keeps them within this width."""
LABEL_WIDTH_PX, TEXT_HEIGHT_PX, GAP_PX = 110, 16, 2
BACKGROUND_RGB, TEXT_RGB = (24, 24, 24), (224, 224, 224)


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """Frames side by side. Shapes: uint8 [N, H, W, 3]."""

    label: str
    frames: npt.NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SheetSection:
    """Rows with a title and one label per column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[SheetRow, ...]


def evaluation_sections(results: Mapping[str, RolloutResult], horizons: Sequence[int]) -> list[SheetSection]:
    """The first seeds of every task: true above generated frames, the last context frame on the left."""
    sections = []
    for task, num_seeds in SEEDS_SHOWN.items():
        if task not in results:
            continue
        result = results[task]
        num_frames = result.truth.shape[1]
        if task == "rollout":
            shown = sorted({n for n in (*ROLLOUT_COLUMNS, *horizons) if n <= min(num_frames, max(horizons))})
        else:
            shown = sorted({round(n) for n in np.linspace(1, num_frames, MEMORY_COLUMNS)})
        picks = [n - 1 for n in shown]
        rows = []
        for row, seed in enumerate(result.seeds[:num_seeds]):
            for label, frames in (("true", result.truth), ("generated", result.generated)):
                images = np.stack([result.repeat[row, 0], *frames[row, picks]])
                rows.append(SheetRow(label=f"{seed} {label}", frames=images))
        sections.append(SheetSection(title=task_name(task), columns=("context", *map(str, shown)), rows=tuple(rows)))
    return sections


def clip_sections(clip: Path, frame_shape: tuple[int, int, int]) -> list[SheetSection]:
    """Evenly spaced frames of a video in reading order, numbered from 1; all of them if there are few."""
    height_px, width_px, _ = frame_shape
    frames = list(read_frames(clip, scale=upscale_factor(height_px, width_px)))
    shown = sorted({round(n) for n in np.linspace(1, len(frames), CLIP_ROWS * CLIP_COLUMNS)})
    rows = [shown[i : i + CLIP_COLUMNS] for i in range(0, len(shown), CLIP_COLUMNS)]
    return [
        SheetSection(
            title="frame", columns=tuple(map(str, row)), rows=(SheetRow(label="", frames=_picked(frames, row)),)
        )
        for row in rows
    ]


def _picked(frames: Sequence[Frame], numbers: Sequence[int]) -> npt.NDArray[np.uint8]:
    return np.stack([frames[n - 1] for n in numbers])


def draw_sheet(sections: Sequence[SheetSection]) -> npt.NDArray[np.uint8]:
    """Shapes: returns [H, W, 3]."""
    height, width = sections[0].rows[0].frames.shape[1:3]
    scale = max(1, FRAME_WIDTH_PX // width)
    cell_width, cell_height = width * scale + GAP_PX, height * scale + GAP_PX
    num_columns = max(len(section.columns) for section in sections)
    num_rows = sum(len(section.rows) for section in sections)
    size = (LABEL_WIDTH_PX + num_columns * cell_width, len(sections) * TEXT_HEIGHT_PX + num_rows * cell_height)
    sheet = Image.new("RGB", size, BACKGROUND_RGB)
    draw = ImageDraw.Draw(sheet)
    top = 0
    for section in sections:
        draw.text((GAP_PX, top + GAP_PX), section.title, fill=TEXT_RGB)
        for column, label in enumerate(section.columns):
            draw.text((LABEL_WIDTH_PX + column * cell_width + GAP_PX, top + GAP_PX), label, fill=TEXT_RGB)
        top += TEXT_HEIGHT_PX
        for row in section.rows:
            assert len(row.frames) == len(section.columns), f"{len(row.frames)} frames, {len(section.columns)} labels"
            draw.text((GAP_PX, top + cell_height // 2 - 6), row.label, fill=TEXT_RGB)
            for column, frame in enumerate(row.frames):
                sheet.paste(Image.fromarray(upscale(frame, scale)), (LABEL_WIDTH_PX + column * cell_width, top))
            top += cell_height
    return np.asarray(sheet)


def write_sheet(path: Path, sections: Sequence[SheetSection]) -> None:
    """Raises: StorageError."""
    image = Image.fromarray(draw_sheet(sections))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)
