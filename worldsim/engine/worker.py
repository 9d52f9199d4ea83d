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

from worldsim.actions.pose_control import pose_step
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
        self._expected_action: Action | None = None
        self._request: tuple[Action, int] | None = None
        self._ready_step: Step | None = None
        self._base: Any = None
        self._base_action = NO_ACTION
        self._prefetch = Prefetch(prefetch_depth)
        self._in_flight: Action | None = None
        self._task: Task | None = None
        self._task_result: TaskResult | None = None
        self._epoch = 0
        # Below: only in the model thread.
        self._playable: SimulatorProtocol | None = None
        self._device_bytes: Callable[[], int | None] = lambda: None
        self._warning: Callable[[], str] = lambda: ""
        self._current_snapshot: Any = None

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
            return replace(self._counters, ahead=len(self._prefetch), depth=self._prefetch.depth)

    def submit(self, action: Action) -> None:
        """Asks for the next frame, under `action`. One demand at a time: `take` it before the next."""
        now_ns = self._clock.now_ns()
        with self._work:
            assert self._request is None and self._ready_step is None, "the frame asked for before has not been taken"
            action = self._after(action, self._base_action)
            guess = (*self._prefetch.predicted_actions, self._in_flight)[0]
            if guess == action:
                self._count(hits=1)
            else:
                self._count(misses=1)
                self._drop_prefetched()
            self._request = (action, now_ns)
            made = self._prefetch.take()
            if made is not None:
                self._deliver(made)
            self._work.notify_all()

    def take(self) -> Step | None:
        """The frame that was asked for, or the first one after a reset, once it is there."""
        with self._work:
            step, self._ready_step = self._ready_step, None
            return step

    def expect(self, action: Action | None) -> None:
        """Says what the next action will probably be; None when it cannot be foreseen."""
        with self._work:
            if action == self._expected_action:
                return
            self._expected_action = action
            if self._request is None and action is not None and not self._matches_predictions(action):
                self._drop_prefetched()
            self._work.notify_all()

    def reset(self, seed: int) -> None:
        """Starts afresh, also after a failure. The first frame then comes through `take`, with index 0."""
        with self._work:
            self._wanted_seed = seed
            self._request = self._ready_step = self._task = self._task_result = None
            self._drop_prefetched()
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
            step, self._ready_step = self._ready_step, None
            self._request = None
            self._drop_prefetched()
            return step

    def send_task(self, task: Task) -> None:
        """Runs `task` before the next frame; `take_task_result` then tells. One at a time; a reset forgets it."""
        with self._work:
            assert self._task is None and self._task_result is None, "one task at a time"
            self._task = task
            self._work.notify_all()

    def take_task_result(self) -> TaskResult | None:
        with self._work:
            result, self._task_result = self._task_result, None
            return result

    def set_num_steps(self, num_steps: int) -> None:
        """From the next frame on; what was made ahead with another number is made anew."""
        with self._work:
            self._wanted_num_steps = num_steps
            if self._request is None:
                self._drop_prefetched()
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
        if self._task is not None and self._playable is not None:
            return partial(self._run_task, self._task)
        if self._status.phase is not WorkerPhase.READY:
            return None
        if self._request is not None:
            return self._begin_frame(self._request[0], self._base)
        loaded, tip = self._status.loaded, self._prefetch.tip
        if self._expected_action is None or not self._prefetch.has_room or loaded is None or not loaded.can_rewind:
            return None
        if tip is not None and tip.error:
            return None
        source, before = (self._base, self._base_action) if tip is None else (tip.snapshot, tip.action)
        return self._begin_frame(self._after(self._expected_action, before), source, loaded.background_stream)

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
        self._playable, self._device_bytes, self._warning = loaded.playable, loaded.device_bytes, loaded.warning
        with self._work:
            self._status = replace(self._status, loaded=loaded)
            self._count(num_steps=loaded.playable.num_steps)

    def _reset_world(self, seed: int, epoch: int) -> None:
        assert self._playable is not None
        try:
            step = self._playable.reset(seed)
            self._current_snapshot = self._playable.snapshot()
        except Exception as error:
            self._fail(error)
            return
        with self._work:
            if epoch == self._epoch:
                self._base, self._base_action, self._ready_step = self._current_snapshot, step.action, step
                self._status = replace(self._status, phase=WorkerPhase.READY, stage="", error=None)

    def _run_task(self, task: Task) -> None:
        assert self._playable is not None
        try:
            result = TaskResult(position=task(self._playable))
        except Exception as error:
            result = TaskResult(error=as_worldsim_error(error))
        with self._work:
            if self._task is not task:  # a reset came in between
                return
            self._task, self._task_result = None, result
            self._current_snapshot = None
            if result.position is not None:
                self._drop_prefetched()
                self._base, self._base_action = result.position.snapshot, result.position.step.action
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
            if self._request is None:
                self._prefetch.add(made)
                return
            assert self._request[0] == action and not len(self._prefetch), "a wrong guess was not dropped"
            self._deliver(made)

    def _make(self, action: Action, source: Any, where: StreamContext) -> PrefetchedFrame:
        assert self._playable is not None
        begin_ns = self._clock.now_ns()
        try:
            if self._current_snapshot is not source:
                self._playable.restore(source)
            self._current_snapshot = None
            with where():
                step = self._playable.step(action)
            self._current_snapshot = self._playable.snapshot()
            end_ns = self._clock.now_ns()
            made = PrefetchedFrame(action=action, step=step, snapshot=self._current_snapshot, ready_ns=end_ns)
        except Exception as error:
            end_ns = self._clock.now_ns()
            made = PrefetchedFrame(action=action, error=as_worldsim_error(error))
        device_bytes = self._device_bytes()
        with self._work:
            num_steps, times = self._playable.num_steps, self._playable.last_times
            self._count(made=1, busy_ns=end_ns - begin_ns, num_steps=num_steps, times=times)
            self._status = replace(self._status, warning=self._warning())
            self._counters = replace(self._counters, device_bytes=device_bytes)
        return made

    def _deliver(self, made: PrefetchedFrame) -> None:
        """Locked. The demand is met by `made`."""
        assert self._request is not None
        asked_ns, self._request = self._request[1], None
        if made.step is None:
            self._status = replace(self._status, phase=WorkerPhase.FAILED, stage="", error=made.error)
            return
        self._base, self._base_action = made.snapshot, made.step.action
        self._ready_step = replace(made.step, t_input_ns=asked_ns, t_ready_ns=max(asked_ns, made.ready_ns))

    def _after(self, action: Action, before: Action) -> Action:
        """Locked. What the world is given for `action`, after a frame under `before`."""
        loaded = self._status.loaded
        return action if loaded is None else pose_step(loaded.action_spec, action, before)

    def _matches_predictions(self, action: Action) -> bool:
        """Locked. Whether what is made ahead is what comes of holding `action`."""
        before = self._base_action
        for guess in (*self._prefetch.predicted_actions, *([self._in_flight] if self._in_flight else [])):
            if guess != (before := self._after(action, before)):
                return False
        return True

    def _drop_prefetched(self) -> None:
        """Locked. The guess was wrong: forget what was made under it, and what is being made."""
        self._count(dropped=self._prefetch.drop())
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
