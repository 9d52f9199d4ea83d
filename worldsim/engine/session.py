"""Play as a state machine with a schedule: when a tick is due, which action it takes, what the worker's news mean.

Owns: state, pace, the inputs between ticks, rewinding. Does not own: the other ways to go elsewhere
(`engine.time_travel`), frames in the making (`engine.worker`), what was played (`engine.history`), windows, time: the
caller says how much of it went by. UI thread; no call waits.

While rewinding, only stored pictures are shown. When the key is let go, the worker makes the state of the picture shown
from the nearest snapshot before it; play goes on from there as it would have the first time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from worldsim.actions.bindings import available_bindings
from worldsim.actions.pose_control import FREE_CAMERA_NOTICE
from worldsim.core.errors import DeviceError, WorldsimError
from worldsim.core.types import NO_ACTION, Action, Step
from worldsim.engine.history import HistoryNode, PlayHistory
from worldsim.engine.messages import WorkerPhase, WorkerStatus
from worldsim.engine.recorder import Recorder
from worldsim.engine.time_travel import SessionState, TimeTravel
from worldsim.engine.worker import Worker

__all__ = ["Session", "SessionState"]

MAX_CATCH_UP_TICKS = 2
"""After a stall at most this many ticks follow at once. What is beyond is never made up for: the world slows down."""


SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
MAX_REWIND_PACE = 8
"""Rewinding begins at the world's own pace and doubles every second, up to this: a minute takes ten seconds."""


class ActionFilter(Protocol):
    """Stands between a person and the world: `engine.autopilot`."""

    def apply(self, user_action: Action) -> Action:
        """The action of the tick that begins now, where a person does `user_action`."""
        ...

    def peek(self, user_action: Action | None) -> Action | None:
        """What `apply` will probably answer; None when that cannot be known."""
        ...


