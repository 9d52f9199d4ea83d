"""The session's state over the picture: lines above the status line, and the list of branches or save slots.

Pure; UI thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path

from worldsim.actions.bindings import BINDINGS, Binding, Command
from worldsim.app.hud import InlineImage, PanelRow, Style
from worldsim.app.key_labels import key_for
from worldsim.core.clock import Clock
from worldsim.core.errors import WorldsimError
from worldsim.engine.history import Branch, PlayHistory
from worldsim.engine.recorder import new_recording_folder
from worldsim.engine.saves import NUM_SLOTS, SaveSlot, list_slots, slot_path
from worldsim.engine.session import Session, SessionState
from worldsim.episodes.writer import SessionWriter, WriterState

_log = logging.getLogger(__name__)

TOAST_DURATION_S = 4.0
SIDE_PANEL_DURATION_S = 4.0
MAX_BRANCHES = 12
"""Rows in the list; the branches nearest to the current one are shown."""


class Notifications:
    """The latest message, from the session or from `post`; each is logged once and shown for some seconds."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._clock, self._until_ns = clock, 0
        self._text, self._has_new = "", False
        session.on_notify = self.post

    def post(self, text: str) -> None:
        self._text, self._has_new = text, True
        self._until_ns = self._clock.now_ns() + round(TOAST_DURATION_S * 1e9)
        _log.info(text)

    def update(self) -> bool:
        """Returns: whether a message arrived since the last call."""
        has_new, self._has_new = self._has_new, False
        return has_new

    @property
    def text(self) -> str:
        return self._text if self._clock.now_ns() < self._until_ns else ""


class RecordingControl:
    """Starts and stops recording, and keeps the reason why it could not start. "Saved" is shown for some seconds."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session, self._clock, self._error = session, clock, ""
        self._completed: tuple[SessionWriter, int] | None = None
        """The last complete recording, and when it was seen to be complete."""

    def toggle(self) -> None:
        session = self._session
        if session.recorder.is_recording:
            session.recorder.stop()
            return
        self._error = ""
        if session.status.loaded is None:
            session.notify("the world is still loading")
            return
        if session.header is None:
            self._error = "recording is not available in this world"
            return
        try:
            session.recorder.start(new_recording_folder(session.header.preset), session.header)
        except WorldsimError as error:
            self._error = f"{error.message}: {error.hint}"

    @property
    def line(self) -> str:
        """Empty when there is nothing to show."""
        recorder = self._session.recorder
        recorder.report_state()
        return self._error or ("" if self._is_old_news(recorder.writer) else recorder.status_text)

    def _is_old_news(self, writer: SessionWriter | None) -> bool:
        if writer is None or writer.state is not WriterState.COMPLETE:
            return False
        if self._completed is None or self._completed[0] is not writer:
            self._completed = writer, self._clock.now_ns()
        return self._clock.now_ns() - self._completed[1] > TOAST_DURATION_S * 1e9


def time_line(session: Session) -> str:
    """Rewind, speed and branch; empty during normal play."""
    parts = []
    if session.state is SessionState.REWINDING:
        parts.append(f"rewinding: {session.rewound_s:.1f} s back")
    if session.speed != 1.0:
        parts.append(f"speed {session.speed:g}x")
    history = session.history
    if history is not None and history.head is not None and len(history.branches) > 1:
        parts.append(f"branch {history.head.branch}")
    return "   ".join(parts)


class SidePanelMode(Enum):
    NONE = "none"
    BRANCHES = "branches"
    SLOTS = "slots"


class SidePanel:
    """Which list is shown, for how long, and which save slot is selected."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session, self._clock = session, clock
        self._mode = SidePanelMode.NONE
        self._until_ns: int | None = None
        self._slot = 1
        self._slots: tuple[SaveSlot, ...] = ()

    def rows(self, now_ns: int, bindings: tuple[Binding, ...] = BINDINGS) -> tuple[PanelRow, ...]:
        if self._until_ns is not None and now_ns >= self._until_ns:
            self._mode, self._until_ns = SidePanelMode.NONE, None
        if self._mode is SidePanelMode.BRANCHES:
            return branch_rows(self._session.history, self._session.world_tick_s, bindings)
        is_slots = self._mode is SidePanelMode.SLOTS
        return slot_rows(self._slots, self._slot, self._session.world_tick_s, bindings) if is_slots else ()

    def refresh(self) -> None:
        """Reads the slots again: one may have been written."""
        if self._mode is SidePanelMode.SLOTS:
            self._slots = self._list_slots()

    def change_branch(self, offset: int) -> None:
        self._session.change_branch(offset)
        if self._mode is not SidePanelMode.BRANCHES:
            self._show(SidePanelMode.BRANCHES)

    def toggle_branches(self) -> None:
        is_shown = self._mode is SidePanelMode.BRANCHES and self._until_ns is None
        self._mode, self._until_ns = SidePanelMode.NONE if is_shown else SidePanelMode.BRANCHES, None

    def next_slot(self) -> None:
        """The first press only shows the slots."""
        if self._mode is SidePanelMode.SLOTS:
            self._slot = self._slot % NUM_SLOTS + 1
        self._slots = self._list_slots()
        self._show(SidePanelMode.SLOTS)

    def with_slot(self, do: Callable[[Path], None]) -> None:
        header = self._session.header
        if header is not None:
            do(slot_path(header.preset, self._slot))

    def _show(self, mode: SidePanelMode) -> None:
        self._mode, self._until_ns = mode, self._clock.now_ns() + round(SIDE_PANEL_DURATION_S * 1e9)

    def _list_slots(self) -> tuple[SaveSlot, ...]:
        header = self._session.header
        return list_slots(header.preset) if header is not None else ()


