"""The true world beside the learned one, on a thread of its own: the same start, the same actions, wherever play goes.

Owns: the thread, the engine on it, the way from where the engine is to where play is. Does not own: what was played
(`engine.history`), how the two are shown (`app.beside`). `follow` and `status` never wait. A true engine cannot go
back: after a rewind, a change of branch, a load or a reset it walks all of the way from the start again.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise

import numpy as np

from worldsim.core.errors import ConfigError, WorldsimError
from worldsim.core.images import psnr
from worldsim.core.types import Action, ActionSpec, Step
from worldsim.engine.history import ActionRuns, HistoryNode
from worldsim.engine.interfaces import ReferenceSource, ReferenceWorld
from worldsim.episodes.context_override import ContextOverride
from worldsim.episodes.format import ActionRun
from worldsim.worlds.base import PosePolicy

PROGRESS_INTERVAL_S = 0.2
"""While it catches up, the share that is done is told so often."""


@dataclass(frozen=True, kw_only=True)
class AlignedFrames:
    """The same moment in both worlds. `context` is what led to it in the true one, its last step `reference`."""

    generated: Step
    reference: Step
    psnr_db: float
    context: tuple[Step, ...]

    def context_override(self, spec: ActionSpec) -> ContextOverride:
        """The true pictures, to take the place of what the model remembers."""
        actions = [spec.encode(step.action).tolist() for step in self.context]
        return ContextOverride.from_frames(self.generated.index, [step.frame for step in self.context], actions)


class ReferencePhase(Enum):
    OFF = "off"
    STARTING = "starting"
    FOLLOWING = "following"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class ReferenceStatus:
    phase: ReferencePhase = ReferencePhase.OFF
    num_left: int = 0
    """Ticks that the true world is behind."""
    pair: AlignedFrames | None = None
    """The newest moment at which it was level with play."""
    explorer: PosePolicy | None = None
    step_length: float = 1.0
    """How far one walks in a tick, in the world's units: the most that the way to the start went in one."""
    unreachable_reason: str = ""
    """Why the true world cannot be where play is: that flew into a wall. There is no `pair` then."""
    error: WorldsimError | None = None


@dataclass(frozen=True, kw_only=True)
class _Goal:
    """Where play is. Held without the moment itself, so that the history can let go of it."""

    seed: int
    action_runs: ActionRuns | None
    generated: Step


