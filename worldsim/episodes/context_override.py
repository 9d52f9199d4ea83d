"""Ground-truth frames that replaced a model's memory, stored so that replays do not need a reference world.

Owns: their JSON form, in recordings and saved states. Does not own: where they come from (`engine.reference_world`),
how they are applied (`engine.simulator`).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import RecordingError
from worldsim.core.types import Frame

MAX_FRAMES = 1024


@dataclass(frozen=True, kw_only=True)
class ContextOverride:
    """At frame `index` after the reset, these frames replaced the model's memory; the last one is that frame."""

    index: int
    actions: tuple[tuple[float, ...], ...]
    """One encoded action per frame: action n led to frame n."""
    pixels: str = field(repr=False)
    """Base64 of zlib-compressed uint8 [T, H, W, 3]."""

    @classmethod
    def from_frames(cls, index: int, frames: Sequence[Frame], actions: Sequence[Sequence[float]]) -> ContextOverride:
        packed = zlib.compress(np.stack(frames).tobytes(), level=1)
        vectors = tuple(tuple(map(float, action)) for action in actions)
        return cls(index=index, actions=vectors, pixels=base64.b64encode(packed).decode())

    def frames(self, frame_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        """Shapes: returns [T, H, W, 3]. Raises: RecordingError if the data is damaged or of another size."""
        num_frames = len(self.actions)
        num_bytes = num_frames * int(np.prod(frame_shape))
        try:
            if not 1 <= num_frames <= MAX_FRAMES:
                raise ValueError(f"{num_frames} frames")
            found = zlib.decompressobj().decompress(base64.b64decode(self.pixels, validate=True), num_bytes + 1)
            if len(found) != num_bytes:
                raise ValueError("unexpected size")
        except (ValueError, zlib.error) as error:
            raise RecordingError(
                f"the ground-truth frames at frame {self.index} are damaged: {error}", hint="use an intact copy"
            ) from None
        return np.frombuffer(found, np.uint8).reshape(num_frames, *frame_shape).copy()