def branch_rows(
    history: PlayHistory | None, tick_s: float, bindings: tuple[Binding, ...] = BINDINGS
) -> tuple[PanelRow, ...]:
    """The tree of branches, one row each, with the current one marked."""
    title = PanelRow("Branches", style=Style.STRONG)
    if history is None or history.head is None:
        return (title, PanelRow("Rewind is not available in this world"))
    branches = list(history.branches.values())
    here = next((index for index, b in enumerate(branches) if b.number == history.head.branch), 0)
    begin = min(max(0, here - MAX_BRANCHES // 2), max(0, len(branches) - MAX_BRANCHES))
    rows = [_branch_row(history, branch, tick_s) for branch in branches[begin : begin + MAX_BRANCHES]]
    previous, following = key_for(Command.BRANCH, -1, bindings), key_for(Command.BRANCH, 1, bindings)
    return (title, *rows, PanelRow(f"{previous} {following} switch branch", style=Style.MUTED))


def slot_rows(
    slots: Iterable[SaveSlot], chosen: int, tick_s: float, bindings: tuple[Binding, ...] = BINDINGS
) -> tuple[PanelRow, ...]:
    rows = [PanelRow(f"Slot {chosen} of {NUM_SLOTS}", style=Style.STRONG)]
    for slot in slots:
        mark = "> " if slot.number == chosen else "   "
        image = None
        if slot.saved is not None:
            frame = slot.saved.step.frame
            image = InlineImage(frame.shape[1], frame.shape[0], frame.tobytes())
            text = f"{_mmss(slot.saved.step.index * tick_s)}, seed {slot.saved.seed}"
        else:
            text = "damaged" if slot.error else "empty"
        style = Style.ERROR if slot.error else Style.PLAIN if slot.number == chosen else Style.MUTED
        rows.append(PanelRow(f"{mark}{slot.number}  {text}", style=style, image=image))
    save, load = key_for(Command.SAVE, bindings=bindings), key_for(Command.LOAD, bindings=bindings)
    return (*rows, PanelRow(f"{save} save · {load} load", style=Style.MUTED))


def _branch_row(history: PlayHistory, branch: Branch, tick_s: float) -> PanelRow:
    is_here = history.head is not None and history.head.branch == branch.number
    origin = branch.label or f"seed {branch.tip.seed}" if branch.parent is None else f"from branch {branch.parent}"
    begin_s, end_s = branch.first_index * tick_s, branch.tip.step.index * tick_s
    indent = ("> " if is_here else "   ") + "   " * history.depth(branch)
    text = f"{indent}{branch.number}: {origin} at {_mmss(begin_s)}, length {_mmss(end_s - begin_s)}"
    return PanelRow(text, style=Style.PLAIN if is_here else Style.MUTED)


def _mmss(duration_s: float) -> str:
    minutes, seconds = divmod(int(duration_s), 60)
    return f"{minutes}:{seconds:02d}"
