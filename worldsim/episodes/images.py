"""Resizing frames, and contact sheets of many frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from worldsim.core.files import atomic_path
from worldsim.core.types import Frame

SHEET_COLUMNS = 8


def resize(frame: Frame, height_px: int, width_px: int) -> Frame:
    """Area average; returns the frame itself if it has that size. Does not preserve the aspect ratio."""
    if frame.shape[:2] == (height_px, width_px):
        return frame
    image = Image.fromarray(frame).resize((width_px, height_px), Image.Resampling.BOX)
    resized: npt.NDArray[np.uint8] = np.asarray(image)
    return resized


def write_contact_sheet(path: Path, frames: list[Frame]) -> None:
    """Frames of one size in rows, as PNG regardless of the suffix. Raises: StorageError."""
    columns = min(SHEET_COLUMNS, len(frames))
    empty = [np.zeros_like(frames[0])] * (-len(frames) % columns)
    tiles = [*frames, *empty]
    lines = [np.concatenate(tiles[begin : begin + columns], axis=1) for begin in range(0, len(tiles), columns)]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(lines)).save(temporary, format="PNG")
