"""The model thread: owns the world, computes requested frames, and prefetches frames under the held action.

Every public method of `Worker` except `run_once` belongs to the UI thread, and none waits for the model: the lock is
held for bookkeeping only, never while a frame is computed. Everything that crosses the threads is bounded: one request,
one frame slot, one slot per command, and at most `Prefetch.depth` prefetched frames. Torch-free.

Misprediction: every frame carries the snapshot after it, and `_last_snapshot` is the one after the frame that the
player has. If the action differs from the prediction, the frame is recomputed from `_last_snapshot`. `_epoch` marks a
frame that was still being computed at that time as stale.

With pose control (`actions.pose_control`), keys move the camera and an action is turned into the next pose here:
`_last_action` is the pose of the player's frame, so predictions follow from one another at any prefetch depth.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any

from worldsim.actions.pose_control import pose_step
from worldsim.core.clock import Clock, MonotonicClock
from worldsim.core.devices import StreamContext
from worldsim.core.errors import WorldsimError
from worldsim.core.types import NO_ACTION, Action, Step
from worldsim.engine.fallback import as_worldsim_error
from worldsim.engine.interfaces import LoadedWorld, MapView, Position, SimulatorProtocol, StageTimes, SupportsMapView

FULL_TAKES_TO_DEEPEN = 4
"""Consecutive requests that find the prefetch queue full before its depth grows by one."""

Task = Callable[[SimulatorProtocol], Position | None]
"""Work for the model thread between two frames. A task that moves the world returns its new position; that also ends a
failure."""

StageCallback = Callable[[str], None]
"""Called by a loader with the name of the stage that begins."""


class WorkerPhase(Enum):
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """State of the worker, for the window; each status replaces the one before it."""

    phase: WorkerPhase = WorkerPhase.LOADING
    stage: str = "starting"
    loaded: LoadedWorld | None = None
    error: WorldsimError | None = None
    warning: str = ""
    """The last problem that was worked around."""


@dataclass(frozen=True, kw_only=True)
class WorkerCounters:
    """Totals since the start. `made` counts every computed frame, `dropped` the discarded ones among them."""

    hits: int = 0
    misses: int = 0
    made: int = 0
    dropped: int = 0
    busy_ns: int = 0
    """Time spent computing frames."""
    ahead: int = 0
    """Prefetched frames in the queue now."""
    depth: int = 0
    """Prefetch depth now."""
    num_steps: int = 0
    times: StageTimes = StageTimes()
    device_bytes: int | None = None
    """Accelerator memory reserved by torch; None on the CPU."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """How a task ended."""

    position: Position | None = None
    error: WorldsimError | None = None


@dataclass(frozen=True, kw_only=True)
class PrefetchedFrame:
    """A frame, or the error in its place. A prefetched error only counts if its action is requested.

    `action` was asked for; that of `step` may be less of it, where walls stop the camera.
    """

    action: Action
    step: Step | None = None
    snapshot: Any = None
    error: WorldsimError | None = None
    ready_ns: int = 0


class Prefetch:
    """The queue of prefetched frames. Not thread-safe: the worker's lock guards it.

    A deeper queue hides slow frames, but a misprediction then discards more of them and more often finds the model busy
    with a stale one. So the depth grows while one action is held and the model has time to spare, and returns to the
    minimum after every misprediction. `depth` is 0 if `max_depth` is, else 1 to `max_depth`.
    """

    def __init__(self, max_depth: int) -> None:
        assert max_depth >= 0, max_depth
        self._max_depth = max_depth
        self.depth = min(1, max_depth)
        self._frames: deque[PrefetchedFrame] = deque()
        self._num_full_takes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[PrefetchedFrame]:
        """The next frame first."""
        return iter(self._frames)

    @property
    def has_room(self) -> bool:
        return len(self._frames) < self.depth

    @property
    def tip(self) -> PrefetchedFrame | None:
        """The last queued frame: the next one follows from it."""
        return self._frames[-1] if self._frames else None

    def add(self, frame: PrefetchedFrame) -> None:
        self._frames.append(frame)

    def take(self) -> PrefetchedFrame | None:
        """The next frame, whose action was predicted correctly; None while it is still being computed."""
        self._num_full_takes = self._num_full_takes + 1 if self._frames and not self.has_room else 0
        if self._num_full_takes >= FULL_TAKES_TO_DEEPEN and self.depth < self._max_depth:
            self.depth, self._num_full_takes = self.depth + 1, 0
        return self._frames.popleft() if self._frames else None

    def drop(self) -> int:
        """Discard all frames after a misprediction. Returns their number."""
        num_dropped = len(self._frames)
        self._frames.clear()
        self.depth, self._num_full_takes = min(1, self._max_depth), 0
        return num_dropped


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
        """`load` and its imports run in the thread. `on_change` is called from the thread, without the lock.
        `prefetch_depth`: maximum number of prefetched frames."""
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
        self._last_snapshot: Any = None
        self._last_action = NO_ACTION
        self._prefetch = Prefetch(prefetch_depth)
        self._in_flight: Action | None = None
        self._task: Task | None = None
        self._task_result: TaskResult | None = None
        self._is_map_requested = False
        self._map_view: MapView | None = None
        self._epoch = 0
        self._loaded: LoadedWorld | None = None
        # Below: only in the model thread.
        self._current_snapshot: Any = None

    # ---- UI thread

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the thread after its current frame. Does not hang on a hanging model: the thread is a daemon."""
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
        """Requests the next frame, under `action`. One request at a time: `take` the frame before the next one."""
        now_ns = self._clock.now_ns()
        with self._work:
            assert self._request is None and self._ready_step is None, "the requested frame has not been taken"
            action = self._after(action, self._last_action)
            predicted = next((frame.action for frame in self._prefetch), self._in_flight)
            if predicted == action:
                self._count(hits=1)
            else:
                self._count(misses=1)
                self._drop_prefetched()
            self._request = (action, now_ns)
            frame = self._prefetch.take()
            if frame is not None:
                self._deliver(frame)
            self._work.notify_all()

    def take(self) -> Step | None:
        """The requested frame, or the first one after a reset, once it is ready."""
        with self._work:
            step, self._ready_step = self._ready_step, None
            return step

    def expect(self, action: Action | None) -> None:
        """Sets the prediction of the next action; None if it cannot be predicted."""
        with self._work:
            if action == self._expected_action:
                return
            self._expected_action = action
            if self._request is None and action is not None and not self._matches_predictions(action):
                self._drop_prefetched()
            self._work.notify_all()

    def reset(self, seed: int) -> None:
        """Resets the world, also after a failure. The first frame comes through `take`, with index 0."""
        with self._work:
            self._wanted_seed = seed
            self._request = self._ready_step = self._task = self._task_result = self._map_view = None
            self._drop_prefetched()
            self._status = replace(self._status, phase=WorkerPhase.LOADING, stage="resetting", error=None)
            self._work.notify_all()

    @property
    def snapshot(self) -> Any:
        """The state after the last frame returned by `take`, until the next `submit`."""
        with self._work:
            return self._last_snapshot

    def cancel(self) -> Step | None:
        """Withdraws the request. Returns the frame if it was ready already."""
        with self._work:
            step, self._ready_step = self._ready_step, None
            self._request = None
            self._drop_prefetched()
            return step

    def send_task(self, task: Task) -> None:
        """Runs `task` before the next frame; `take_task_result` returns its result. One task at a time; a reset drops
        it."""
        with self._work:
            assert self._task is None and self._task_result is None, "one task at a time"
            self._task = task
            self._work.notify_all()

    def take_task_result(self) -> TaskResult | None:
        with self._work:
            result, self._task_result = self._task_result, None
            return result

    def request_map_view(self) -> None:
        """Renews `map_view` before the next prefetched frame."""
        with self._work:
            self._is_map_requested = True
            self._work.notify_all()

    @property
    def map_view(self) -> MapView | None:
        """The map after the newest frame of the last request; None before it, and for worlds without a map."""
        with self._work:
            return self._map_view

    def set_num_steps(self, num_steps: int) -> None:
        """Applies from the next frame; frames prefetched with another number are recomputed."""
        with self._work:
            self._wanted_num_steps = num_steps
            if self._request is None:
                self._drop_prefetched()
            self._work.notify_all()

    # ---- model thread

    def run_once(self) -> bool:
        """Runs the most urgent job. Returns whether there was one."""
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
        if self._loaded is not None:
            self._loaded.playable.close()

    def _next_job(self) -> Callable[[], None] | None:
        """Locked. Choosing a job also marks it as begun, so that nothing changes between choosing and running it."""
        if self._is_closing:
            return None
        if self._wanted_seed is not None:
            if self._loaded is None:
                return self._load_world
            seed, self._wanted_seed = self._wanted_seed, None
            return partial(self._reset_world, seed, self._epoch)
        if self._task is not None and self._loaded is not None:
            return partial(self._run_task, self._task)
        if self._status.phase is not WorkerPhase.READY:
            return None
        if self._request is not None:
            return self._begin_frame(self._request[0], self._last_snapshot)
        if self._is_map_requested:
            self._is_map_requested = False
            return partial(self._view_map, self._last_snapshot)
        loaded, tip = self._loaded, self._prefetch.tip
        if self._expected_action is None or not self._prefetch.has_room or loaded is None or not loaded.can_rewind:
            return None
        if tip is not None and tip.error:
            return None
        source, before = self._last_snapshot, self._last_action
        if tip is not None and tip.step is not None:
            source, before = tip.snapshot, tip.step.action
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
        with self._work:
            self._loaded = loaded
            self._status = replace(self._status, loaded=loaded)
            self._count(num_steps=loaded.playable.num_steps)

    def _reset_world(self, seed: int, epoch: int) -> None:
        try:
            step = self._playable.reset(seed)
            self._current_snapshot = self._playable.snapshot()
        except Exception as error:
            self._fail(error)
            return
        with self._work:
            if epoch == self._epoch:
                self._last_snapshot, self._last_action, self._ready_step = self._current_snapshot, step.action, step
                self._status = replace(self._status, phase=WorkerPhase.READY, stage="", error=None)

    def _run_task(self, task: Task) -> None:
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
                self._last_snapshot, self._last_action = result.position.snapshot, result.position.step.action
                self._status = replace(self._status, phase=WorkerPhase.READY, stage="", error=None)

    def _view_map(self, snapshot: Any) -> None:
        try:
            view = self._playable.map_view(snapshot) if isinstance(self._playable, SupportsMapView) else None
        except Exception:  # a fault of the device, which the next frame reports
            view = None
        with self._work:
            if self._wanted_seed is None:
                self._map_view = view

    def _begin_frame(self, action: Action, source: Any, stream: StreamContext = nullcontext) -> Callable[[], None]:
        """Locked. Marks a frame as in flight, from snapshot `source`."""
        if self._wanted_num_steps is not None and self._playable.num_steps:
            self._playable.num_steps = self._wanted_num_steps
            self._count(num_steps=self._wanted_num_steps)
        self._wanted_num_steps = None
        self._in_flight = action
        return partial(self._run_frame, action, source, self._epoch, stream)

    def _run_frame(self, action: Action, source: Any, epoch: int, stream: StreamContext) -> None:
        frame = self._compute(action, source, stream)
        with self._work:
            if epoch != self._epoch:
                self._count(dropped=1)
                return
            self._in_flight = None
            if self._request is None:
                self._prefetch.add(frame)
                return
            assert self._request[0] == action and not len(self._prefetch), "a misprediction was not discarded"
            self._deliver(frame)

    def _compute(self, action: Action, source: Any, stream: StreamContext) -> PrefetchedFrame:
        assert self._loaded is not None
        playable = self._playable
        begin_ns = self._clock.now_ns()
        try:
            if self._current_snapshot is not source:
                playable.restore(source)
            self._current_snapshot = None
            with stream():
                step = playable.step(action)
            self._current_snapshot = playable.snapshot()
            end_ns = self._clock.now_ns()
            frame = PrefetchedFrame(action=action, step=step, snapshot=self._current_snapshot, ready_ns=end_ns)
        except Exception as error:
            end_ns = self._clock.now_ns()
            frame = PrefetchedFrame(action=action, error=as_worldsim_error(error))
        device_bytes = self._loaded.device_bytes()
        with self._work:
            self._count(made=1, busy_ns=end_ns - begin_ns, num_steps=playable.num_steps, times=playable.last_times)
            self._status = replace(self._status, warning=self._loaded.warning())
            self._counters = replace(self._counters, device_bytes=device_bytes)
        return frame

    @property
    def _playable(self) -> SimulatorProtocol:
        assert self._loaded is not None, "nothing is loaded"
        return self._loaded.playable

    def _deliver(self, frame: PrefetchedFrame) -> None:
        """Locked. Answers the request with `frame`."""
        assert self._request is not None
        requested_ns, self._request = self._request[1], None
        if frame.step is None:
            self._status = replace(self._status, phase=WorkerPhase.FAILED, stage="", error=frame.error)
            return
        self._last_snapshot, self._last_action = frame.snapshot, frame.step.action
        ready_ns = max(requested_ns, frame.ready_ns)
        self._ready_step = replace(frame.step, t_input_ns=requested_ns, t_ready_ns=ready_ns)

    def _after(self, action: Action, before: Action) -> Action:
        """Locked. The world's input for `action`, after a frame under `before`."""
        return action if self._loaded is None else pose_step(self._loaded.action_spec, action, before)

    def _matches_predictions(self, action: Action) -> bool:
        """Locked. Whether holding `action` gives the prefetched frames."""
        before = self._last_action
        for frame in self._prefetch:
            if frame.action != self._after(action, before):
                return False
            before = frame.action if frame.step is None else frame.step.action
        return self._in_flight is None or self._in_flight == self._after(action, before)

    def _drop_prefetched(self) -> None:
        """Locked. Discards prefetched frames, and the one in flight, after a misprediction."""
        self._count(dropped=self._prefetch.drop())
        self._epoch += 1
        self._in_flight = None

    def _fail(self, error: Exception) -> None:
        """Loading or resetting failed. Reported unless another reset is waiting."""
        with self._work:
            if self._wanted_seed is None:
                self._status = replace(self._status, phase=WorkerPhase.FAILED, stage="", error=as_worldsim_error(error))

    def _report(self, stage: str) -> None:
        with self._work:
            self._status = replace(self._status, stage=stage)
        self._on_change()

    def _count(self, *, num_steps: int | None = None, times: StageTimes | None = None, **more: int) -> None:
        """Locked. Adds to the counters named in `more`; sets the other two."""
        before = self._counters
        sums = {name: getattr(before, name) + value for name, value in more.items()}
        self._counters = replace(
            before, **sums, num_steps=before.num_steps if num_steps is None else num_steps, times=times or before.times
        )
