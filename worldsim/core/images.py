"""Two frames as one picture, and how far they are apart. Pure functions over uint8 frames [H, W, 3]."""

from __future__ import annotations

import math

import numpy as np

from worldsim.core.types import Frame

GAP_PX = 2


def side_by_side(left: Frame, right: Frame) -> Frame:
    """With a black gap of `GAP_PX` between them. Shapes: returns [H, W + gap + W, 3]."""
    gap = np.zeros((left.shape[0], GAP_PX, 3), np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def difference(a: Frame, b: Frame) -> Frame:
    """|a - b| of every pixel and colour: black where they are equal."""
    return np.maximum(a, b) - np.minimum(a, b)


def psnr_db(a: Frame, b: Frame) -> float:
    """Infinite where they are equal."""
    off = (a.astype(np.float32) - b).ravel()
    error = float(off @ off) / off.size
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
