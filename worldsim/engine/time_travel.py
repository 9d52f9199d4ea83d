"""Going elsewhere in what was played: back in time, to another branch, to a save, to true pictures.

Owns: the errands for it, and what becomes of play when they end. Does not own: pace and rewinding (`engine.session`,
which is the only one built on this), what was played (`engine.history`). UI thread; no call waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from worldsim.actions.encoding import encode_action
from worldsim.core.errors import WorldsimError
from worldsim.core.types import ActionSpec, Step
from worldsim.engine.history import Branch, HistoryNode, PlayHistory, retrace
from worldsim.engine.inputs import Inputs
from worldsim.engine.interfaces import Position, SaveStore, SimulatorProtocol, SupportsContextReset
from worldsim.engine.messages import Task, TaskResult, WorkerPhase, WorkerStatus
from worldsim.engine.recorder import Recorder
from worldsim.engine.saves import SaveRecord
from worldsim.engine.worker import Worker
from worldsim.episodes.context_override import ContextOverride
from worldsim.episodes.format import ActionRun, SessionHeader

MakeContextOverride = Callable[[], ContextOverride]
"""Runs in the model thread: packing pictures takes a while."""


class SessionState(Enum):
    LOADING = "loading"
    PLAYING = "playing"
    PAUSED = "paused"
    REWINDING = "rewinding"
    FAILED = "failed"


class TimeTravel:
    """Where play stands, and the ways to elsewhere."""

    def __init__(self, worker: Worker, seed: int, recorder: Recorder | None, load: Path | None) -> None:
        self.recorder = recorder or Recorder()
        self.worker = worker
        self.seed = seed
        self.state = SessionState.LOADING
        self.inputs = Inputs()
        self.has_started = False
        """Whether there has been a frame since the last reset."""
        self.history: PlayHistory | None = None
        self.picture: Step | None = None
        """What is to be seen: the newest frame, or an old one while rewinding."""
        self.news = ""
        """How the last save or load ended, and the like; `num_news` counts them."""
        self.num_news = 0
        self._first_load = load
        self._load_error: WorldsimError | None = None
        self._snapshot: Any = None
        self._when_done: Callable[[TaskResult], None] | None = None
        self._status = WorkerStatus()
        self._due_s = 0.0
        self._is_waiting = False
        self._is_step_asked = False

    @property
    def header(self) -> SessionHeader | None:
        """What a recording says of its origin; None while nothing is loaded, and for what cannot be recorded."""
        loaded = self._status.loaded
        return loaded.header if loaded is not None else None

    def tell(self, text: str) -> None:
        """Says it on the screen for a while, and once in the terminal."""
        self.news, self.num_news = text, self.num_news + 1

    def change_branch(self, offset: int) -> Branch | None:
        """To the end of the branch `offset` further in the list. Returns: that branch; None when there is no other."""
        if not self._can_travel("change branches"):
            return None
        assert self.history is not None
        self._withdraw()
        branch = self.history.neighbour(offset)
        if branch is None:
            self.tell("there is only one branch: rewinding and playing on begins another")
            return None
        self._travel(branch.tip)
        return branch

    def go_to(self, moment: HistoryNode) -> None:
        """Play goes on from a moment that is held, as after a rewind."""
        if self._can_travel("go back"):
            self._withdraw()
            self._travel(moment)

    def anchor(self, moment: HistoryNode, make: MakeContextOverride) -> bool:
        """True pictures take the place of what the model remembers; `moment` is the one that they show.

        How it ended is told in `news`. Returns whether it was tried: not when play has moved on from `moment`.
        """
        if not self._can_travel("be brought back"):
            return False
        assert self.history is not None
        self._withdraw()
        if self.history.head is not moment:
            return False
        self._send_anchor(moment, make, "brought back: the model now remembers the last {} true pictures")
        return True

    def go_on_from_pictures(self) -> None:
        """The model's memory is lost with its device: the last pictures take its place, in another one."""
        loaded, head = self._status.loaded, self.history.head if self.history else None
        if loaded is None or head is None or not self.has_started or self._when_done is not None:
            return
        if not isinstance(loaded.playable, SupportsContextReset):
            return
        self._withdraw()
        make = partial(_anchor_of_pictures, loaded.playable.action_spec, head, loaded.num_context)
        self._send_anchor(head, make, "the device was lost: on the CPU from here on, remembering the last {} pictures")

    def _send_anchor(self, moment: HistoryNode, make: MakeContextOverride, words: str) -> None:
        made: list[ContextOverride] = []
        self._send(partial(_anchor, make, moment, made), lambda done: self._anchored(moment, made, words, done))

    def _anchored(self, moment: HistoryNode, made: Sequence[ContextOverride], words: str, done: TaskResult) -> None:
        assert self.history is not None
        if done.arrival is None:
            self.tell(done.error.message if done.error else "")
            return
        (anchor,) = made
        self.history.replace_memory(done.arrival.step, done.arrival.snapshot, anchor)
        self._arrive(done.arrival, moment.seed, moment.runs(), anchor)
        self.tell(words.format(len(anchor.actions)))

    def save(self, path: Path) -> None:
        """Writes where play stands now; play goes on. How it ended is told in `news`."""
        loaded = self._status.loaded
        if not self._can_travel("save"):
            return
        head = self.history.head if self.history else None
        if loaded is None or loaded.saves is None or loaded.header is None or head is None:
            self.tell("this world cannot be saved")
            return
        saved = SaveRecord(header=loaded.header, seed=head.seed, step=head.step, runs=head.runs(), anchor=head.anchor)
        errand = partial(_write, loaded.saves, path, saved, self._snapshot)
        self._send(errand, lambda done: self.tell(done.error.message if done.error else f"saved {path}"))

    def load(self, path: Path) -> None:
        """Goes on from a saved state. How it ended is told in `news`; play stays where it is if it cannot be had."""
        if not self._can_travel("load"):
            return
        if self._status.loaded is None or self._status.loaded.saves is None:
            self.tell("this world cannot be saved")
            return
        self._withdraw()
        found: list[SaveRecord] = []
        errand = partial(_read, self._status.loaded.saves, path, found)
        self._send(errand, lambda done: self._loaded(path, found, done))

    def _loaded(self, path: Path, found: Sequence[SaveRecord], done: TaskResult) -> None:
        if done.error is not None:
            self.tell(done.error.message)
            if not self.has_started:
                self.state, self._load_error = SessionState.FAILED, done.error
            return
        assert self.history is not None and done.arrival is not None
        (saved,) = found
        self.history.begin(saved.step, done.arrival.snapshot, saved.seed, saved.runs, path.stem, saved.anchor)
        self._arrive(done.arrival, saved.seed, saved.runs, saved.anchor)
        self.tell(f"loaded {path}")

    def _begin_with_load(self) -> None:
        """The world is there: the save takes the place of its first frame."""
        path, self._first_load = self._first_load, None
        loaded = self._status.loaded
        assert path is not None and loaded is not None and loaded.saves is not None, "--load needs a world with saves"
        found: list[SaveRecord] = []
        self._send(partial(_read, loaded.saves, path, found), lambda done: self._loaded(path, found, done))

    def _can_travel(self, what: str) -> bool:
        """Whether time can be left now; says why, where it never can."""
        can_leave = (SessionState.PLAYING, SessionState.PAUSED, SessionState.FAILED)
        if self.state not in can_leave or not self.has_started or self._when_done is not None:
            return False
        if self.history is None or self.history.head is None:
            self.tell(f"this world cannot {what}")
            return False
        return True

    def _withdraw(self) -> None:
        """No frame is asked for any more; one that has already come still counts."""
        late = self.worker.cancel()
        self._is_waiting = self._is_step_asked = False
        if late is not None:
            self._take(late)

    def _travel(self, moment: HistoryNode) -> None:
        """Play shall go on from `moment`."""
        assert self.history is not None
        self._send(partial(retrace, self.history.route(moment)), lambda done: self._travelled(moment, done))

    def _travelled(self, moment: HistoryNode, done: TaskResult) -> None:
        assert self.history is not None and self.history.head is not None
        if done.arrival is None:
            self.tell(done.error.message if done.error else "")
            self.picture = self.history.head.step
            if self._status.phase is WorkerPhase.FAILED:
                self.state = SessionState.FAILED
            return
        self.history.go(moment, done.arrival.snapshot)
        self._arrive(done.arrival, moment.seed, moment.runs(), moment.anchor)

    def _arrive(self, arrival: Position, seed: int, runs: Sequence[ActionRun], anchor: ContextOverride | None) -> None:
        self.seed, self.picture, self._snapshot = seed, arrival.step, arrival.snapshot
        if self.header is not None:
            self.recorder.jump(arrival.step, seed, runs, self.header, anchor)
        self.inputs.settle()
        self._due_s = 0.0
        if not self.has_started or self.state is SessionState.FAILED:
            self._start()

    def _send(self, errand: Task, when_done: Callable[[TaskResult], None]) -> None:
        self._when_done = when_done
        self.worker.send(errand)

    def _take(self, step: Step) -> None:
        """A new frame is there."""
        self._snapshot, self.picture, self._is_waiting = self.worker.snapshot, step, False
        if self.header is not None:
            self.recorder.add(step, self.seed, self.header)
        if self.history is not None and (self.history.head is None or not self.has_started):
            self.history.begin(step, self._snapshot, self.seed)
        elif self.history is not None:
            self.history.add(step, self._snapshot)
        if not self.has_started:
            self._start()

    def _start(self) -> None:
        self.has_started = True
        self.state = SessionState.PLAYING
        self._due_s = 0.0


