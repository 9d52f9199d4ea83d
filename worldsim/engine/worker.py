"""The model thread: it owns the world, makes the frames that are asked for, and works ahead under the held action.

Owns: the playable, its snapshots, prefetch and rollback, errors of the model. Does not own: pace and input
(`engine.session`). Every public method but `run_once` belongs to the UI thread, and none waits for the model: the lock
is held for bookkeeping only, never while a frame is made. Everything that crosses is bounded: one demand, one frame
slot, one slot per command, as many frames made ahead as `engine.prefetch` finds worth it.

How a wrong guess is undone: every made frame carries the snapshot after it; `_base` is the snapshot after the frame
the player has. An action that differs from the guess is made anew from `_base`. `_epoch` tells a frame that was still
being made when the guess fell that nobody wants it any more.

Where keys fly the camera, `_base_action` is the pose of that frame, and an action becomes the pose after it here
(`actions.pose_control`): so one guess follows from the other however many are made ahead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from worldsim.actions.pose_control import fly
from worldsim.core.clock import Clock, MonotonicClock
from worldsim.core.types import NO_ACTION, Action, Step
from worldsim.engine.fallback import as_worldsim_error
from worldsim.engine.interfaces import LoadedWorld, SimulatorProtocol, StageTimes, StreamContext
from worldsim.engine.messages import StageCallback, Task, TaskResult, WorkerCounters, WorkerPhase, WorkerStatus
from worldsim.engine.prefetch import Prefetch, PrefetchedFrame


class Worker:
    """`start` runs it as a thread; tests leave that out and call `run_once` between the other calls."""

    def __init__(
        self,
        load: Callable[[StageCallback], LoadedWorld],
        *,
        seed: int = 0,
        prefetch_depth: int = 1,
        num_warmup: int = 2,
        clock: Clock | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`load` runs in the thread, as does all that it imports. `on_change` is called from the thread, unlocked.
        At most `prefetch_depth` frames are made ahead."""
        self._load = load
        self._num_warmup = num_warmup
        self._clock = clock or MonotonicClock()
        self._on_change = on_change
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._work = threading.Condition()
        self._is_closing = False
        # Below: only with the lock.
        self._status = WorkerStatus()
        self._counters = WorkerCounters()
        self._wanted_seed: int | None = seed
        self._wanted_num_steps: int | None = None
        self._held: Action | None = None
        self._demand: tuple[Action, int] | None = None
        self._slot: Step | None = None
        self._base: Any = None
        self._base_action = NO_ACTION
        self._ahead = Prefetch(prefetch_depth)
        self._in_flight: Action | None = None
        self._errand: Task | None = None
        self._done: TaskResult | None = None
        self._epoch = 0
        # Below: only in the model thread.
        self._playable: SimulatorProtocol | None = None
        self._device_bytes: Callable[[], int | None] = lambda: None
        self._trouble: Callable[[], str] = lambda: ""
        self._at: Any = None

    # ---- UI thread

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the thread after the frame it is making. Does not hang on a model that hangs: the thread is a daemon."""
        with self._work:
            self._is_closing = True
            self._work.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def status(self) -> WorkerStatus:
        with self._work:
            return self._status

    @property
    def counters(self) -> WorkerCounters:
        with self._work:
            return replace(self._counters, ahead=len(self._ahead), depth=self._ahead.depth)

    def submit(self, action: Action) -> None:
        """Asks for the next frame, under `action`. One demand at a time: `take` it before the next."""
        now_ns = self._clock.now_ns()
        with self._work:
            assert self._demand is None and self._slot is None, "the frame asked for before has not been taken"
            action = self._after(action, self._base_action)
            guess = (*self._ahead.guesses, self._in_flight)[0]
            if guess == action:
                self._count(hits=1)
            else:
                self._count(misses=1)
                self._drop_ahead()
            self._demand = (action, now_ns)
            made = self._ahead.take()
            if made is not None:
                self._deliver(made)
            self._work.notify_all()

    def take(self) -> Step | None:
        """The frame that was asked for, or the first one after a reset, once it is there."""
        with self._work:
            step, self._slot = self._slot, None
            return step

    def hold(self, action: Action | None) -> None:
        """Says what the next action will probably be; None when it cannot be foreseen."""
        with self._work:
            if action == self._held:
                return
            self._held = action
            if self._demand is None and action is not None and not self._leads_to_guesses(action):
                self._drop_ahead()
            self._work.notify_all()

    def reset(self, seed: int) -> None:
        """Starts afresh, also after a failure. The first frame then comes through `take`, with index 0."""
        with self._work:
            self._wanted_seed = seed
            self._demand = self._slot = self._errand = self._done = None
            self._drop_ahead()
            self._status = replace(self._status, phase=WorkerPhase.LOADING, stage="starting afresh", error=None)
            self._work.notify_all()

    @property
    def snapshot(self) -> Any:
        """The one after the frame that `take` gave last, until the next `submit`."""
        with self._work:
            return self._base

    def cancel(self) -> Step | None:
        """Takes the demand back. Returns the frame, if it has already come: then it was too late for that."""
        with self._work:
            step, self._slot = self._slot, None
            self._demand = None
            self._drop_ahead()
            return step

    def send(self, errand: Task) -> None:
        """Runs `errand` before the next frame; `take_done` then tells. One at a time; a reset forgets it."""
        with self._work:
            assert self._errand is None and self._done is None, "one errand at a time"
            self._errand = errand
            self._work.notify_all()

    def take_done(self) -> TaskResult | None:
        with self._work:
            done, self._done = self._done, None
            return done

    def set_num_steps(self, num_steps: int) -> None:
        """From the next frame on; what was made ahead with another number is made anew."""
        with self._work:
            self._wanted_num_steps = num_steps
            if self._demand is None:
                self._drop_ahead()
            self._work.notify_all()

    # ---- model thread

    def run_once(self) -> bool:
        """Does the one most urgent thing. Returns whether there was one."""
        with self._work:
            job = self._next_job()
        if job is None:
            return False
        job()
        self._on_change()
        return True

    def _run(self) -> None:
        while True:
            with self._work:
                while (job := self._next_job()) is None and not self._is_closing:
                    self._work.wait()
            if job is None:
                break
            job()
            self._on_change()
        if self._playable is not None:
            self._playable.close()

    def _next_job(self) -> Callable[[], None] | None:
        """Locked. What to do now; the job has then begun, so that nothing can change between choosing and doing it."""
        if self._is_closing:
            return None
        if self._wanted_seed is not None:
            if self._playable is None:
                return self._load_world
            seed, self._wanted_seed = self._wanted_seed, None
            return partial(self._reset_world, seed, self._epoch)
        if self._errand is not None and self._playable is not None:
            return partial(self._run_errand, self._errand)
        if self._status.phase is not WorkerPhase.READY:
            return None
        if self._demand is not None:
            return self._begin_frame(self._demand[0], self._base)
        loaded, tip = self._status.loaded, self._ahead.tip
        if self._held is None or not self._ahead.has_room or loaded is None or not loaded.can_rewind:
            return None
        if tip is not None and tip.error:
            return None
        source, before = (self._base, self._base_action) if tip is None else (tip.snapshot, tip.action)
        return self._begin_frame(self._after(self._held, before), source, loaded.aside)

    def _load_world(self) -> None:
        loaded: LoadedWorld | None = None
        try:
            loaded = self._load(self._report)
            if self._num_warmup and loaded.can_rewind:
                self._report("warming up")
                loaded.playable.reset(0)
                for _ in range(self._num_warmup):
                    loaded.playable.step(NO_ACTION)
        except Exception as error:
            if loaded is not None:
                loaded.playable.close()
            with self._work:
                self._wanted_seed = None
            self._fail(error)
            return
        self._playable, self._device_bytes, self._trouble = loaded.playable, loaded.device_bytes, loaded.trouble
        with self._work:
            self._status = replace(self._status, loaded=loaded)
            self._count(num_steps=loaded.playable.num_steps)

    def _reset_world(self, seed: int, epoch: int) -> None:
        assert self._playable is not None
        try:
            step = self._playable.reset(seed)
            self._at = self._playable.snapshot()
        except Exception as error:
            self._fail(error)
            return
        with self._work:
            if epoch == self._epoch:
                self._base, self._base_action, self._slot = self._at, step.action, step
                self._status = replace(self._status, phase=WorkerPhase.READY, stage="", error=None)

    def _run_errand(self, errand: Task) -> None:
        assert self._playable is not None
        try:
            done = TaskResult(arrival=errand(self._playable))
        except Exception as error:
            done = TaskResult(error=as_worldsim_error(error))
        with self._work:
            if self._errand is not errand:  # a reset came in between
                return
            self._errand, self._done = None, done
            self._at = None
            if done.arrival is not None:
                self._drop_ahead()
                self._base, self._base_action = done.arrival.snapshot, done.arrival.step.action
                self._status = replace(self._status, phase=WorkerPhase.READY, stage="", error=None)

    def _begin_frame(self, action: Action, source: Any, where: StreamContext = nullcontext) -> Callable[[], None]:
        """Locked. A frame is now in the making, from snapshot `source`."""
        assert self._playable is not None
        if self._wanted_num_steps is not None and self._playable.num_steps:
            self._playable.num_steps = self._wanted_num_steps
            self._count(num_steps=self._wanted_num_steps)
        self._wanted_num_steps = None
        self._in_flight = action
        return partial(self._make_frame, action, source, self._epoch, where)

    def _make_frame(self, action: Action, source: Any, epoch: int, where: StreamContext) -> None:
        made = self._make(action, source, where)
        with self._work:
            if epoch != self._epoch:
                self._count(dropped=1)
                return
            self._in_flight = None
            if self._demand is None:
                self._ahead.add(made)
                return
            assert self._demand[0] == action and not len(self._ahead), "a wrong guess was not dropped"
            self._deliver(made)

    def _make(self, action: Action, source: Any, where: StreamContext) -> PrefetchedFrame:
        assert self._playable is not None
        begin_ns = self._clock.now_ns()
        try:
            if self._at is not source:
                self._playable.restore(source)
            self._at = None
            with where():
                step = self._playable.step(action)
            self._at = self._playable.snapshot()
            end_ns = self._clock.now_ns()
            made = PrefetchedFrame(action=action, step=step, snapshot=self._at, ready_ns=end_ns)
        except Exception as error:
            end_ns = self._clock.now_ns()
            made = PrefetchedFrame(action=action, error=as_worldsim_error(error))
        device_bytes = self._device_bytes()
        with self._work:
            num_steps, times = self._playable.num_steps, self._playable.last_times
            self._count(made=1, busy_ns=end_ns - begin_ns, num_steps=num_steps, times=times)
            self._status = replace(self._status, trouble=self._trouble())
            self._counters = replace(self._counters, device_bytes=device_bytes)
        return made

    def _deliver(self, made: PrefetchedFrame) -> None:
        """Locked. The demand is met by `made`."""
        assert self._demand is not None
        asked_ns, self._demand = self._demand[1], None
        if made.step is None:
            self._status = replace(self._status, phase=WorkerPhase.FAILED, stage="", error=made.error)
            return
        self._base, self._base_action = made.snapshot, made.step.action
        self._slot = replace(made.step, t_input_ns=asked_ns, t_ready_ns=max(asked_ns, made.ready_ns))

    def _after(self, action: Action, before: Action) -> Action:
        """Locked. What the world is given for `action`, after a frame under `before`."""
        loaded = self._status.loaded
        return action if loaded is None else fly(loaded.action_spec, action, before)

    def _leads_to_guesses(self, action: Action) -> bool:
        """Locked. Whether what is made ahead is what comes of holding `action`."""
        before = self._base_action
        for guess in (*self._ahead.guesses, *([self._in_flight] if self._in_flight else [])):
            if guess != (before := self._after(action, before)):
                return False
        return True

    def _drop_ahead(self) -> None:
        """Locked. The guess was wrong: forget what was made under it, and what is being made."""
        self._count(dropped=self._ahead.drop())
        self._epoch += 1
        self._in_flight = None

    def _fail(self, error: Exception) -> None:
        """The world could not be loaded or reset. Unless another reset is waiting, that is the news."""
        with self._work:
            if self._wanted_seed is None:
                self._status = replace(self._status, phase=WorkerPhase.FAILED, stage="", error=as_worldsim_error(error))

    def _report(self, stage: str) -> None:
        with self._work:
            self._status = replace(self._status, stage=stage)
        self._on_change()

    def _count(self, *, num_steps: int | None = None, times: StageTimes | None = None, **more: int) -> None:
        """Locked. Adds to the counters named in `more`; sets the other two."""
        now = self._counters
        sums = {name: getattr(now, name) + value for name, value in more.items()}
        self._counters = replace(
            now, **sums, num_steps=now.num_steps if num_steps is None else num_steps, times=times or now.times
        )
