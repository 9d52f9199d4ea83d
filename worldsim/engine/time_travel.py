"""Going elsewhere in what was played: back in time, to another branch, to a save, to true pictures.

Owns: the tasks for it, and what becomes of play when they end. Does not own: pace and rewinding (`engine.session`,
which is the only one built on this), what was played (`engine.history`). UI thread; no call waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from worldsim.core.errors import WorldsimError
from worldsim.core.types import ActionSpec, Step
from worldsim.engine.history import Branch, HistoryNode, PlayHistory, replay_to
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
        self.shown_step: Step | None = None
        """What is to be seen: the newest frame, or an old one while rewinding."""
        self.notification = ""
        """How the last save or load ended, and the like; `num_news` counts them."""
        self.num_notifications = 0
        self._initial_load = load
        self._load_error: WorldsimError | None = None
        self._snapshot: Any = None
        self._on_done: Callable[[TaskResult], None] | None = None
        self._status = WorkerStatus()
        self._due_s = 0.0
        self._is_waiting = False
        self._is_step_requested = False

    @property
    def header(self) -> SessionHeader | None:
        """What a recording says of its origin; None while nothing is loaded, and for what cannot be recorded."""
        loaded = self._status.loaded
        return loaded.header if loaded is not None else None

    def notify(self, text: str) -> None:
        """Says it on the screen for a while, and once in the terminal."""
        self.notification, self.num_notifications = text, self.num_notifications + 1

    def change_branch(self, offset: int) -> Branch | None:
        """To the end of the branch `offset` further in the list. Returns: that branch; None when there is no other."""
        if not self._can_leave_present("change branches"):
            return None
        assert self.history is not None
        self._cancel_pending()
        branch = self.history.neighbor(offset)
        if branch is None:
            self.notify("there is only one branch: rewinding and playing on begins another")
            return None
        self._go_to_node(branch.tip)
        return branch

    def go_to(self, node: HistoryNode) -> None:
        """Play goes on from a moment that is held, as after a rewind."""
        if self._can_leave_present("go back"):
            self._cancel_pending()
            self._go_to_node(node)

    def reset_context(self, node: HistoryNode, make: MakeContextOverride) -> bool:
        """True pictures take the place of what the model remembers; `node` is the one that they show.

        How it ended is reported in `notification`. Returns whether it was tried: not when play has moved on from
        `node`.
        """
        if not self._can_leave_present("be brought back"):
            return False
        assert self.history is not None
        self._cancel_pending()
        if self.history.head is not node:
            return False
        self._send_context_reset(node, make, "brought back: the model now remembers the last {} true pictures")
        return True

    def reset_context_from_history(self) -> None:
        """The model's memory is lost with its device: the last pictures take its place, in another one."""
        loaded, head = self._status.loaded, self.history.head if self.history else None
        if loaded is None or head is None or not self.has_started or self._on_done is not None:
            return
        if not isinstance(loaded.playable, SupportsContextReset):
            return
        self._cancel_pending()
        make = partial(_override_from_history, loaded.playable.action_spec, head, loaded.num_context)
        self._send_context_reset(
            head, make, "the device was lost: on the CPU from here on, remembering the last {} pictures"
        )

    def _send_context_reset(self, node: HistoryNode, make: MakeContextOverride, message: str) -> None:
        made: list[ContextOverride] = []
        self._send_task(
            partial(_reset_context, make, node, made),
            lambda result: self._on_context_reset(node, made, message, result),
        )

    def _on_context_reset(
        self, node: HistoryNode, made: Sequence[ContextOverride], message: str, result: TaskResult
    ) -> None:
        assert self.history is not None
        if result.position is None:
            self.notify(result.error.message if result.error else "")
            return
        (anchor,) = made
        self.history.replace_memory(result.position.step, result.position.snapshot, anchor)
        self._on_position(result.position, node.seed, node.runs(), anchor)
        self.notify(message.format(len(anchor.actions)))

    def save(self, path: Path) -> None:
        """Writes where play stands now; play goes on. How it ended is reported in `notification`."""
        loaded = self._status.loaded
        if not self._can_leave_present("save"):
            return
        head = self.history.head if self.history else None
        if loaded is None or loaded.saves is None or loaded.header is None or head is None:
            self.notify("this world cannot be saved")
            return
        saved = SaveRecord(header=loaded.header, seed=head.seed, step=head.step, runs=head.runs(), anchor=head.anchor)
        task = partial(_write, loaded.saves, path, saved, self._snapshot)
        self._send_task(task, lambda result: self.notify(result.error.message if result.error else f"saved {path}"))

    def load(self, path: Path) -> None:
        """Goes on from a saved state. How it ended is reported in `notification`; play stays where it is if it cannot
        be had."""
        if not self._can_leave_present("load"):
            return
        if self._status.loaded is None or self._status.loaded.saves is None:
            self.notify("this world cannot be saved")
            return
        self._cancel_pending()
        found: list[SaveRecord] = []
        task = partial(_read, self._status.loaded.saves, path, found)
        self._send_task(task, lambda result: self._on_loaded(path, found, result))

    def _on_loaded(self, path: Path, found: Sequence[SaveRecord], result: TaskResult) -> None:
        if result.error is not None:
            self.notify(result.error.message)
            if not self.has_started:
                self.state, self._load_error = SessionState.FAILED, result.error
            return
        assert self.history is not None and result.position is not None
        (saved,) = found
        self.history.begin(saved.step, result.position.snapshot, saved.seed, saved.runs, path.stem, saved.anchor)
        self._on_position(result.position, saved.seed, saved.runs, saved.anchor)
        self.notify(f"loaded {path}")

    def _start_from_save(self) -> None:
        """The world is there: the save takes the place of its first frame."""
        path, self._initial_load = self._initial_load, None
        loaded = self._status.loaded
        assert path is not None and loaded is not None and loaded.saves is not None, "--load needs a world with saves"
        found: list[SaveRecord] = []
        self._send_task(partial(_read, loaded.saves, path, found), lambda result: self._on_loaded(path, found, result))

    def _can_leave_present(self, what: str) -> bool:
        """Whether time can be left now; says why, where it never can."""
        can_leave = (SessionState.PLAYING, SessionState.PAUSED, SessionState.FAILED)
        if self.state not in can_leave or not self.has_started or self._on_done is not None:
            return False
        if self.history is None or self.history.head is None:
            self.notify(f"this world cannot {what}")
            return False
        return True

    def _cancel_pending(self) -> None:
        """No frame is asked for any more; one that has already come still counts."""
        late = self.worker.cancel()
        self._is_waiting = self._is_step_requested = False
        if late is not None:
            self._take(late)

    def _go_to_node(self, node: HistoryNode) -> None:
        """Play shall go on from `node`."""
        assert self.history is not None
        self._send_task(partial(replay_to, self.history.route(node)), lambda result: self._on_arrived(node, result))

    def _on_arrived(self, node: HistoryNode, result: TaskResult) -> None:
        assert self.history is not None and self.history.head is not None
        if result.position is None:
            self.notify(result.error.message if result.error else "")
            self.shown_step = self.history.head.step
            if self._status.phase is WorkerPhase.FAILED:
                self.state = SessionState.FAILED
            return
        self.history.move_to(node, result.position.snapshot)
        self._on_position(result.position, node.seed, node.runs(), node.anchor)

    def _on_position(
        self, position: Position, seed: int, runs: Sequence[ActionRun], anchor: ContextOverride | None
    ) -> None:
        self.seed, self.shown_step, self._snapshot = seed, position.step, position.snapshot
        if self.header is not None:
            self.recorder.continue_from(position.step, seed, runs, self.header, anchor)
        self.inputs.clear_taps()
        self._due_s = 0.0
        if not self.has_started or self.state is SessionState.FAILED:
            self._start()

    def _send_task(self, task: Task, on_done: Callable[[TaskResult], None]) -> None:
        self._on_done = on_done
        self.worker.send_task(task)

    def _take(self, step: Step) -> None:
        """A new frame is there."""
        self._snapshot, self.shown_step, self._is_waiting = self.worker.snapshot, step, False
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


