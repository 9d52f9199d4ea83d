"""Play as a state machine with a schedule: when a tick is due, which action it takes, and where play is in its history.

It knows no windows and no clock: the caller says how much time has passed. UI thread; no call waits for the model.

While rewinding, only stored frames are shown. When the key is released, the worker recomputes the state of the frame
shown from the nearest snapshot before it, and play continues from there as it would have the first time. Changing
branches, loading and resetting the context work the same way: a task in the worker moves the world, and its result
becomes the head of the history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from worldsim.actions.bindings import available_bindings
from worldsim.core.errors import DeviceError, WorldsimError
from worldsim.core.types import NO_ACTION, ActionSpec, Step
from worldsim.engine.autopilot import Autopilot
from worldsim.engine.history import Branch, HistoryNode, PlayHistory, replay_to
from worldsim.engine.inputs import Inputs
from worldsim.engine.interfaces import LoadedWorld, Position, SimulatorProtocol, SupportsContextReset
from worldsim.engine.recorder import Recorder
from worldsim.engine.saves import SaveRecord
from worldsim.engine.worker import Task, TaskResult, Worker, WorkerPhase, WorkerStatus
from worldsim.episodes.format import ContextOverride, SessionHeader

MAX_CATCH_UP_TICKS = 2
"""Ticks that may follow at once after a stall. Time beyond that is dropped: the world slows down."""
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
MAX_REWIND_PACE = 8
"""Rewinding starts at the world's own pace and doubles every second, up to this: a minute takes ten seconds."""

MakeContextOverride = Callable[[], ContextOverride]
"""Runs in the model thread, because compressing frames takes time."""


class SessionState(Enum):
    LOADING = "loading"
    PLAYING = "playing"
    PAUSED = "paused"
    REWINDING = "rewinding"
    FAILED = "failed"


