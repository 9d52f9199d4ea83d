"""What goes along with play: the true world beside it, the autopilot, the memory view, the way back from drift.

Owns: which of them are on, which world is shown, what is said of them. Does not own: the true world's thread
(`engine.reference_world`), pilots (`engine.autopilot`), the scores (`engine.memory`), the memory view's words
(`app.memory_panel`). UI thread; never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

import numpy as np

from worldsim.actions.bindings import Binding, Command, key_of
from worldsim.app.hud import Row
from worldsim.app.memory_panel import memory_rows
from worldsim.core.images import difference, side_by_side
from worldsim.core.types import NO_ACTION, Action, Frame, Step
from worldsim.engine.autopilot import Autopilot, AutopilotPolicy, RecordedPolicy, ReferencePolicy, ScriptPolicy
from worldsim.engine.history import HistoryNode, PlayHistory
from worldsim.engine.interfaces import LoadedWorld, SupportsContextReset
from worldsim.engine.memory import Memory
from worldsim.engine.reference_world import AlignedFrames, ReferencePhase, ReferenceStatus, ReferenceWorker
from worldsim.engine.session import Session, SessionState

MAX_TICKS_BEHIND = 3
"""So far the true world may be behind and is still shown: both pictures are then that old."""


ROWS_EVERY_S = 1.5
"""Seconds of the world: painting the memory view takes a quarter of a frame, so it is not done at every one."""


class Worlds(Enum):
    """Which is shown, in the order in which the key goes through."""

    LEARNED = "the learned world"
    BESIDE = "true | learned"
    TRUE = "the true world"
    DIFFERENCE = "difference: black is equal"


class Companions:
    """`follow` after every tick of the session, then `frame`, `lines` and `rows` say what is to be seen."""

    def __init__(
        self, session: Session, wake: Callable[[], None] = lambda: None, *, actions: Sequence[Action] = ()
    ) -> None:
        """`wake` ends the window's sleep; it is called from another thread. `actions` have control from the start."""
        self._session, self._wake = session, wake
        self._recorded = RecordedPolicy(actions) if actions else None
        self.autopilot = Autopilot(session.tell)
        session.driver = self.autopilot
        if self._recorded is not None:
            self.autopilot.give(self._recorded, NO_ACTION)
        self.worlds = Worlds.LEARNED
        self.memory = Memory()
        self._truth: ReferenceWorker | None = None
        self._loaded: LoadedWorld | None = None
        self._is_memory_shown = self._is_anchor_wanted = False
        self._head: HistoryNode | None = None
        self._shown: tuple[object, ...] = ()
        self._picture: Frame | None = None
        self._rows: tuple[Row, ...] = ()
        self._rows_of = 0

    def deeds(self) -> dict[Command, Callable[[int], None]]:
        return {
            Command.WORLDS: lambda _: self.next_worlds(),
            Command.AUTOPILOT: lambda _: self.toggle_autopilot(),
            Command.MEMORY: lambda _: self._toggle_memory(),
            Command.ANCHOR: lambda _: self.bring_back(),
        }

    def close(self) -> None:
        if self._truth is not None:
            self._truth.close()

    # ---- keys

    def next_worlds(self) -> None:
        worlds = list(Worlds)
        wanted = worlds[(worlds.index(self.worlds) + 1) % len(worlds)]
        if wanted is Worlds.LEARNED or self._start_truth():
            self.worlds = wanted

    def toggle_autopilot(self) -> None:
        if self.autopilot.pilot is not None:
            self.autopilot.take_back()
        elif self._loaded is not None:
            self.autopilot.give(self._pilot(self._loaded), self._session.inputs.expected() or NO_ACTION)

    def bring_back(self) -> None:
        """Out of drift: true pictures where the true world runs, else back to where the drift meter was content."""
        loaded, history = self._loaded, self._session.history
        if loaded is None or history is None or history.head is None or self._session.state is SessionState.REWINDING:
            return
        if self._truth is not None and isinstance(loaded.playable, SupportsContextReset):
            self._is_anchor_wanted = True
            return
        here = history.head
        last_known = _earlier(history, here, lambda drift: True)
        if last_known is not None and last_known.drift is not None and last_known.drift <= 1:
            worlds = f" ({self._key(Command.WORLDS)} starts the true world, which knows more)" if loaded.truth else ""
            self._session.tell(f"the drift meter finds nothing wrong{worlds}")
            return
        good = _earlier(history, here, lambda drift: drift <= 1)
        if good is None:
            self._session.tell("no good moment is held: back to the start")
            self._session.reset()
            return
        back_s = (here.step.index - good.step.index) * self._session.world_tick_s
        self._session.tell(f"back by {back_s:.1f} s, to the last moment without drift")
        self._session.go_to(good)

    def _toggle_memory(self) -> None:
        self._is_memory_shown, self._rows = not self._is_memory_shown, ()

    # ---- every look

    def follow(self) -> None:
        """Whatever is new in the session is told to those who go along."""
        session = self._session
        loaded = session.status.loaded
        if loaded is not None and loaded is not self._loaded:
            self._loaded, self.memory = loaded, Memory(loaded.start_frames)
        head = session.history.head if session.history is not None else None
        if head is None or session.state in (SessionState.REWINDING, SessionState.LOADING):
            return
        if head is not self._head:
            if head.step.index == 0 and self._recorded is not None:
                self._recorded.restart()
            self._head = head
            self.memory.follow(head)
        if self._truth is not None:
            self._follow_truth(self._truth, head)

    def _follow_truth(self, truth: ReferenceWorker, head: HistoryNode) -> None:
        truth.follow(head)
        status = truth.status
        if status.phase is ReferencePhase.FAILED and status.error is not None:
            self._session.tell(": ".join(filter(None, (status.error.message, status.error.hint))))
            truth.close()
            self._truth, self.worlds, self._is_anchor_wanted = None, Worlds.LEARNED, False
            return
        pair = self._level_pair(head.step)
        if pair is None:
            return
        self.memory.compare(pair, status.stride_units)
        if self._is_anchor_wanted and pair.dream is head.step and self._loaded is not None:
            make = partial(pair.anchor, self._loaded.action_spec)
            self._is_anchor_wanted = not self._session.anchor(head, make)

    def frame(self, picture: Step) -> Frame:
        """What is to be seen while play shows `picture`; the same array while nothing has changed."""
        is_beside = self.worlds is not Worlds.LEARNED and self._session.state is not SessionState.REWINDING
        pair = self._level_pair(picture) if is_beside else None
        shown = (self.worlds, picture if pair is None else pair)
        if self._picture is None or shown[0] is not self._shown[0] or shown[1] is not self._shown[1]:
            self._shown, self._picture = shown, _composed(self.worlds, picture, pair)
        return self._picture

    def lines(self, bindings: tuple[Binding, ...]) -> tuple[str, ...]:
        """Said above the status line, whatever its level."""
        found = []
        if self.autopilot.pilot is not None:
            key = key_of(Command.AUTOPILOT, bindings=bindings)
            found.append(f"autopilot: {self.autopilot.pilot.name}   {key} or any key of play takes control")
        if self.worlds is not Worlds.LEARNED:
            found.append(self._words_of_truth(self._status))
        if self._is_anchor_wanted:
            found.append("brought back as soon as the true world is level with play")
        return tuple(found)

    def rows(self, bindings: tuple[Binding, ...]) -> tuple[Row, ...]:
        """The memory view, while it is on."""
        if not self._is_memory_shown:
            return ()
        head = self._head.step if self._head is not None else None
        now = head.index if head is not None else 0
        if not self._rows or abs(now - self._rows_of) * self._session.world_tick_s >= ROWS_EVERY_S:
            pair = self._level_pair(head) if head is not None else None
            self._rows = memory_rows(self.memory, pair.psnr_db if pair else None, bindings)
            self._rows_of = now
        return self._rows

    # ---- within

    @property
    def _status(self) -> ReferenceStatus | None:
        return self._truth.status if self._truth is not None else None

    def _start_truth(self) -> bool:
        """Returns whether there is a true world, or will be."""
        if self._truth is not None:
            return True
        if self._loaded is None or self._loaded.truth is None:
            self._session.tell("there is no true world to show beside this one")
            return False
        self._truth = ReferenceWorker(self._loaded.truth, self._loaded.action_spec, self._wake)
        self._truth.start()
        return True

    def _pilot(self, loaded: LoadedWorld) -> AutopilotPolicy:
        if self._recorded is not None and self._recorded.peek() is not None:
            return self._recorded
        status = self._status
        can_walk = loaded.action_spec.pose_control is None  # an explorer needs walls that stop it
        if can_walk and status is not None and status.explorer is not None:
            return ReferencePolicy(lambda: self._status or ReferenceStatus(), self._index_now)
        return ScriptPolicy(loaded.action_spec, self._session.seed)

    def _index_now(self) -> int:
        return self._head.step.index if self._head is not None else 0

    def _level_pair(self, picture: Step) -> AlignedFrames | None:
        """The newest moment of both, unless it is too old to stand for `picture`."""
        pair = status.pair if (status := self._status) is not None else None
        return pair if pair is not None and 0 <= picture.index - pair.dream.index <= MAX_TICKS_BEHIND else None

    def _words_of_truth(self, status: ReferenceStatus | None) -> str:
        if self._session.state is SessionState.REWINDING:
            return f"{self.worlds.value}   the true world waits while you rewind"
        if status is None or status.phase is ReferencePhase.STARTING:
            return f"{self.worlds.value}   starting the true world ..."
        pair = self._level_pair(self._head.step) if self._head is not None else None
        if status.nowhere:
            return f"{self.worlds.value}   nothing to show: {status.nowhere}"
        if pair is None:
            return f"{self.worlds.value}   the true world is on its way: {status.num_left} ticks to go"
        return f"{self.worlds.value}   PSNR {pair.psnr_db:.1f} dB"

    def _key(self, command: Command) -> str:
        return key_of(command, bindings=self._session.inputs.bindings)


def _earlier(history: PlayHistory, moment: HistoryNode, is_wanted: Callable[[float], bool]) -> HistoryNode | None:
    """The last moment, this one included, of which the drift is known and wanted."""
    now: HistoryNode | None = moment
    while now is not None and (now.drift is None or not is_wanted(now.drift)):
        now = history.before(now)
    return now


def _composed(worlds: Worlds, picture: Step, pair: AlignedFrames | None) -> Frame:
    """Without a pair: the learned world, where the other would be black beside it."""
    if worlds is Worlds.BESIDE:
        true = np.zeros_like(picture.frame) if pair is None else pair.truth.frame
        return side_by_side(true, picture.frame if pair is None else pair.dream.frame)
    if worlds is Worlds.LEARNED or pair is None:
        return picture.frame
    return pair.truth.frame if worlds is Worlds.TRUE else difference(pair.truth.frame, pair.dream.frame)
