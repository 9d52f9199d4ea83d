"""The recording thread: writes the journal first, then video, and never makes the caller wait.

Owns: the queue, its limit and high-water mark, behavior on a full disk. Does not own: what is recorded
(`engine.recorder`), the final form of the files (`episodes.finalize`). Public methods belong to the caller's thread.

The thread writes the actions of *all* queued frames before it encodes *one* image: video may lag, actions never do.
It also imports av and pyarrow (44 MB, 0.4 s): the caller does not wait for them, and play without a recording needs
neither.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from worldsim.core.errors import StorageError, WorldsimError
from worldsim.core.types import Frame
from worldsim.episodes.format import JOURNAL_FILE, EpisodeStart, FrameRow, SessionHeader, check_new_folder, part_path
from worldsim.episodes.journal import JournalFile, current_writer_info

if TYPE_CHECKING:
    from worldsim.episodes.video import VideoEncoder

MAX_QUEUED_BYTES = 64 * 2**20
"""Limit for queued images. Above it only the action is kept, and the video repeats the previous image."""
MAX_QUEUED_ROWS = 100_000
"""Above it the disk has not responded for a long time, and the recording stops."""
SYNC_EVERY_S = 1.0


class WriterState(Enum):
    RECORDING = "recording"
    FINALIZING = "finishing"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class WriterCounters:
    frames: int = 0
    images_dropped: int = 0
    high_water: int = 0
    """Maximum length of the queue so far."""
    num_queued: int = 0


@dataclass(frozen=True)
class _QueuedFrame:
    """A queued frame; `start` marks the first one of an episode."""

    row: FrameRow
    frame: Frame | None
    start: EpisodeStart | None = None


class SessionWriter:
    """Records from construction to `stop`. Raises (on construction only): UsageError, StorageError."""

    def __init__(
        self,
        folder: Path,
        header: SessionHeader,
        *,
        is_lossless: bool = False,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        open_journal: Callable[[Path], BinaryIO] = lambda path: path.open("xb"),
    ) -> None:
        self.folder, self.header = folder, header
        self.error: WorldsimError | None = None
        self.state = WriterState.RECORDING
        self._is_lossless = is_lossless
        self._max_queued = max(1, max_queued_bytes // (header.frame_shape[0] * header.frame_shape[1] * 3))
        self._ready = threading.Condition()
        # Guarded by the lock:
        self._queue: deque[_QueuedFrame] = deque()
        self._counters = WriterCounters()
        self._next_start: EpisodeStart | None = None
        self._is_stopping = False
        # Writer thread only:
        self._to_encode: deque[_QueuedFrame] = deque()
        self._video: VideoEncoder | None = None
        self._last_frame: Frame | None = None
        self._num_episodes = 0
        self._journal = self._begin(open_journal)
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def begin_episode(self, start: EpisodeStart) -> None:
        """The next frame starts an episode."""
        with self._ready:
            self._next_start = start

    def add_frame(self, row: FrameRow, frame: Frame) -> None:
        """Never waits for the disk or the encoder. Does nothing once `error` is set."""
        with self._ready:
            if self._is_stopping or self.error is not None:
                return
            counters = self._counters
            if counters.num_queued >= MAX_QUEUED_ROWS:
                self._fail(
                    StorageError(f"{self.folder}: the disk is not responding", hint="see `worldsim sessions repair`")
                )
                return
            start, self._next_start = self._next_start, None
            assert start is not None or counters.frames, "call begin_episode before the first frame"
            has_room = counters.num_queued < self._max_queued
            self._queue.append(_QueuedFrame(replace(row, has_image=has_room), frame if has_room else None, start))
            self._counters = replace(
                counters,
                frames=counters.frames + 1,
                num_queued=counters.num_queued + 1,
                high_water=max(counters.high_water, counters.num_queued + 1),
                images_dropped=counters.images_dropped + (not has_room),
            )
            self._ready.notify_all()

    def wait_for_room(self) -> None:
        """For non-interactive callers: waits instead of losing images."""
        with self._ready:
            self._ready.wait_for(lambda: self._counters.num_queued < self._max_queued or self.error is not None)

    @property
    def counters(self) -> WriterCounters:
        with self._ready:
            return self._counters

    def stop(self) -> None:
        """Accepts no more frames; the thread writes the queue and finalizes the files. Does not wait for it."""
        with self._ready:
            if not self._is_stopping and self.state is WriterState.RECORDING:
                self.state = WriterState.FINALIZING
            self._is_stopping = True
            self._ready.notify_all()

    def close(self) -> None:
        """`stop`, then wait until the files are finalized or have failed."""
        self.stop()
        self._thread.join()

    # ---- writer thread

    def _begin(self, open_journal: Callable[[Path], BinaryIO]) -> JournalFile:
        path = self.folder / JOURNAL_FILE
        try:
            check_new_folder(self.folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            journal = JournalFile(open_journal(path))
            journal.write_header(self.header, current_writer_info(is_lossless=self._is_lossless))
            journal.flush()
        except OSError as error:
            raise StorageError(
                f"cannot record to {self.folder}: {error}", hint="check the path, free space and permissions"
            ) from None
        return journal

    def _run(self) -> None:
        try:
            self._record()
            from worldsim.episodes.finalize import finalize

            finalize(self.folder, high_water=self.counters.high_water)
            self.state = WriterState.COMPLETE
        except Exception as error:  # play continues whatever happens to the disk or the encoder
            with suppress(OSError):
                self._journal.close()
            message = f"the recording {self.folder} has stopped: {_reason(error)}"
            with self._ready:
                self._fail(StorageError(message, hint=f"free space, then: worldsim sessions repair {self.folder}"))

    def _fail(self, error: WorldsimError) -> None:
        """Call with the lock held."""
        self.error, self.state = error, WriterState.FAILED
        self._queue.clear()
        self._ready.notify_all()

    def _record(self) -> None:
        synced_s = time.monotonic()
        while True:
            with self._ready:
                while not self._queue and not self._to_encode and not self._is_stopping and self.error is None:
                    self._ready.wait()
                items = list(self._queue)
                self._queue.clear()
                if self.error is not None or (not items and not self._to_encode):
                    break
            self._write_ahead(items)
            now_s = time.monotonic()
            if now_s - synced_s >= SYNC_EVERY_S:
                self._journal.sync()
                synced_s = now_s
            self._to_encode.extend(items)
            self._encode(self._to_encode.popleft())
            with self._ready:
                self._counters = replace(self._counters, num_queued=self._counters.num_queued - 1)
                self._ready.notify_all()
        self._journal.sync()
        self._journal.close()
        if self._video is not None:
            self._video.close()

    def _write_ahead(self, items: list[_QueuedFrame]) -> None:
        for item in items:
            if item.start is not None:
                self._journal.write_episode(item.start)
            self._journal.write_rows([item.row])
        self._journal.flush()

    def _encode(self, item: _QueuedFrame) -> None:
        if item.start is not None:
            if self._video is not None:
                self._video.close()
            self._video, self._last_frame = self._open_video(self._num_episodes), None
            self._num_episodes += 1
        assert self._video is not None
        if item.frame is not None:
            self._last_frame = item.frame
        elif self._last_frame is None:
            self._last_frame = np.zeros(self.header.frame_shape, np.uint8)
        self._video.write(self._last_frame)

    def _open_video(self, episode: int) -> VideoEncoder:
        from worldsim.episodes.video import LOSSLESS, NEAR_LOSSLESS, VideoEncoder

        path = part_path(self.folder, episode)
        path.parent.mkdir(parents=True, exist_ok=True)
        height_px, width_px, _ = self.header.frame_shape
        codec = LOSSLESS if self._is_lossless else NEAR_LOSSLESS
        return VideoEncoder(path, height_px, width_px, self.header.frames_per_s, codec=codec, is_fragmented=True)


def _reason(error: BaseException) -> str:
    """The operating system's reason, such as a full disk, without the file name, which does not help."""
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
        cause = cause.__context__
    return str(cause.strerror) if isinstance(cause, OSError) else str(error)
