"""An episode as training sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Shapes: frames uint8 [T, H, W, 3], actions float32 [T, A] (action[t] led to frame t), pose float32 [T, 3].

    A pose that nobody knows is NaN.
    """

    seed: int
    frames: npt.NDArray[np.uint8]
    actions: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]

    def first(self, num_frames: int) -> Episode:
        arrays = {name: getattr(self, name)[:num_frames] for name in ("frames", "actions", "pose")}
        return Episode(seed=self.seed, **arrays)
