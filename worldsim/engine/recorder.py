"""Records play: receives every Step, starts and stops a SessionWriter. Torch-free; runs in the caller's thread.

It keeps the actions since the last reset, so that a recording can start in the middle of play and still be replayed
from the reset.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldsim.core.errors import WorldsimError
from worldsim.core.types import Step
from worldsim.engine.interfaces import Position
from worldsim.episodes.format import (
    RECORDINGS_FOLDER,
    ActionRun,
    ContextOverride,
    EpisodeStart,
    FrameRow,
    SessionHeader,
    frame_hash,
)
from worldsim.episodes.writer import SessionWriter, WriterState

_log = logging.getLogger(__name__)


class Recorder:
    """`add` receives every frame of play; `start` and `stop` may be called at any time.

    Without a header nothing can be recorded, and frames are ignored.
    """

    def __init__(
        self,
        header: SessionHeader | None = None,
        *,
        folder: Path | None = None,
        is_lossless: bool = False,
    ) -> None:
        """`folder`: records there from the first frame."""
        self.header = header
        self._first_folder = folder
        self.writer: SessionWriter | None = None
        self.is_lossless = is_lossless
        """Applies to the next `start`."""
        self._old_writers: list[SessionWriter] = []
        self._seed = 0
        self._runs: list[ActionRun] = []
        self._override: ContextOverride | None = None
        self._last: tuple[FrameRow, Step] | None = None
        self._device = ""
        """Device of the last frame; empty if it is the header's."""
        self._last_reported_state: WriterState | None = None

    @property
    def is_recording(self) -> bool:
        return self.writer is not None and self.writer.state is WriterState.RECORDING

    @property
    def status_text(self) -> str:
        """One line for the screen; empty if there is nothing to report."""
        writer = self.writer
        if writer is None:
            return ""
        if writer.state is WriterState.RECORDING:
            return f"recording {writer.folder}: {writer.counters.frames} frames"
        if writer.state is WriterState.FAILED and writer.error is not None:
            return f"{writer.error.message}; {writer.error.hint}"
        return f"{'saving' if writer.state is WriterState.FINALIZING else 'saved'} {writer.folder}"

    @property
    def error(self) -> WorldsimError | None:
        return self.writer.error if self.writer is not None else None

    def add(self, step: Step, seed: int, header: SessionHeader | None = None) -> None:
        """`seed`: that of the reset which `step` follows. `header`: for a recorder created without one.

        Raises, on the first frame only: as `start`.
        """
        self.header = header or self.header
        if self.header is None:
            return
        self._start_first_folder()
        row, device = self._row(step, self.header), self._device_override(step.device)
        if step.index == 0:
            self._seed, self._runs, self._override = seed, [], None
        elif self._runs and self._runs[-1].extends(row.action, row.num_steps, device):
            self._runs[-1] = replace(self._runs[-1], count=self._runs[-1].count + 1)
        else:
            self._runs.append(ActionRun(action=row.action, num_steps=row.num_steps, device=device, count=1))
        is_device_new, self._device = device != self._device, device
        self._last = (row, step)
        if self.writer is not None and self.is_recording:
            if step.index == 0 or is_device_new:
                self._begin_episode(row, step)
            else:
                self.writer.add_frame(row, step.frame)
        self.report_state()

    def start(self, folder: Path, header: SessionHeader | None = None) -> None:
        """Record from the current frame, or from the next one. Raises: UsageError, StorageError."""
        self.header = header or self.header
        assert self.header is not None, "a recording needs a header"
        self.stop()
        if self.writer is not None:
            self._old_writers.append(self.writer)
        self.writer = SessionWriter(folder, self.header, is_lossless=self.is_lossless)
        if self._last is not None:
            self._begin_episode(*self._last)
        self.report_state()

    def continue_from(self, position: Position) -> None:
        """Play continues from `position`: after a rewind, a load, a change of branch or a context reset.

        Recorded frames stay, for they were played. A new episode begins with `position.runs` as its start, so that a
        replay reproduces it from the reset. Raises: as `start`, if recording was to begin with the first frame.
        """
        if self.header is None:
            return
        self._runs = [replace(run, device=self._device_override(run.device)) for run in position.runs]
        self._seed, self._override = position.seed, position.override
        self._device = self._device_override(position.step.device)
        self._last = (self._row(position.step, self.header), position.step)
        if not self._start_first_folder() and self.is_recording:
            self._begin_episode(*self._last)
        self.report_state()

    def position(self, snapshot: Any) -> Position:
        """The last frame added, with `snapshot` as its state."""
        assert self._last is not None, "no frame has been added"
        runs = tuple(self._runs)
        return Position(step=self._last[1], snapshot=snapshot, seed=self._seed, runs=runs, override=self._override)

    def stop(self) -> None:
        if self.writer is not None:
            self.writer.stop()

    def wait_for_room(self) -> None:
        """For non-interactive callers, which would rather wait than lose a frame."""
        if self.writer is not None:
            self.writer.wait_for_room()

    def close(self) -> None:
        """Waits until every file is finished. Raises: nothing; `error` holds what went wrong."""
        for writer in (*self._old_writers, self.writer):
            if writer is not None:
                writer.close()
        self.report_state()

    def report_state(self) -> None:
        """Logs a change of state, once."""
        state = self.writer.state if self.writer is not None else None
        if state is not self._last_reported_state:
            self._last_reported_state = state
            _log.log(logging.WARNING if self.error else logging.INFO, "%s", self.status_text)

    def _start_first_folder(self) -> bool:
        """Whether this began the recording that was asked for at construction."""
        folder, self._first_folder = self._first_folder, None
        if folder is not None:
            self.start(folder)
        return folder is not None

    def _row(self, step: Step, header: SessionHeader) -> FrameRow:
        return FrameRow(
            action=tuple(map(float, header.action_spec.encode(step.action))),
            num_steps=step.num_steps,
            t_input_ns=step.t_input_ns,
            t_ready_ns=step.t_ready_ns,
            frame_hash=frame_hash(step.frame) if self.is_recording else "",
        )

    def _begin_episode(self, row: FrameRow, step: Step) -> None:
        """Begins with the current frame."""
        assert self.writer is not None
        start = EpisodeStart(
            seed=self._seed,
            first_index=step.index,
            prelude=_without_last_action(self._runs),
            anchor=self._override,
            device=self._device,
        )
        self.writer.begin_episode(start)
        self.writer.add_frame(replace(row, frame_hash=frame_hash(step.frame)), step.frame)

    def _device_override(self, device: str) -> str:
        return "" if self.header is None or device == self.header.device else device


def new_recording_folder(preset: str) -> Path:
    """An unused path named after the preset and the time."""
    stem = f"{Path(preset).name}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem, *(f"{stem}-{n}" for n in range(2, 1000)))
    return next(path for path in (RECORDINGS_FOLDER / name for name in names) if not path.exists())


def _without_last_action(runs: list[ActionRun]) -> tuple[ActionRun, ...]:
    """Actions that led to the frame before the current one: the current frame's own action is in its row."""
    if not runs:
        return ()
    *before, last = runs
    return (*before, replace(last, count=last.count - 1)) if last.count > 1 else tuple(before)
