"""The ground-truth world beside the learned one, in a thread of its own: same start, same actions, wherever play goes.

`follow` and `status` never wait. A game engine cannot go back: after a rewind, a change of branch, a load or a reset it
replays all actions from the start. Torch-free.
"""

from __future__ import annotations

import math
import random
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from worldsim.core.errors import ConfigError, WorldError, WorldsimError
from worldsim.core.images import psnr
from worldsim.core.types import Action, ActionSpec, Step, World
from worldsim.engine.history import ActionRuns, HistoryNode
from worldsim.engine.interfaces import ReferenceSource, ReferenceWorld, StageTimes
from worldsim.episodes.format import ActionRun, ContextOverride
from worldsim.worlds import GroundTruthConfig, open_world
from worldsim.worlds.base import PosePolicy
from worldsim.worlds.trajectories import FIRST_START_SEED, START_POLICY, collect_trajectory, start_trajectory_frames

if TYPE_CHECKING:  # loads torch
    from worldsim.presets.store import Start

PROGRESS_INTERVAL_S = 0.2
"""Interval of progress reports while catching up."""


class ForwardOnlySimulator:
    """A ground-truth world as a simulator: without rewinding and denoising steps. `keys`: the player's inputs, where
    the world's own are poses."""

    num_steps = 0
    last_times = StageTimes()

    def __init__(self, world: World, keys: ActionSpec | None = None) -> None:
        self._world = world
        self.action_spec = keys or world.action_spec
        self.frame_shape = world.frame_shape

    def reset(self, seed: int) -> Step:
        return self._world.reset(seed)

    def step(self, action: Action) -> Step:
        return self._world.step(action)

    def snapshot(self) -> object:
        return object()

    def restore(self, snapshot: object) -> None:
        raise AssertionError("a ground-truth world cannot go back; play it with LoadedWorld(can_rewind=False)")

    def close(self) -> None:
        self._world.close()


class ReferenceWorldAtStarts(ForwardOnlySimulator):
    """A ground-truth world whose `reset(seed)` repeats the recorded trajectory to a start of the preset."""

    def __init__(self, config: GroundTruthConfig, starts: Sequence[Start]) -> None:
        self._engine, self._starts = open_world(config), starts
        self.steps_to_start: tuple[Step, ...] = ()
        """Steps of the trajectory to the start, ending with the start itself."""
        super().__init__(self._engine)

    def reset(self, seed: int) -> Step:
        """The last step of the trajectory, with its index there.

        Raises: WorldError when the trajectory does not end in the preset's own frame; MissingPackageError.
        """
        number = seed % len(self._starts)
        shown = self._starts[number].frames
        num_frames = start_trajectory_frames(len(shown))
        trajectory = collect_trajectory(self._engine, FIRST_START_SEED + number, num_frames, START_POLICY)
        self.steps_to_start = tuple(trajectory)
        if not np.array_equal(self.steps_to_start[-1].frame, shown[-1]):
            raise WorldError(
                f"the reference world does not reproduce start {number} of the preset",
                hint="its starts were not made by `worldsim train` in this world; compare with other weights instead",
            )
        return self.steps_to_start[-1]

    def explorer(self, seed: int) -> PosePolicy:
        """A policy for the maze of the last `reset`."""
        return self._engine.make_policy(START_POLICY, random.Random(seed))


@dataclass(frozen=True, kw_only=True)
class AlignedFrames:
    """The same frame in both worlds. `context` holds the ground-truth steps up to it, ending with `reference`."""

    generated: Step
    reference: Step
    psnr_db: float
    context: tuple[Step, ...]

    def context_override(self, spec: ActionSpec) -> ContextOverride:
        """The ground-truth frames, to replace the model's memory with."""
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
    """Ticks by which the reference world is behind play."""
    pair: AlignedFrames | None = None
    """The newest frame that both worlds have reached."""
    explorer: PosePolicy | None = None
    step_length: float = 1.0
    """Distance walked per tick, in the world's units: the largest on the way to the start."""
    unreachable_reason: str = ""
    """Why the reference world cannot be at play's pose, for example inside a wall. There is no `pair` then."""
    error: WorldsimError | None = None


@dataclass(frozen=True, kw_only=True)
class _Goal:
    """Where play is. It does not refer to the history's node, which can then be evicted."""

    seed: int
    action_runs: ActionRuns | None
    generated: Step


class ReferenceWorker:
    """`start` runs it as a thread; tests leave that out and call `run_once` between the other calls."""

    def __init__(self, source: ReferenceSource, spec: ActionSpec, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change` is called from the thread, without the lock."""
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
        """Ends the thread and the engine. Does not hang on a hanging engine: the thread is a daemon."""
        with self._work:
            self._is_closing = True
            self._work.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def follow(self, node: HistoryNode) -> None:
        """Sets the node to move to: where play is."""
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
        """One step towards play. Returns whether there was one to take."""
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
        """Skips a pose that the world cannot take: the next one may be outside the wall again."""
        try:
            self._recent_steps.append(world.step(action))
            self._unreachable_reason = ""
        except ConfigError as error:
            self._unreachable_reason = error.message

    def _plan_path(self, wanted: _Goal) -> None:
        """Queues the actions from here to `wanted`: a few more, or all of them after a reset."""
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
        """Reports every arrival, and progress at intervals."""
        num_left = sum(count for _, count in self._pending_runs)
        has_arrived = not num_left and not self._needs_reset
        now_s = time.monotonic()
        if not has_arrived and now_s - self._last_report_s < PROGRESS_INTERVAL_S:
            return
        reason = self._unreachable_reason
        pair = _align(goal.generated, tuple(self._recent_steps)) if has_arrived and not reason else None
        with self._work:
            self._last_report_s = now_s
            self._status = replace(
                self._status,
                phase=ReferencePhase.FOLLOWING,
                unreachable_reason=reason,
                num_left=num_left,
                pair=pair or (None if reason else self._status.pair),
            )
        self._on_change()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, WorldsimError):
            traceback.print_exception(error)
            error = WorldsimError(f"reference world: {type(error).__name__}: {error}")
        with self._work:
            self._status = ReferenceStatus(phase=ReferencePhase.FAILED, error=error)
        self._on_change()


def runs_between(before: ActionRuns | None, after: ActionRuns | None) -> list[ActionRun] | None:
    """Actions from one node to a later one of the same line of play; None if it is not a later one."""
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
    """Whether `action_runs` is `before` with its last action held longer."""
    new, old = action_runs.run, before.run
    same = action_runs.previous is before.previous and new.extends(old.action, old.num_steps, old.device)
    return same and new.count > old.count


def _align(generated: Step, steps: tuple[Step, ...]) -> AlignedFrames:
    reference = replace(steps[-1], index=generated.index)
    return AlignedFrames(
        generated=generated,
        reference=reference,
        psnr_db=float(psnr(reference.frame, generated.frame)),
        context=steps,
    )


def _step_length(steps: Sequence[Step]) -> float:
    poses = [step.pose for step in steps if step.pose is not None]
    return max((math.hypot(b.x - a.x, b.y - a.y) for a, b in pairwise(poses)), default=0.0) or 1.0
