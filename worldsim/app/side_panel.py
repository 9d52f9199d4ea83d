"""The list beside the picture: branches or slots, which of them is shown, which slot is chosen.

Owns: what is shown and for how long. Does not own: the words (`app.timeline`), what a save is (`engine.saves`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from worldsim.actions.bindings import BINDINGS, Binding
from worldsim.app.hud import Row
from worldsim.app.timeline import branch_rows, slot_rows
from worldsim.core.clock import Clock
from worldsim.engine.saves import NUM_SLOTS, SaveSlot, list_slots, slot_path
from worldsim.engine.session import Session

SHOWN_S = 4.0


class Side(Enum):
    NONE = "none"
    BRANCHES = "branches"
    SLOTS = "slots"


class SideList:
    def __init__(self, session: Session, clock: Clock) -> None:
        self._session, self._clock = session, clock
        self._side = Side.NONE
        self._until_ns: int | None = None
        self._slot = 1
        self._slots: tuple[SaveSlot, ...] = ()

    def rows(self, now_ns: int, bindings: tuple[Binding, ...] = BINDINGS) -> tuple[Row, ...]:
        if self._until_ns is not None and now_ns >= self._until_ns:
            self._side, self._until_ns = Side.NONE, None
        if self._side is Side.BRANCHES:
            return branch_rows(self._session.history, self._session.world_tick_s, bindings)
        is_slots = self._side is Side.SLOTS
        return slot_rows(self._slots, self._slot, self._session.world_tick_s, bindings) if is_slots else ()

    def refresh(self) -> None:
        """A slot may have been written."""
        if self._side is Side.SLOTS:
            self._slots = self._list_slots()

    def change_branch(self, offset: int) -> None:
        self._session.change_branch(offset)
        if self._side is not Side.BRANCHES:
            self._show(Side.BRANCHES)

    def toggle_branches(self) -> None:
        is_shown = self._side is Side.BRANCHES and self._until_ns is None
        self._side, self._until_ns = Side.NONE if is_shown else Side.BRANCHES, None

    def next_slot(self) -> None:
        """The first press only shows them."""
        if self._side is Side.SLOTS:
            self._slot = self._slot % NUM_SLOTS + 1
        self._slots = self._list_slots()
        self._show(Side.SLOTS)

    def with_slot(self, do: Callable[[Path], None]) -> None:
        header = self._session.header
        if header is not None:
            do(slot_path(header.preset, self._slot))

    def _show(self, side: Side) -> None:
        """For a while."""
        self._side, self._until_ns = side, self._clock.now_ns() + round(SHOWN_S * 1e9)

    def _list_slots(self) -> tuple[SaveSlot, ...]:
        header = self._session.header
        return list_slots(header.preset) if header is not None else ()
