"""Play as a state machine with a schedule: when a tick is due, which action it takes, what the worker's news mean.

Owns: state, pace, the inputs between ticks. Does not own: frames in the making (`engine.worker`), windows, time: the
caller says how much of it went by. UI thread; no call waits.
"""

from __future__ import annotations

from enum import Enum

from worldsim.actions.bindings import offered
from worldsim.core.errors import WorldsimError
from worldsim.core.types import Step
from worldsim.engine.inputs import Inputs
from worldsim.engine.recorder import Recorder
from worldsim.engine.worker import Phase, Status, Worker
from worldsim.episodes.format import Header

MAX_CATCH_UP_TICKS = 2
"""After a stall at most this many ticks follow at once. What is beyond is never made up for: the world slows down."""


class SessionState(Enum):
    LOADING = "loading"
    PLAYING = "playing"
    PAUSED = "paused"
    FAILED = "failed"


class Session:
    """`tick` drives it; the other methods are what keys ask for."""

    def __init__(
        self, worker: Worker, *, seed: int = 0, ticks_per_s: float | None = None, recorder: Recorder | None = None
    ) -> None:
        """`ticks_per_s`: another pace than the world's own. `recorder` is told every frame."""
        self.recorder = recorder or Recorder()
        self.worker = worker
        self.seed = seed
        self.state = SessionState.LOADING
        self.inputs = Inputs()
        self.has_started = False
        """Whether there has been a frame since the last reset."""
        self._pace_per_s = ticks_per_s
        self._status = Status()
        self._due_s = 0.0
        self._is_waiting = False
        self._is_step_asked = False
        self._is_pause_asked = False

    @property
    def status(self) -> Status:
        """The worker's news, as of the last `tick`."""
        return self._status

    @property
    def error(self) -> WorldsimError | None:
        return self._status.error if self.state is SessionState.FAILED else None

    @property
    def tick_s(self) -> float:
        """Length of one tick of the world."""
        loaded = self._status.loaded
        return 1.0 / (self._pace_per_s or (loaded.ticks_per_s if loaded else 1.0))

    @property
    def next_due_s(self) -> float | None:
        """How long until `tick` has something to do by itself; None while only keys or the worker can change that."""
        if self.state is not SessionState.PLAYING or self._is_waiting:
            return None
        return max(0.0, self.tick_s - self._due_s)

    def tick(self, elapsed_s: float) -> list[Step]:
        """Lets `elapsed_s` go by. Returns the frames that came, oldest first; usually none or one."""
        steps: list[Step] = []
        self._follow_worker(steps)
        if self.state is SessionState.PLAYING:
            self._due_s = min(self._due_s + elapsed_s, MAX_CATCH_UP_TICKS * self.tick_s)
            while self._due_s >= self.tick_s and self._can_ask:
                self._due_s -= self.tick_s
                self._ask(steps)
        elif self.state is SessionState.PAUSED and self._is_step_asked and self._can_ask:
            self._is_step_asked = False
            self._ask(steps)
        if self.state in (SessionState.PLAYING, SessionState.PAUSED):
            self.worker.hold(self.inputs.expected())
        return steps

    def toggle_pause(self) -> None:
        if self.state is SessionState.PLAYING:
            self.state = SessionState.PAUSED
            self._is_step_asked = False
        elif self.state is SessionState.PAUSED:
            self.state = SessionState.PLAYING
            self._due_s = 0.0
            self.inputs.settle()

    def single_step(self) -> None:
        """One tick under what is held now; play stays paused after it."""
        if self.state is SessionState.PLAYING:
            self.toggle_pause()
        self._is_step_asked = self.state is SessionState.PAUSED

    def reset(self, seed: int | None = None) -> None:
        """Starts afresh, with the same seed if none is given. Also the way out of a failure."""
        if self.state is SessionState.LOADING and self._status.loaded is None:
            return
        self.seed = self.seed if seed is None else seed
        self.state = SessionState.LOADING
        self.has_started = self._is_waiting = self._is_step_asked = False
        self.inputs.settle()
        self.worker.reset(self.seed)

    def set_num_steps(self, num_steps: int) -> None:
        self.worker.set_num_steps(num_steps)

    @property
    def header(self) -> Header | None:
        """What a recording says of its origin; None while nothing is loaded, and for what cannot be recorded."""
        loaded = self._status.loaded
        return loaded.header if loaded is not None else None

    @property
    def _can_ask(self) -> bool:
        return not self._is_waiting and self.has_started and self.state is not SessionState.FAILED

    def _ask(self, steps: list[Step]) -> None:
        self.worker.submit(self.inputs.sample())
        self._is_waiting = True
        self._follow_worker(steps)

    def _follow_worker(self, steps: list[Step]) -> None:
        news = self.worker.status
        if news.loaded is not None and news.loaded is not self._status.loaded:
            playable = news.loaded.playable
            self.inputs.bindings = offered(playable.action_spec, has_num_steps=playable.num_steps > 0)
        self._status = news
        if news.phase is Phase.FAILED:
            self.state = SessionState.FAILED
            self._is_waiting = False
        step = self.worker.take()
        if step is None:
            return
        if self.header is not None:
            self.recorder.add(step, self.seed, self.header)
        self._is_waiting = False
        if not self.has_started:
            self.has_started = True
            self.state = SessionState.PLAYING
            self._due_s = 0.0
        steps.append(step)