class Session:
    """`tick` drives it; the other methods are the commands of keys and menus."""

    def __init__(
        self,
        worker: Worker,
        *,
        seed: int = 0,
        ticks_per_s: float | None = None,
        recorder: Recorder | None = None,
        load: Path | None = None,
    ) -> None:
        """`ticks_per_s`: overrides the world's pace. `recorder` receives every frame. `load`: a save to start from."""
        self.worker = worker
        self.recorder = recorder or Recorder()
        self.seed = seed
        self.state = SessionState.LOADING
        self.inputs = Inputs()
        self.autopilot = Autopilot(self.notify)
        """Chooses the action of each tick from the player's."""
        self.last_action = NO_ACTION
        """The last action taken. With pose control these are the keys; the frame's own action is then the pose."""
        self.speed = 1.0
        self.history: PlayHistory | None = None
        self.shown_step: Step | None = None
        """The frame to show: the newest one, or an old one while rewinding."""
        self.has_started = False
        """Whether there has been a frame since the last reset."""
        self.notification = ""
        """The last message for the player."""
        self.on_notify: Callable[[str], None] = lambda text: None
        """Receives every message for the player."""
        self._status = WorkerStatus()
        self._pace_per_s = ticks_per_s
        self._due_s = 0.0
        self._snapshot: Any = None
        self._is_waiting = False
        """Whether a frame has been requested."""
        self._is_step_requested = False
        self._on_done: Callable[[TaskResult], None] | None = None
        """Continuation of the task in the worker, if there is one."""
        self._initial_load = load
        self._load_error: WorldsimError | None = None
        self._playhead: HistoryNode | None = None
        self._rewound_s = 0.0
        self._was_paused = False
        self._pending_rewind: bool | None = None
        """Rewind key during a task: True if held, False if it was tapped."""

    # ---- what there is to show

    @property
    def status(self) -> WorkerStatus:
        """The worker's status as of the last `tick`."""
        return self._status

    @property
    def header(self) -> SessionHeader | None:
        """Origin to write into recordings; None while loading, and for worlds that cannot be recorded."""
        return self._status.loaded.header if self._status.loaded is not None else None

    @property
    def error(self) -> WorldsimError | None:
        return (self._load_error or self._status.error) if self.state is SessionState.FAILED else None

    @property
    def tick_s(self) -> float:
        """Length of a tick at the current speed."""
        return self.world_tick_s / self.speed

    @property
    def world_tick_s(self) -> float:
        """Length of a tick at speed 1."""
        loaded = self._status.loaded
        return 1.0 / (self._pace_per_s or (loaded.ticks_per_s if loaded else 1.0))

    @property
    def next_due_s(self) -> float | None:
        """Time until `tick` has something to do by itself; None while it waits for a key or the worker."""
        if self.state is SessionState.REWINDING:
            return max(0.0, self.world_tick_s - self._due_s) / self._rewind_pace
        if self.state is not SessionState.PLAYING or self._is_waiting or self._on_done is not None:
            return None
        return max(0.0, self.tick_s - self._due_s)

    @property
    def rewound_s(self) -> float:
        """How far back the shown frame is, in seconds of the world; 0 while not rewinding."""
        head = self.history.head if self.history else None
        if self.state is not SessionState.REWINDING or self._playhead is None or head is None:
            return 0.0
        return (head.step.index - self._playhead.step.index) * self.world_tick_s

    def notify(self, text: str) -> None:
        """Shows a message on the screen for a few seconds, and logs it."""
        self.notification = text
        self.on_notify(text)

    # ---- time

    def tick(self, elapsed_s: float) -> list[Step]:
        """Advances by `elapsed_s`. Returns the new frames, oldest first; usually none or one."""
        steps: list[Step] = []
        self._poll_worker(steps)
        if self._pending_rewind is not None and self._on_done is None:
            is_held, self._pending_rewind = self._pending_rewind, None
            self.rewind(True)
            if not is_held:
                self.rewind(False)
        if self.state is SessionState.REWINDING:
            self._rewind_for(elapsed_s)
        elif self.state is SessionState.PLAYING:
            self._due_s = min(self._due_s + elapsed_s, MAX_CATCH_UP_TICKS * self.tick_s)
            while self._due_s >= self.tick_s and self._can_request:
                self._due_s -= self.tick_s
                self._request_frame(steps)
        elif self.state is SessionState.PAUSED and self._is_step_requested and self._can_request:
            self._is_step_requested = False
            self._request_frame(steps)
        if self.state in (SessionState.PLAYING, SessionState.PAUSED):
            self.worker.expect(None if self._on_done else self.autopilot.peek(self.inputs.expected()))
        return steps

    def toggle_pause(self) -> None:
        if self.state is SessionState.PLAYING:
            self.state = SessionState.PAUSED
            self._is_step_requested = False
        elif self.state is SessionState.PAUSED:
            self.state = SessionState.PLAYING
            self._due_s = 0.0
            self.inputs.clear_taps()

    def single_step(self) -> None:
        """One tick under the held keys, then pause."""
        if self.state is SessionState.PLAYING:
            self.toggle_pause()
        self._is_step_requested = self.state is SessionState.PAUSED

    def reset(self, seed: int | None = None) -> None:
        """Resets the world, by default with the same seed. Also ends a failure."""
        if self.state is SessionState.LOADING and self._status.loaded is None:
            return
        self.seed = self.seed if seed is None else seed
        self.state = SessionState.LOADING
        self.has_started = self._is_waiting = self._is_step_requested = False
        self._playhead = self._on_done = self._load_error = self._pending_rewind = None
        self.inputs.clear_taps()
        self.worker.reset(self.seed)

    def set_num_steps(self, num_steps: int) -> None:
        self.worker.set_num_steps(num_steps)

    def change_speed(self, offset: int) -> None:
        """To the next faster (1) or slower (-1) speed, if there is one."""
        index = SPEEDS.index(self.speed) + offset
        self.speed = SPEEDS[min(max(index, 0), len(SPEEDS) - 1)]

    def rewind(self, is_held: bool) -> None:
        """Goes back while the key is held, at least one frame; then play continues from there, or stays paused."""
        if self._on_done is not None:
            self._pending_rewind = is_held
            return
        if not is_held:
            if self.state is SessionState.REWINDING and self._playhead is not None:
                self.state = SessionState.PAUSED if self._was_paused else SessionState.PLAYING
                self._go_to_node(self._playhead)
            return
        if not self._can_leave_present("rewinding"):
            return
        assert self.history is not None
        self._was_paused = self.state is SessionState.PAUSED
        self._cancel_pending()
        self.state = SessionState.REWINDING
        self._playhead, self._rewound_s, self._due_s = self.history.head, 0.0, self.world_tick_s
        self._rewind_for(0.0)

    # ---- going elsewhere

    def change_branch(self, offset: int) -> Branch | None:
        """Goes to the tip of the branch `offset` further in the list. Returns it; None if there is no other."""
        if not self._can_leave_present("changing branches"):
            return None
        assert self.history is not None
        self._cancel_pending()
        branch = self.history.neighbor(offset)
        if branch is None:
            self.notify("only one branch: rewind and play to start another")
            return None
        self._go_to_node(branch.tip)
        return branch

    def go_to(self, node: HistoryNode) -> None:
        """Continues from a node of the history, as after a rewind."""
        if self._can_leave_present("rewinding"):
            self._cancel_pending()
            self._go_to_node(node)

    def reset_context(self, node: HistoryNode, make: MakeContextOverride) -> bool:
        """Replaces the model's memory by ground-truth frames that end at `node`; notifies of the result.

        Returns whether it was tried: not if play has moved on from `node`.
        """
        if not self._can_leave_present("context reset"):
            return False
        assert self.history is not None
        self._cancel_pending()
        if self.history.head is not node:
            return False
        self._send_context_reset(node, make, "context reset from the last {} ground-truth frames")
        return True

    def save(self, path: Path) -> None:
        """Saves the current state and continues; notifies of the result."""
        if not self._can_leave_present("saving"):
            return
        loaded, head = self._status.loaded, self.history.head if self.history else None
        if loaded is None or loaded.saves is None or loaded.header is None or head is None:
            self.notify("saving is not available in this world")
            return
        saved = SaveRecord(header=loaded.header, seed=head.seed, step=head.step, runs=head.runs(), anchor=head.override)
        write, snapshot = loaded.saves.write, self._snapshot
        self._send_task(
            lambda _: write(path, saved, snapshot),
            lambda result: self.notify(result.error.message if result.error else f"saved {path}"),
        )

    def load(self, path: Path) -> None:
        """Continues from a save; notifies of the result. If it cannot be read, play stays where it is."""
        if not self._can_leave_present("loading"):
            return
        if self._status.loaded is None or self._status.loaded.saves is None:
            self.notify("loading is not available in this world")
            return
        self._cancel_pending()
        self._send_load(self._status.loaded, path)

    # ---- the worker

    def _poll_worker(self, steps: list[Step]) -> None:
        before, self._status = self._status, self.worker.status
        status = self._status
        if status.loaded is not None and status.loaded is not before.loaded:
            self._on_world_loaded(status.loaded)
        if status.warning and status.warning != before.warning:
            self.notify(status.warning)
        if status.phase is WorkerPhase.FAILED and status.error is not before.error:
            self.state = SessionState.FAILED
            self._is_waiting = False
            if isinstance(status.error, DeviceError):
                self._reset_context_from_history()
        result = self.worker.take_task_result()
        if result is not None and self._on_done is not None:
            on_done, self._on_done = self._on_done, None
            on_done(result)
        step = self.worker.take()
        if step is None:
            return
        if self._initial_load is not None:  # the save replaces the world's first frame
            path, self._initial_load = self._initial_load, None
            assert status.loaded is not None, "the first frame comes after loading"
            self._send_load(status.loaded, path)
            return
        self._take(step)
        steps.append(step)

    def _on_world_loaded(self, loaded: LoadedWorld) -> None:
        spec = loaded.action_spec
        if spec.pose_control is not None and not spec.pose_control.has_collisions:
            self.notify("free camera: walls are not solid")
        self.inputs.bindings = available_bindings(spec, has_num_steps=loaded.has_num_steps)
        self.recorder.header = loaded.header
        if loaded.can_rewind:
            self.history = PlayHistory(spec=spec, snapshot_bytes=loaded.snapshot_bytes)

    @property
    def _can_request(self) -> bool:
        is_free = not self._is_waiting and self._on_done is None
        return is_free and self.has_started and self.state is not SessionState.FAILED

    def _request_frame(self, steps: list[Step]) -> None:
        self.last_action = self.autopilot.apply(self.inputs.sample())
        self.worker.submit(self.last_action)
        self._is_waiting = True
        self._poll_worker(steps)

    def _take(self, step: Step) -> None:
        """Adds a new frame to the recording and the history."""
        self._snapshot, self.shown_step, self._is_waiting = self.worker.snapshot, step, False
        self.recorder.add(step, self.seed)
        if self.history is not None and (self.history.head is None or not self.has_started):
            self.history.begin(Position(step=step, snapshot=self._snapshot, seed=self.seed))
        elif self.history is not None:
            self.history.add(step, self._snapshot)
        if not self.has_started:
            self._start()

    def _start(self) -> None:
        self.has_started = True
        self.state = SessionState.PLAYING
        self._due_s = 0.0

    @property
    def _rewind_pace(self) -> float:
        return float(min(2 ** int(self._rewound_s), MAX_REWIND_PACE))

    def _rewind_for(self, elapsed_s: float) -> None:
        assert self.history is not None and self._playhead is not None
        self._rewound_s += elapsed_s
        self._due_s += elapsed_s * self._rewind_pace
        while self._due_s >= self.world_tick_s:
            self._due_s -= self.world_tick_s
            self._playhead = self.history.parent_of(self._playhead) or self._playhead
        self.shown_step = self._playhead.step

    # ---- tasks that move the world

    def _can_leave_present(self, what: str) -> bool:
        """Whether the world can be moved now. Notifies if this world never can."""
        can_leave = (SessionState.PLAYING, SessionState.PAUSED, SessionState.FAILED)
        if self.state not in can_leave or not self.has_started or self._on_done is not None:
            return False
        if self.history is None or self.history.head is None:
            self.notify(f"{what} is not available in this world")
            return False
        return True

    def _cancel_pending(self) -> None:
        """Withdraws the requested frame; if it is ready already, it still counts."""
        late = self.worker.cancel()
        self._is_waiting = self._is_step_requested = False
        if late is not None:
            self._take(late)

    def _send_task(self, task: Task, on_done: Callable[[TaskResult], None]) -> None:
        self._on_done = on_done
        self.worker.send_task(task)

    def _go_to_node(self, node: HistoryNode) -> None:
        assert self.history is not None
        self._send_task(partial(replay_to, self.history.route(node)), lambda result: self._on_reached(node, result))

    def _on_reached(self, node: HistoryNode, result: TaskResult) -> None:
        assert self.history is not None and self.history.head is not None
        if result.position is None:
            self.notify(result.error.message if result.error else "")
            self.shown_step = self.history.head.step
            if self._status.phase is WorkerPhase.FAILED:
                self.state = SessionState.FAILED
            return
        self.history.move_to(node, result.position.snapshot)
        self._continue_from(result.position)

    def _send_load(self, loaded: LoadedWorld, path: Path) -> None:
        assert loaded.saves is not None, "--load needs a world with saves"
        read = loaded.saves.read
        self._send_task(lambda _: read(path), lambda result: self._on_save_loaded(path, result))

    def _on_save_loaded(self, path: Path, result: TaskResult) -> None:
        if result.error is not None:
            self.notify(result.error.message)
            if not self.has_started:
                self.state, self._load_error = SessionState.FAILED, result.error
            return
        assert self.history is not None and result.position is not None
        self.history.begin(result.position, path.stem)
        self._continue_from(result.position)
        self.notify(f"loaded {path}")

    def _reset_context_from_history(self) -> None:
        """The model's state was lost with its device: continue in the fallback from the last frames."""
        loaded, head = self._status.loaded, self.history.head if self.history else None
        if loaded is None or head is None or not self.has_started or self._on_done is not None:
            return
        if not isinstance(loaded.playable, SupportsContextReset):
            return
        self._cancel_pending()
        make = partial(_override_from_history, loaded.action_spec, head, loaded.num_context)
        self._send_context_reset(head, make, "GPU lost: continuing on the CPU from the last {} frames")

    def _send_context_reset(self, node: HistoryNode, make: MakeContextOverride, message: str) -> None:
        self._send_task(
            partial(_reset_context, make, node.position()), lambda result: self._on_context_reset(message, result)
        )

    def _on_context_reset(self, message: str, result: TaskResult) -> None:
        assert self.history is not None
        if result.position is None:
            self.notify(result.error.message if result.error else "")
            return
        assert result.position.override is not None
        self.history.add_context_reset(result.position)
        self._continue_from(result.position)
        self.notify(message.format(len(result.position.override.actions)))

    def _continue_from(self, position: Position) -> None:
        self.seed, self.shown_step, self._snapshot = position.seed, position.step, position.snapshot
        self.recorder.continue_from(position)
        self.inputs.clear_taps()
        self._due_s = 0.0
        if not self.has_started or self.state is SessionState.FAILED:
            self._start()


def _reset_context(make: MakeContextOverride, before: Position, playable: SimulatorProtocol) -> Position:
    assert isinstance(playable, SupportsContextReset), "only a learned world has memory to replace"
    override = make()
    reset = playable.reset_context(override, before.seed)
    step = replace(before.step, frame=reset.frame, device=reset.device, estimated_pose=reset.estimated_pose)
    return replace(before, step=step, snapshot=playable.snapshot(), override=override)


def _override_from_history(spec: ActionSpec, head: HistoryNode, num_frames: int) -> ContextOverride:
    steps, at = list[Step](), head
    while len(steps) < num_frames:
        steps.append(at.step)
        if at.parent is None:
            break
        at = at.parent
    steps.reverse()
    actions = [spec.encode(step.action).tolist() for step in steps]
    return ContextOverride.from_frames(head.step.index, [step.frame for step in steps], actions)
