"""The list beside the picture: branches or slots, which of them is shown, which slot is chosen.

Owns: what is shown and for how long. Does not own: the words (`app.timeline`), what a save is (`engine.saves`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from worldsim.actions.bindings import BINDINGS, Binding
from worldsim.app.hud import PanelRow
from worldsim.app.timeline import branch_rows, slot_rows
from worldsim.core.clock import Clock
from worldsim.engine.saves import NUM_SLOTS, SaveSlot, list_slots, slot_path
from worldsim.engine.session import Session

SIDE_PANEL_DURATION_S = 4.0


class SidePanelMode(Enum):
    NONE = "none"
    BRANCHES = "branches"
    SLOTS = "slots"


class SidePanel:
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
        """A slot may have been written."""
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
        """The first press only shows them."""
        if self._mode is SidePanelMode.SLOTS:
            self._slot = self._slot % NUM_SLOTS + 1
        self._slots = self._list_slots()
        self._show(SidePanelMode.SLOTS)

    def with_slot(self, do: Callable[[Path], None]) -> None:
        header = self._session.header
        if header is not None:
            do(slot_path(header.preset, self._slot))

    def _show(self, mode: SidePanelMode) -> None:
        """For a while."""
        self._mode, self._until_ns = mode, self._clock.now_ns() + round(SIDE_PANEL_DURATION_S * 1e9)

    def _list_slots(self) -> tuple[SaveSlot, ...]:
        header = self._session.header
        return list_slots(header.preset) if header is not None else ()
