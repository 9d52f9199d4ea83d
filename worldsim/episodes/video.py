"""Frames to H.264 files that any player shows, and back.

Owns: encoder settings and integer upscaling.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from worldsim.core.errors import RecordingError, UsageError, one_line
from worldsim.core.files import atomic_path
from worldsim.core.images import upscale
from worldsim.core.types import Frame

REGENERATE_HINT = "the file may be truncated; regenerate or omit it"
MIN_SIDE_PX = 256
"""Smaller frames are upscaled: chroma has half resolution, which blurs textures, and players show them tiny."""
MAX_FRAGMENT_S = 1.0
"""A video being written loses at most this much if its process dies."""


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
"""Without B-frames, which some viewers do not support."""
LOSSLESS = Codec(
    encoder="libx264rgb",
    pixel_format="rgb24",
    options=(("crf", "0"), ("preset", "veryfast"), ("bf", "0")),
    is_upscaled=False,
)
"""Bit-exact at the original size: for training data."""


def upscale_factor(height_px: int, width_px: int) -> int:
    """The integer factor that makes a frame large enough, with even sides (yuv420p)."""
    scale = max(1, -(-MIN_SIDE_PX // min(height_px, width_px)))
    return scale + scale % 2 if height_px % 2 or width_px % 2 else scale


def downscale(frame: Frame, scale: int) -> Frame:
    """The inverse of `core.images.upscale`: the mean of each block of `scale` x `scale` pixels."""
    if scale == 1:
        return frame
    height_px, width_px, _ = frame.shape
    blocks = frame.reshape(height_px // scale, scale, width_px // scale, scale, 3)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


@contextmanager
def video_file(path: Path, *, height_px: int, width_px: int, frames_per_s: float) -> Iterator[VideoEncoder]:
    """An encoder whose file appears when the block ends without an error.

    Raises: UsageError for a suffix other than .mp4, StorageError.
    """
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"{path} does not end in .mp4", hint=f"for example {path.with_suffix('.mp4')}")
    with atomic_path(path) as temporary, VideoEncoder(temporary, height_px, width_px, frames_per_s) as writer:
        yield writer


class VideoEncoder:
    """Writes one video. `is_fragmented`: it stays readable if the process dies. Raises: OSError."""

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
            keyframes["tune"] = "zerolatency"  # no frames buffered inside the encoder
        stream = self._container.add_stream(codec.encoder, rate=rate, options={**dict(codec.options), **keyframes})
        assert isinstance(stream, av.VideoStream), stream
        stream.height, stream.width = height_px * self._scale, width_px * self._scale
        stream.pix_fmt = codec.pixel_format
        stream.codec_context.thread_count = 1  # the other cores are for the model
        self._stream, self._rate, self._num_written = stream, rate, 0

    def __enter__(self) -> VideoEncoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()

    def write(self, frame: Frame) -> None:
        image = av.VideoFrame.from_ndarray(upscale(frame, self._scale), format="rgb24")
        image.pts, image.time_base = self._num_written, 1 / self._rate
        self._num_written += 1
        self._container.mux(self._stream.encode(image))

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


def read_frames(path: Path, *, scale: int = 1, is_key_only: bool = False, is_strict: bool = False) -> Iterator[Frame]:
    """The frames of a video at their original size.

    A truncated or damaged file ends early. `is_strict`: it raises RecordingError instead.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            if is_key_only:
                stream.codec_context.skip_frame = "NONKEY"
            for image in container.decode(stream):
                yield downscale(image.to_ndarray(format="rgb24"), scale)
    except (OSError, av.FFmpegError, IndexError) as error:  # not all of av's errors are OSErrors
        if is_strict:
            raise RecordingError(f"a frame does not decode: {one_line(error)}", hint=REGENERATE_HINT) from None


def count_frames(path: Path) -> int:
    """Number of complete frames in a video; 0 if the file is missing or not a video."""
    num_frames = 0
    with suppress(OSError, av.FFmpegError), av.open(str(path)) as container:
        for packet in container.demux(video=0):
            num_frames += packet.size > 0
    return num_frames


def video_times(path: Path) -> tuple[float, list[float]]:
    """Frames per second, and the time of each frame in seconds from the first one, without decoding.

    Raises: RecordingError.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate, base = stream.average_rate, stream.time_base
            times = sorted(p.pts for p in container.demux(stream) if p.size and p.pts is not None)
    except (OSError, av.FFmpegError, IndexError) as error:
        raise RecordingError(f"not a valid video: {one_line(error)}", hint=REGENERATE_HINT) from None
    if not rate or base is None or not times:
        raise RecordingError("not a valid video: no frames in it", hint=REGENERATE_HINT)
    return float(rate), [float((pts - times[0]) * base) for pts in times]


def remux(source: Path, target: Path) -> None:
    """Copies the stream into a file with a single index at its beginning. Raises: OSError."""
    with av.open(str(source)) as reading, av.open(str(target), "w", options={"movflags": "faststart"}) as writing:
        from_stream = reading.streams.video[0]
        to_stream = writing.add_stream_from_template(from_stream, opaque=True)  # copied, not re-encoded
        for packet in reading.demux(from_stream):
            if packet.dts is not None:
                packet.stream = to_stream
                writing.mux(packet)
