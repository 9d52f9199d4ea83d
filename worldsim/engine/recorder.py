"""What is recorded of play: taps every Step, starts and stops a SessionWriter. Torch-free; the caller's thread.

Owns: the history since the last reset (so that a recording may begin in the middle and still be replayed from the
reset), and the line that is said of it. Does not own: files (`episodes`), who made the frames (the header is given).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from worldsim.core.errors import WorldsimError
from worldsim.core.types import Step
from worldsim.episodes.context_override import ContextOverride
from worldsim.episodes.format import RECORDINGS_FOLDER, ActionRun, EpisodeStart, FrameRow, SessionHeader, frame_hash
from worldsim.episodes.writer import SessionWriter, WriterState


class Recorder:
    """`add` is told every frame that play takes; `start` and `stop` may come at any time."""

    def __init__(
        self,
        *,
        folder: Path | None = None,
        is_lossless: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`folder`: records there from the first frame on. `say` is told what begins, ends and fails, once each."""
        self._first_folder = folder
        self.writer: SessionWriter | None = None
        self.is_lossless = is_lossless
        """Of the next `start`."""
        self._say = say
        self._old_writers: list[SessionWriter] = []
        self._seed = 0
        self._history: list[ActionRun] = []
        self._anchor: ContextOverride | None = None
        self._last: tuple[FrameRow, Step] | None = None
        self._device = ""
        """Where that was made, if not where the header says."""
        self._last_reported_state: WriterState | None = None

    @property
    def is_recording(self) -> bool:
        return self.writer is not None and self.writer.state is WriterState.RECORDING

    @property
    def status_text(self) -> str:
        """What is said on the screen; empty when there is nothing to say."""
        writer = self.writer
        if writer is None:
            return ""
        if writer.state is WriterState.RECORDING:
            return f"recording {writer.folder}: {writer.counters.frames} frames"
        if writer.state is WriterState.FAILED and writer.error is not None:
            return f"{writer.error.message}; {writer.error.hint}"
        return f"{'finishing' if writer.state is WriterState.FINALIZING else 'recorded'} {writer.folder}"

    def add(self, step: Step, seed: int, header: SessionHeader) -> None:
        """`seed`: of the reset that `step` follows. Raises, with the first frame only: as `start`."""
        if self._first_folder is not None:
            folder, self._first_folder = self._first_folder, None
            self.start(folder, header)
        row, device = self._row(step, header), _device_override(step.device, header)
        if step.index == 0:
            self._seed, self._history, self._anchor = seed, [], None
        elif self._history and self._history[-1].extends(row.action, row.num_steps, device):
            self._history[-1] = replace(self._history[-1], count=self._history[-1].count + 1)
        else:
            self._history.append(ActionRun(action=row.action, num_steps=row.num_steps, device=device, count=1))
        has_moved, self._device = device != self._device, device
        self._last = (row, step)
        if self.writer is not None and self.is_recording:
            if step.index == 0 or has_moved:
                self._begin_episode(row, step)
            else:
                self.writer.add_frame(row, step.frame)
        self.report_state()

    def start(self, folder: Path, header: SessionHeader) -> None:
        """From the frame that is there now, or the next one. Raises: UsageError, StorageError."""
        self.stop()
        if self.writer is not None:
            self._old_writers.append(self.writer)
        self.writer = SessionWriter(folder, header, is_lossless=self.is_lossless)
        if self._last is not None:
            self._begin_episode(*self._last)
        self.report_state()

    def continue_from(
        self,
        step: Step,
        seed: int,
        runs: Sequence[ActionRun],
        header: SessionHeader,
        anchor: ContextOverride | None = None,
    ) -> None:
        """Play goes on from `step`, to which `runs` led from a reset with `seed`: after a rewind, a load, a change of
        branch, or with true pictures (`anchor`) in the place of memory. What was recorded stays, for it was played; a
        new episode begins, with `runs` as its start, so that a replay makes it again from the reset. Raises: as
        `start`, where recording was to begin with the first frame.
        """
        history = [replace(run, device=_device_override(run.device, header)) if run.device else run for run in runs]
        self._seed, self._history, self._anchor = seed, history, anchor
        self._device = _device_override(step.device, header)
        self._last = (self._row(step, header), step)
        if self._first_folder is not None:
            folder, self._first_folder = self._first_folder, None
            self.start(folder, header)
        elif self.is_recording:
            self._begin_episode(*self._last)
        self.report_state()

    def stop(self) -> None:
        if self.writer is not None:
            self.writer.stop()

    def wait_for_room(self) -> None:
        """For callers that nobody plays with, and who would rather wait than lose a picture."""
        if self.writer is not None:
            self.writer.wait_for_room()

    def close(self) -> None:
        """Waits until every file is finished. Raises: nothing; `error` says what went wrong."""
        for writer in (*self._old_writers, self.writer):
            if writer is not None:
                writer.close()
        self.report_state()

    def _row(self, step: Step, header: SessionHeader) -> FrameRow:
        return FrameRow(
            action=tuple(map(float, header.action_spec.encode(step.action))),
            num_steps=step.num_steps,
            t_input_ns=step.t_input_ns,
            t_ready_ns=step.t_ready_ns,
            frame_hash=frame_hash(step.frame) if self.is_recording else "",
        )

    def _begin_episode(self, row: FrameRow, step: Step) -> None:
        """With the frame that is there."""
        assert self.writer is not None
        start = EpisodeStart(
            seed=self._seed,
            first_index=step.index,
            prelude=_without_last_action(self._history),
            anchor=self._anchor,
            device=self._device,
        )
        self.writer.begin_episode(start)
        self.writer.add_frame(replace(row, frame_hash=frame_hash(step.frame)), step.frame)

    @property
    def error(self) -> WorldsimError | None:
        return self.writer.error if self.writer is not None else None

    def report_state(self) -> None:
        """Says what has changed since it was last asked, once each."""
        state = self.writer.state if self.writer is not None else None
        if state is not self._last_reported_state:
            self._last_reported_state = state
            self._say(self.status_text)


def new_recording_folder(preset: str, parent: Path = RECORDINGS_FOLDER) -> Path:
    """A name that is free: the preset and the time."""
    stem = f"{Path(preset).name}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem, *(f"{stem}-{n}" for n in range(2, 1000)))
    return next(parent / name for name in names if not (parent / name).exists())


def _device_override(device: str, header: SessionHeader) -> str:
    return "" if device == header.device else device


def _without_last_action(history: list[ActionRun]) -> tuple[ActionRun, ...]:
    """All that led to the frame before the current one: the current one's own action stands in its row."""
    if not history:
        return ()
    *before, last = history
    return (*before, replace(last, count=last.count - 1)) if last.count > 1 else tuple(before)
