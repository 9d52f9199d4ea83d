"""Masks of pixels that were seen before, or left the view and came back, from the engine's pose and depth.

Every frame is subsampled to a grid of points, which are projected into earlier frames. Pure functions over numpy.
Letters: T frames, S earlier frames, N points of a frame, h w rows and columns of the grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
RealArray = npt.NDArray[np.floating]

MIN_POINTS_ACROSS = 32
"""Minimum number of grid points across a frame: adjacent pixels nearly always agree."""
NEAR_CELLS = 1 / 192
TOLERANCE_CELLS, TOLERANCE_FRACTION = 16 / 192, 0.08
"""Two depths belong to the same place if they differ by at most this fraction of a cell plus this fraction of the
depth. Doom quantizes depth to multiples of 8, with 192 to a cell, and a pixel of a distant floor covers more."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A level pinhole camera at a constant height. Depth is along the view direction."""

    height_px: int
    width_px: int
    fov_deg: float
    """Horizontal field of view."""
    cell_units: float
    """Side of a maze cell, the unit of all tolerances."""
    stretch: float = 1.0
    """Height over width of a square seen from the front: 1.2 in Doom, whose pixels were not square."""

    @property
    def stride(self) -> int:
        """Distance of grid points, in pixels."""
        common = math.gcd(self.height_px, self.width_px)
        fit = [n for n in range(1, common + 1) if common % n == 0 and self.width_px // n >= MIN_POINTS_ACROSS]
        return max(fit, default=1)

    def subsample(self, depth_HW: RealArray) -> npt.NDArray[np.float32]:
        """Depth at the grid points, [h, w]."""
        first = self.stride // 2
        return np.asarray(depth_HW[first :: self.stride, first :: self.stride], dtype=np.float32)

    def upsample(self, mask: Mask) -> Mask:
        """From grid points to pixels: [..., h, w] -> [..., H, W]."""
        return mask.repeat(self.stride, axis=-2).repeat(self.stride, axis=-1)

    def points(self, pose: RealArray, depth_hw: RealArray) -> npt.NDArray[np.float64]:
        """Positions of the grid points: x, y, and height above the camera, [3, N]."""
        across, down = self._rays(*depth_hw.shape)
        ahead = depth_hw.astype(np.float64)
        left = -across[None, :] * ahead
        up = -down[:, None] * ahead
        x, y, angle = pose
        return np.stack(
            [
                (x + ahead * math.cos(angle) - left * math.sin(angle)).ravel(),
                (y + ahead * math.sin(angle) + left * math.cos(angle)).ravel(),
                up.ravel(),
            ]
        )

    def sees(self, point_3N: RealArray, pose_S3: RealArray, depth_Shw: RealArray) -> Mask:
        """Whether each frame shows each point: inside the image and not occluded. Returns [S, N]."""
        num_rows, num_columns = depth_Shw.shape[1:]
        dx, dy = point_3N[0] - pose_S3[:, :1], point_3N[1] - pose_S3[:, 1:2]
        cos, sin = np.cos(pose_S3[:, 2:]), np.sin(pose_S3[:, 2:])
        ahead = dx * cos + dy * sin
        nearest = NEAR_CELLS * self.cell_units
        before = np.maximum(ahead, nearest)
        half = math.tan(math.radians(self.fov_deg) / 2)
        per_px = 2.0 * half / self.width_px
        column_px = (dx * sin - dy * cos) / (before * per_px) + self.width_px / 2
        row_px = -point_3N[2] * self.stretch / (before * per_px) + self.height_px / 2
        column, row = np.floor(column_px / self.stride).astype(int), np.floor(row_px / self.stride).astype(int)
        inside = (ahead > nearest) & (column >= 0) & (column < num_columns) & (row >= 0) & (row < num_rows)
        frame = np.arange(len(pose_S3))[:, None]
        there = depth_Shw[frame, row.clip(0, num_rows - 1), column.clip(0, num_columns - 1)]
        tolerance = TOLERANCE_CELLS * self.cell_units + TOLERANCE_FRACTION * ahead
        return inside & (np.abs(there - ahead) <= tolerance)

    def _rays(self, num_rows: int, num_columns: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Offsets of the grid points to the right and down, per unit of depth."""
        half = math.tan(math.radians(self.fov_deg) / 2)
        offset = self.stride // 2 + 0.5
        column_px = np.arange(num_columns) * self.stride + offset - self.width_px / 2
        row_px = np.arange(num_rows) * self.stride + offset - self.height_px / 2
        per_px = 2.0 * half / self.width_px
        return (column_px * per_px).astype(np.float64), (row_px * per_px / self.stretch).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class VisibilityMasks:
    """Masks of the frames after the context. Shapes: bool [T, H, W] each."""

    returned: Mask
    """Shown in the context, then out of view, then in view again after the context."""
    seen: Mask
    """Shown in the context."""
    never_seen: Mask
    """All other pixels, which cannot be known from the context."""


def visibility_masks(
    camera: Camera, pose_T3: RealArray, depth_Thw: RealArray, *, num_context: int, gone_frames: int
) -> VisibilityMasks:
    """Masks of one episode. `gone_frames`: consecutive frames out of view after which a place counts as gone."""
    pairs = [
        _seen_and_returned(camera, pose_T3, depth_Thw, t, num_context, gone_frames)
        for t in range(num_context, len(pose_T3))
    ]
    seen, returned = (
        camera.upsample(np.stack(masks).reshape(-1, *depth_Thw.shape[1:])) for masks in zip(*pairs, strict=True)
    )
    return VisibilityMasks(returned=returned, seen=seen, never_seen=~seen)


def _seen_and_returned(
    camera: Camera, pose_T3: RealArray, depth_Thw: RealArray, t: int, num_context: int, gone_frames: int
) -> tuple[Mask, Mask]:
    """Whether the points of frame t were seen in the context, and whether they returned, [N] each."""
    shown_SN = camera.sees(camera.points(pose_T3[t], depth_Thw[t]), pose_T3[:t], depth_Thw[:t])
    return np.asarray(shown_SN[:num_context].any(axis=0)), has_returned(shown_SN, num_context, gone_frames)


def has_returned(shown_SN: Mask, num_context: int, gone_frames: int) -> Mask:
    """Whether places in view in frame S left the view and came back, given which of the frames [0, S) show them.

    A place has returned if the context showed it, it was then out of view for at least `gone_frames` consecutive
    frames, and it came into view again after the context.
    """
    num_frames, num_places = shown_SN.shape
    next_shown = np.full(num_places, num_frames)
    has_gap = np.zeros(num_places, dtype=bool)
    for s in range(num_frames - 1, -1, -1):
        shown = shown_SN[s]
        has_gap |= shown & (next_shown - s - 1 >= gone_frames) & (next_shown >= num_context)
        next_shown = np.where(shown, s, next_shown)
    return np.asarray(has_gap & shown_SN[:num_context].any(axis=0))
