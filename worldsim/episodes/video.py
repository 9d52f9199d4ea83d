"""Frames into H.264 files that any player shows, and out of them again.

Owns: the encoders' settings and whole-number upscaling. Does not own: what is in the frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from worldsim.core.errors import UsageError
from worldsim.core.files import atomic_path
from worldsim.core.types import Frame

MIN_SIDE_PX = 256
"""Smaller pictures are enlarged: chroma is stored at half size, which blurs textures, and players show them tiny."""
MAX_FRAGMENT_S = 1.0
"""A video that is still being written loses at most this much when its process dies."""


@dataclass(frozen=True, kw_only=True)
class Codec:
    encoder: str
    pixel_format: str
    options: tuple[tuple[str, str], ...]
    is_upscaled: bool

    def scale(self, height_px: int, width_px: int) -> int:
        return upscale_factor(height_px, width_px) if self.is_upscaled else 1


NEAR_LOSSLESS = Codec(
    encoder="libx264",
    pixel_format="yuv420p",
    options=(("crf", "18"), ("preset", "veryfast"), ("bf", "0")),
    is_upscaled=True,
)
"""Near lossless; without B-frames, which some viewers refuse."""
LOSSLESS = Codec(
    encoder="libx264rgb",
    pixel_format="rgb24",
    options=(("crf", "0"), ("preset", "veryfast"), ("bf", "0")),
    is_upscaled=False,
)
"""Bit for bit, at the frames' own size: for data meant for training."""


def upscale_factor(height_px: int, width_px: int) -> int:
    """The whole number by which a picture is enlarged, so that it is large enough and both sides are even (yuv420p)."""
    scale = max(1, -(-MIN_SIDE_PX // min(height_px, width_px)))
    return scale + scale % 2 if height_px % 2 or width_px % 2 else scale


def upscale(frame: Frame, scale: int) -> Frame:
    """Every pixel becomes `scale` x `scale` equal pixels."""
    upscaled: npt.NDArray[np.uint8] = frame.repeat(scale, axis=0).repeat(scale, axis=1)
    return upscaled


def downscale(frame: Frame, scale: int) -> Frame:
    """The inverse of `upscale`: the mean of every block of `scale` x `scale` pixels."""
    if scale == 1:
        return frame
    height_px, width_px, _ = frame.shape
    blocks = frame.reshape(height_px // scale, scale, width_px // scale, scale, 3)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


@contextmanager
def video_file(path: Path, *, height_px: int, width_px: int, frames_per_s: float) -> Iterator[VideoEncoder]:
    """A writer; the file appears under its name when the block ends without an error.

    Raises: UsageError for a name that is not .mp4, StorageError when the file cannot be written.
    """
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"{path} does not end in .mp4", hint=f"for example {path.with_suffix('.mp4')}")
    with atomic_path(path) as temporary, VideoEncoder(temporary, height_px, width_px, frames_per_s) as writer:
        yield writer


class VideoEncoder:
    """One video. `is_fragmented`: what was written stays readable when the process dies. Raises: OSError."""

    def __init__(
        self,
        path: Path,
        height_px: int,
        width_px: int,
        frames_per_s: float,
        *,
        codec: Codec = NEAR_LOSSLESS,
        is_fragmented: bool = False,
    ) -> None:
        rate = Fraction(frames_per_s).limit_denominator(1000)
        options = {"movflags": "frag_keyframe+empty_moov", "flush_packets": "1"} if is_fragmented else {}
        self._container = av.open(str(path), "w", format="mp4", options=options)
        self._scale = codec.scale(height_px, width_px)
        keyframes = {"g": str(max(1, int(rate * Fraction(MAX_FRAGMENT_S))))}
        if is_fragmented:
            keyframes["tune"] = "zerolatency"  # no pictures waiting inside the encoder
        stream = self._container.add_stream(codec.encoder, rate=rate, options={**dict(codec.options), **keyframes})
        assert isinstance(stream, av.VideoStream), stream
        stream.height, stream.width = height_px * self._scale, width_px * self._scale
        stream.pix_fmt = codec.pixel_format
        stream.codec_context.thread_count = 1  # the model has the other cores
        self._stream, self._rate, self._num_written = stream, rate, 0

    def __enter__(self) -> VideoEncoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()

    def write(self, frame: Frame) -> None:
        picture = av.VideoFrame.from_ndarray(upscale(frame, self._scale), format="rgb24")
        picture.pts, picture.time_base = self._num_written, 1 / self._rate
        self._num_written += 1
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


def read_frames(path: Path, *, scale: int = 1, is_key_only: bool = False) -> Iterator[Frame]:
    """The pictures of a video at the size they were made; a file that breaks off ends early, without an error."""
    with suppress(OSError, av.FFmpegError), av.open(str(path)) as container:  # not every one of av's is an OSError
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        if is_key_only:
            stream.codec_context.skip_frame = "NONKEY"
        for picture in container.decode(stream):
            yield downscale(picture.to_ndarray(format="rgb24"), scale)


def count_frames(path: Path) -> int:
    """How many pictures a video holds whole; 0 for a file that is missing or no video."""
    num_frames = 0
    with suppress(OSError, av.FFmpegError), av.open(str(path)) as container:
        for packet in container.demux(video=0):
            num_frames += packet.size > 0
    return num_frames


def remux(source: Path, target: Path) -> None:
    """The same pictures in a file with one index at its beginning. Raises: OSError."""
    with av.open(str(source)) as reading, av.open(str(target), "w", options={"movflags": "faststart"}) as writing:
        from_stream = reading.streams.video[0]
        to_stream = writing.add_stream_from_template(from_stream, opaque=True)  # as it is, without an encoder
        for packet in reading.demux(from_stream):
            if packet.dts is not None:
                packet.stream = to_stream
                writing.mux(packet)