def _reset_context(
    make: MakeContextOverride, node: HistoryNode, made: list[ContextOverride], playable: SimulatorProtocol
) -> Position:
    assert isinstance(playable, SupportsContextReset), "a true world needs no anchor"
    anchor = make()
    reset_step = playable.reset_context(anchor, node.seed)
    made.append(anchor)
    step = replace(
        node.step, frame=reset_step.frame, device=reset_step.device, estimated_pose=reset_step.estimated_pose
    )
    return Position(step=step, snapshot=playable.snapshot())


def _override_from_history(spec: ActionSpec, head: HistoryNode, num_frames: int) -> ContextOverride:
    steps, now = list[Step](), head
    while len(steps) < num_frames:
        steps.append(now.step)
        if now.parent is None:
            break
        now = now.parent
    steps.reverse()
    vectors = [tuple(map(float, spec.encode(step.action))) for step in steps]
    return ContextOverride.from_frames(head.step.index, [step.frame for step in steps], vectors)


def _write(saves: SaveStore, path: Path, saved: SaveRecord, snapshot: Any, playable: SimulatorProtocol) -> None:
    saves.write(path, saved, snapshot)


def _read(saves: SaveStore, path: Path, found: list[SaveRecord], playable: SimulatorProtocol) -> Position:
    saved, position = saves.read(path)
    found.append(saved)
    return position