def _anchor(
    make: MakeContextOverride, moment: HistoryNode, made: list[ContextOverride], playable: SimulatorProtocol
) -> Position:
    assert isinstance(playable, SupportsContextReset), "a true world needs no anchor"
    anchor = make()
    stand = playable.anchor(anchor, moment.seed)
    made.append(anchor)
    step = replace(moment.step, frame=stand.frame, device=stand.device, estimated_pose=stand.estimated_pose)
    return Position(step=step, snapshot=playable.snapshot())


def _anchor_of_pictures(spec: ActionSpec, head: HistoryNode, num_frames: int) -> ContextOverride:
    steps, now = list[Step](), head
    while len(steps) < num_frames:
        steps.append(now.step)
        if now.parent is None:
            break
        now = now.parent
    steps.reverse()
    vectors = [tuple(map(float, encode_action(spec, step.action))) for step in steps]
    return ContextOverride.from_frames(head.step.index, [step.frame for step in steps], vectors)


def _write(saves: SaveStore, path: Path, saved: SaveRecord, snapshot: Any, playable: SimulatorProtocol) -> None:
    saves.write(path, saved, snapshot)


def _read(saves: SaveStore, path: Path, found: list[SaveRecord], playable: SimulatorProtocol) -> Position:
    saved, arrival = saves.read(path)
    found.append(saved)
    return arrival
