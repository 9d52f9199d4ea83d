"""Frames as images: PSNR, differences, side by side, grids, resizing, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worldsim.core.files import atomic_path
from worldsim.core.types import Frame

GAP_PX = 2
SHEET_COLUMNS = 8
MAX_LEVEL = 255.0
MAX_PSNR_DB = 100.0
"""PSNR of equal images: infinity would dominate every mean, and JSON cannot represent it."""


def upscale(frame: Frame, scale: int) -> Frame:
    """Repeats every pixel `scale` x `scale` times. Returns a copy."""
    return np.asarray(frame).repeat(scale, axis=0).repeat(scale, axis=1)


def side_by_side(left: Frame, right: Frame) -> Frame:
    """Both frames with a black gap of `GAP_PX` between them. Shapes: returns [H, W + gap + W, 3]."""
    gap = np.zeros((left.shape[0], GAP_PX, 3), np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def grid(rows: Sequence[Sequence[Frame]], *, scale: int = 1, gap_px: int = 0) -> Frame:
    """Frames of one size in rows and columns, enlarged by repeating pixels; gaps and missing frames are black."""
    height_px, width_px = (side * scale for side in rows[0][0].shape[:2])
    step_y, step_x = height_px + gap_px, width_px + gap_px
    sheet = np.zeros((len(rows) * step_y - gap_px, max(map(len, rows)) * step_x - gap_px, 3), np.uint8)
    for y, row in enumerate(rows):
        for x, frame in enumerate(row):
            sheet[y * step_y : y * step_y + height_px, x * step_x : x * step_x + width_px] = upscale(frame, scale)
    return sheet


def difference(a: Frame, b: Frame) -> Frame:
    """|a - b| per pixel and channel: black where they are equal."""
    return np.maximum(a, b) - np.minimum(a, b)


def psnr(image: npt.NDArray[Any], truth: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio of each uint8 image in dB, at most `MAX_PSNR_DB`; computed in float64.

    Shapes: [..., H, W, C]; returns [...].
    """
    check_comparable(image, truth)
    size = math.prod(image.shape[-3:])
    errors = (a.astype(np.float64) - b for a, b in zip(image.reshape(-1, size), truth.reshape(-1, size), strict=True))
    return psnr_from_mse([error @ error / size for error in errors]).reshape(image.shape[:-3])


def psnr_from_mse(mse: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """10 log10(255^2 / mse), at most `MAX_PSNR_DB`. The twin for tensors is `models.autoencoder.psnr`."""
    peak = MAX_LEVEL**2
    return np.asarray(10.0 * np.log10(peak / np.maximum(mse, peak * 10.0 ** (-MAX_PSNR_DB / 10.0))), dtype=np.float64)


def check_comparable(image: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
    """Both have to be uint8 of one shape: floats in [0, 1] scored as levels of 255 would be nearly equal."""
    assert image.shape == truth.shape, f"{image.shape} is not {truth.shape}"
    assert image.dtype == truth.dtype == np.uint8, f"{image.dtype} and {truth.dtype} are not uint8"


def resize(frame: Frame, height_px: int, width_px: int) -> Frame:
    """Area average; returns the frame itself if it has that size. Does not preserve the aspect ratio."""
    if frame.shape[:2] == (height_px, width_px):
        return frame
    from PIL import Image  # late: play does not need it

    image = Image.fromarray(frame).resize((width_px, height_px), Image.Resampling.BOX)
    resized: npt.NDArray[np.uint8] = np.asarray(image)
    return resized


def write_contact_sheet(path: Path, frames: list[Frame]) -> None:
    """Frames of one size in rows, as PNG regardless of the suffix. Raises: StorageError."""
    from PIL import Image

    rows = [frames[begin : begin + SHEET_COLUMNS] for begin in range(0, len(frames), SHEET_COLUMNS)]
    with atomic_path(path) as temporary:
        Image.fromarray(grid(rows)).save(temporary, format="PNG")