class Session(TimeTravel):
    """`tick` drives it; the other methods are what keys ask for."""

    def __init__(
        self,
        worker: Worker,
        *,
        seed: int = 0,
        ticks_per_s: float | None = None,
        recorder: Recorder | None = None,
        load: Path | None = None,
    ) -> None:
        """`ticks_per_s`: another pace than the world's own. `recorder` is told every frame. Begins with `load`."""
        super().__init__(worker, seed, recorder, load)
        self.action_filter: ActionFilter | None = None
        """Says what is done in a tick, once a person's keys are known; None: just that."""
        self.last_action = NO_ACTION
        """What was done last; where keys fly the camera those keys, of which the frame's own action is the pose."""
        self.speed = 1.0
        self._playhead: HistoryNode | None = None
        self._rewound_s = 0.0
        self._was_paused = False
        self._pending_rewind: bool | None = None
        """The rewind key while an task is on its way: True is held, False was a tap."""
        self._pace_per_s = ticks_per_s

    @property
    def status(self) -> WorkerStatus:
        """The worker's news, as of the last `tick`."""
        return self._status

    @property
    def error(self) -> WorldsimError | None:
        return (self._load_error or self._status.error) if self.state is SessionState.FAILED else None

    @property
    def tick_s(self) -> float:
        """Length of one tick, at the speed that was asked for."""
        return self.world_tick_s / self.speed

    @property
    def world_tick_s(self) -> float:
        """Length of one tick at speed 1."""
        loaded = self._status.loaded
        return 1.0 / (self._pace_per_s or (loaded.ticks_per_s if loaded else 1.0))

    @property
    def next_due_s(self) -> float | None:
        """How long until `tick` has something to do by itself; None while only keys or the worker can change that."""
        if self.state is SessionState.REWINDING:
            return max(0.0, self.world_tick_s - self._due_s) / self._rewind_pace
        if self.state is not SessionState.PLAYING or self._is_waiting or self._on_done is not None:
            return None
        return max(0.0, self.tick_s - self._due_s)

    def tick(self, elapsed_s: float) -> list[Step]:
        """Lets `elapsed_s` go by. Returns the new frames that came, oldest first; usually none or one."""
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
            user_action = self.inputs.expected()
            expected = user_action if self.action_filter is None else self.action_filter.peek(user_action)
            self.worker.expect(None if self._on_done else expected)
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
        """One tick under what is held now; play stays paused after it."""
        if self.state is SessionState.PLAYING:
            self.toggle_pause()
        self._is_step_requested = self.state is SessionState.PAUSED

    def reset(self, seed: int | None = None) -> None:
        """Starts afresh, with the same seed if none is given. Also the way out of a failure."""
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
        """To the next faster (1) or slower (-1) speed; the fastest and the slowest stay."""
        place = SPEEDS.index(self.speed) + offset
        self.speed = SPEEDS[min(max(place, 0), len(SPEEDS) - 1)]

    def rewind(self, is_held: bool) -> None:
        """Goes back in time while it is held, at least one frame; then play goes on from there, or stays paused."""
        if self._on_done is not None:
            self._pending_rewind = is_held
            return
        if not is_held:
            if self.state is SessionState.REWINDING and self._playhead is not None:
                self.state = SessionState.PAUSED if self._was_paused else SessionState.PLAYING
                self._go_to_node(self._playhead)
            return
        if not self._can_leave_present("go back"):
            return
        assert self.history is not None
        self._was_paused = self.state is SessionState.PAUSED
        self._cancel_pending()
        self.state = SessionState.REWINDING
        self._playhead, self._rewound_s, self._due_s = self.history.head, 0.0, self.world_tick_s
        self._rewind_for(0.0)

    @property
    def rewound_s(self) -> float:
        """How far back what is seen lies, in seconds of the world; 0 while nothing is rewound."""
        head = self.history.head if self.history else None
        if self.state is not SessionState.REWINDING or self._playhead is None or head is None:
            return 0.0
        return (head.step.index - self._playhead.step.index) * self.world_tick_s

    @property
    def _rewind_pace(self) -> float:
        return float(min(2 ** int(self._rewound_s), MAX_REWIND_PACE))

    @property
    def _can_request(self) -> bool:
        is_free = not self._is_waiting and self._on_done is None
        return is_free and self.has_started and self.state is not SessionState.FAILED

    def _request_frame(self, steps: list[Step]) -> None:
        user_action = self.inputs.sample()
        self.last_action = user_action if self.action_filter is None else self.action_filter.apply(user_action)
        self.worker.submit(self.last_action)
        self._is_waiting = True
        self._poll_worker(steps)

    def _poll_worker(self, steps: list[Step]) -> None:
        news = self.worker.status
        if news.loaded is not None and news.loaded is not self._status.loaded:
            loaded, playable = news.loaded, news.loaded.playable
            if playable.action_spec.pose_control is not None:
                self.notify(FREE_CAMERA_NOTICE)
            self.inputs.bindings = available_bindings(playable.action_spec, has_num_steps=playable.num_steps > 0)
            if loaded.can_rewind:
                self.history = PlayHistory(spec=playable.action_spec, snapshot_bytes=loaded.snapshot_bytes)
        is_failure_new = news.phase is WorkerPhase.FAILED and news.error is not self._status.error
        if news.warning and news.warning != self._status.warning:
            self.notify(news.warning)
        self._status = news
        if is_failure_new:
            self.state = SessionState.FAILED
            self._is_waiting = False
            if isinstance(news.error, DeviceError):
                self.reset_context_from_history()
        result = self.worker.take_task_result()
        if result is not None and self._on_done is not None:
            on_done, self._on_done = self._on_done, None
            on_done(result)
        step = self.worker.take()
        if step is None:
            return
        if self._initial_load is not None:
            self._start_from_save()
            return
        self._take(step)
        steps.append(step)

    def _rewind_for(self, elapsed_s: float) -> None:
        assert self.history is not None and self._playhead is not None
        self._rewound_s += elapsed_s
        self._due_s += elapsed_s * self._rewind_pace
        while self._due_s >= self.world_tick_s:
            self._due_s -= self.world_tick_s
            self._playhead = self.history.parent_of(self._playhead) or self._playhead
        self.shown_step = self._playhead.step