class ReferenceWorker:
    """`start` runs it as a thread; tests leave that out and call `run_once` between the other calls."""

    def __init__(self, source: ReferenceSource, spec: ActionSpec, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change` is called from the thread, unlocked."""
        self._source, self._spec, self._on_change = source, spec, on_change
        self._thread = threading.Thread(target=self._run, name="reference", daemon=True)
        self._work = threading.Condition()
        # Below: only with the lock.
        self._status = ReferenceStatus(phase=ReferencePhase.STARTING)
        self._wanted: _Goal | None = None
        self._is_closing = False
        # Below: only in the thread.
        self._world: ReferenceWorld | None = None
        self._goal: _Goal | None = None
        self._pending_runs: deque[tuple[Action, int]] = deque()
        self._needs_reset = False
        self._recent_steps: deque[Step] = deque(maxlen=source.num_context)
        self._unreachable_reason = ""
        self._last_report_s = 0.0

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the thread and the engine. Does not hang on an engine that hangs: the thread is a daemon."""
        with self._work:
            self._is_closing = True
            self._work.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def follow(self, node: HistoryNode) -> None:
        """Play is at `node`: the true world shall be there too."""
        with self._work:
            wanted = self._wanted
            if wanted is None or wanted.generated is not node.step:
                self._wanted = _Goal(seed=node.seed, action_runs=node.action_runs, generated=node.step)
                self._work.notify_all()

    @property
    def status(self) -> ReferenceStatus:
        with self._work:
            return self._status

    # ---- the thread

    def run_once(self) -> bool:
        """One step of the way. Returns whether there was one to do."""
        with self._work:
            wanted, is_failed = self._wanted, self._status.phase is ReferencePhase.FAILED
        if wanted is None or is_failed or (wanted is self._goal and not self._needs_reset and not self._pending_runs):
            return False
        try:
            self._advance(wanted)
        except Exception as error:
            self._fail(error)
        return True

    def _run(self) -> None:
        while True:
            while not self._is_closing and self.run_once():
                pass
            with self._work:
                if self._is_closing:
                    break
                if self._wanted is self._goal or self._status.phase is ReferencePhase.FAILED:
                    self._work.wait()
        if self._world is not None:
            self._world.close()

    def _advance(self, wanted: _Goal) -> None:
        if self._world is None:
            self._world = self._source.open()
        if wanted is not self._goal:
            self._plan_path(wanted)
        if self._needs_reset:
            self._reset(self._world, wanted.seed)
        elif self._pending_runs:
            action, count = self._pending_runs.popleft()
            if count > 1:
                self._pending_runs.appendleft((action, count - 1))
            self._step(self._world, action)
        self._report(wanted)

    def _step(self, world: ReferenceWorld, action: Action) -> None:
        """A pose at which nobody can be is passed over: the next one may be outside of the wall again."""
        try:
            self._recent_steps.append(world.step(action))
            self._unreachable_reason = ""
        except ConfigError as error:
            self._unreachable_reason = error.message

    def _plan_path(self, wanted: _Goal) -> None:
        """What is left to do to get to `wanted`: a few more actions, or all of them from the start."""
        goal, self._goal = self._goal, wanted
        more = None
        if goal is not None and goal.seed == wanted.seed and not self._needs_reset:
            more = runs_between(goal.action_runs, wanted.action_runs)
        if more is None:
            self._needs_reset = True
            self._pending_runs.clear()
            more = runs_between(None, wanted.action_runs)
        assert more is not None
        for run in more:
            self._pending_runs.append((self._spec.decode(np.asarray(run.action, np.float32)), run.count))

    def _reset(self, world: ReferenceWorld, seed: int) -> None:
        world.reset(seed)
        self._needs_reset, self._unreachable_reason = False, ""
        self._recent_steps.clear()
        self._recent_steps.extend(world.steps_to_start)
        explorer, step_length = world.explorer(seed), _step_length(world.steps_to_start)
        with self._work:
            self._status = replace(self._status, explorer=explorer, step_length=step_length)

    def _report(self, goal: _Goal) -> None:
        """Every arrival, and now and then on the way."""
        num_left = sum(count for _, count in self._pending_runs)
        is_there = not num_left and not self._needs_reset
        now_s = time.monotonic()
        if not is_there and now_s - self._last_report_s < PROGRESS_INTERVAL_S:
            return
        pair = _align(goal.generated, tuple(self._recent_steps)) if is_there and not self._unreachable_reason else None
        with self._work:
            self._last_report_s = now_s
            pair = pair or (None if self._unreachable_reason else self._status.pair)
            following = replace(
                self._status, phase=ReferencePhase.FOLLOWING, unreachable_reason=self._unreachable_reason
            )
            self._status = replace(following, num_left=num_left, pair=pair)
        self._on_change()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, WorldsimError):
            traceback.print_exception(error)
            error = WorldsimError(f"the true world: {type(error).__name__}: {error}")
        with self._work:
            self._status = ReferenceStatus(phase=ReferencePhase.FAILED, error=error)
        self._on_change()


def runs_between(before: ActionRuns | None, after: ActionRuns | None) -> list[ActionRun] | None:
    """What was done from one moment to a later one of the same line of play; None when it is not a later one."""
    found: list[ActionRun] = []
    while after is not before:
        if after is None:
            return None
        if before is not None and _is_longer(after, before):
            found.append(replace(after.run, count=after.run.count - before.run.count))
            break
        found.append(after.run)
        after = after.previous
    return found[::-1]


def _is_longer(action_runs: ActionRuns, before: ActionRuns) -> bool:
    """Whether `action_runs` is `before` with its last action held for longer."""
    now, then = action_runs.run, before.run
    same = action_runs.previous is before.previous and now.extends(then.action, then.num_steps, then.device)
    return same and now.count > then.count


def _align(generated: Step, seen: tuple[Step, ...]) -> AlignedFrames:
    reference = replace(seen[-1], index=generated.index)
    return AlignedFrames(
        generated=generated,
        reference=reference,
        psnr_db=float(psnr(reference.frame, generated.frame)),
        context=seen,
    )


def _step_length(steps: Sequence[Step]) -> float:
    poses = [step.pose for step in steps if step.pose is not None]
    return max((math.hypot(b.x - a.x, b.y - a.y) for a, b in pairwise(poses)), default=0.0) or 1.0
