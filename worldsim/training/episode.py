"""An episode in memory, for training. Letters: T frames, H W rows and columns, A action."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


def middle_row_depth(depth_HW: Float32Array) -> Float32Array:
    """Distance of the walls in each column: the mean of the two middle rows. Shapes: returns [W]."""
    middle = len(depth_HW) // 2
    return np.asarray(depth_HW[middle - 1 : middle + 1].mean(0), np.float32)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Shapes: frames uint8 [T, H, W, 3], actions float32 [T, A] (action[t] led to frame t), pose float32 [T, 3].

    Unknown poses and depth profiles are NaN.
    """

    seed: int
    frames: npt.NDArray[np.uint8]
    actions: Float32Array
    pose: Float32Array
    depth_profile: Float32Array = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """Shapes: [T, W]. Units: the world's, along the view direction. Empty if unknown; it is then filled with NaN
    without using memory."""

    def __post_init__(self) -> None:
        if not self.depth_profile.size:
            num_frames, _, width_px, _ = self.frames.shape
            object.__setattr__(self, "depth_profile", np.broadcast_to(np.float32(np.nan), (num_frames, width_px)))

    @property
    def has_depth_profile(self) -> bool:
        return not bool(np.isnan(self.depth_profile).all())

    def first(self, num_frames: int) -> Episode:
        arrays = {name: getattr(self, name)[:num_frames] for name in ("frames", "actions", "pose", "depth_profile")}
        return Episode(seed=self.seed, **arrays)
