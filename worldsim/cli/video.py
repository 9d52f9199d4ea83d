"""Frames into an H.264 file that any player shows.

Owns: the encoder's settings and whole-number upscaling. Does not own: what is in the frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import numpy.typing as npt

from worldsim.core.errors import StorageError, UsageError
from worldsim.core.types import Frame

MIN_SIDE_PX = 256
"""Smaller pictures are enlarged: chroma is stored at half size, which blurs textures, and players show them tiny."""
_OPTIONS = {"crf": "18", "preset": "veryfast", "bf": "0"}
"""Near lossless; without B-frames, which some viewers refuse."""


class FrameWriter(Protocol):
    def write(self, frame: Frame) -> None: ...


def scale_for(height_px: int, width_px: int) -> int:
    """The whole number by which a picture is enlarged, so that it is large enough and both sides are even (yuv420p)."""
    scale = max(1, -(-MIN_SIDE_PX // min(height_px, width_px)))
    return scale + scale % 2 if height_px % 2 or width_px % 2 else scale


def enlarge(frame: Frame, scale: int) -> Frame:
    """Every pixel becomes `scale` x `scale` equal pixels."""
    enlarged: npt.NDArray[np.uint8] = frame.repeat(scale, axis=0).repeat(scale, axis=1)
    return enlarged


@contextmanager
def video_file(path: Path, *, height_px: int, width_px: int, frames_per_s: float) -> Iterator[FrameWriter]:
    """A writer; the file appears under its name when the block ends without an error.

    Raises: UsageError for a name that is not .mp4, StorageError when the file cannot be written.
    """
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"{path} does not end in .mp4", hint=f"for example {path.with_suffix('.mp4')}")
    temporary = path.with_name(f".{path.stem}.part.mp4")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(temporary), "w") as container:
            writer = _Writer(container, height_px, width_px, frames_per_s)
            yield writer
            writer.finish()
        temporary.replace(path)
    except OSError as error:  # av's own errors are OSErrors too
        raise StorageError(f"cannot write {path}: {error}", hint="check the path, space and permissions") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


class _Writer:
    def __init__(self, container: av.container.OutputContainer, height_px: int, width_px: int, rate: float) -> None:
        self._container = container
        self._scale = scale_for(height_px, width_px)
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000), options=dict(_OPTIONS))
        stream.height, stream.width = height_px * self._scale, width_px * self._scale
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # the model has the other cores
        self._stream = stream

    def write(self, frame: Frame) -> None:
        picture = av.VideoFrame.from_ndarray(enlarge(frame, self._scale), format="rgb24")
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
