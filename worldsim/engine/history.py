"""Everything played since loading, as a tree: every frame, periodic snapshots, and the branches rewinding left behind.

Torch-free: a snapshot is opaque here and never touched. UI thread, except `replay_to`, which runs in the model thread.

A snapshot every `SNAPSHOT_EVERY` frames is enough, since the frames between are exact functions of it and the actions.
Over the budget the oldest nodes are evicted. Actions are kept (about 350 bytes per change of action): recordings and
saves need them.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from worldsim.core.errors import StateError
from worldsim.core.types import ActionSpec, Step
from worldsim.engine.interfaces import Position, SimulatorProtocol
from worldsim.episodes.format import ActionRun, ContextOverride

BUDGET_BYTES = 320 * 2**20
"""Budget for frames and snapshots. The process holds up to 50 % more after an hour: memory that the allocator does not
return at once, and every action since the reset. That stays within 512 MB: twenty minutes of play at 17.5 frames/s if
the state is small (`maze`, 0.06 MB), two if it holds a map (1.4 MB)."""
TRIM_AFTER_BYTES = BUDGET_BYTES // 10
"""Evicted bytes after which memory kept by the C library is returned to the system."""
SNAPSHOT_EVERY = 10
"""Frames. At 25 ms a frame, replaying to any node takes at most a quarter of a second."""
MOMENT_BYTES = 1000
"""Cost of a node besides its frame and snapshot: its Python objects, measured and rounded up."""


@dataclass(frozen=True, slots=True)
class ActionRuns:
    """The actions since the reset as a linked list, newest first; branches share their common part."""

    previous: ActionRuns | None
    run: ActionRun


@dataclass(eq=False, slots=True)
class HistoryNode:
    """One frame of play and how it was reached."""

    step: Step
    seed: int
    branch: int
    parent: HistoryNode | None
    action_runs: ActionRuns | None
    snapshot: Any = None
    override: ContextOverride | None = None
    """The last context reset up to this frame."""
    drift: float | None = None
    """Level of the drift meter; None while unknown."""
    is_evicted: bool = False

    def runs(self) -> tuple[ActionRun, ...]:
        """Actions from the reset with `seed` to this frame, oldest first."""
        found: list[ActionRun] = []
        action_runs = self.action_runs
        while action_runs is not None:
            found.append(action_runs.run)
            action_runs = action_runs.previous
        return tuple(reversed(found))

    def position(self, snapshot: Any = None) -> Position:
        return Position(step=self.step, snapshot=snapshot, seed=self.seed, runs=self.runs(), override=self.override)


@dataclass(eq=False)
class Branch:
    """`number` counts from 1; a branch without `parent` began with a reset or a saved state."""

    number: int
    parent: int | None
    first_index: int
    tip: HistoryNode
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class ReplayPath:
    """How to reproduce a node: replaying `path` from `snapshot` reaches `target`, whose snapshot is not known yet."""

    snapshot: Any
    path: tuple[Step, ...]
    target: Position


def replay_to(route: ReplayPath, playable: SimulatorProtocol) -> Position:
    """Move `playable` to the route's target. Its number of denoising steps is restored afterwards.

    Raises: StateError when a frame could not be computed with its original number of denoising steps.
    """
    num_steps = playable.num_steps
    try:
        playable.restore(route.snapshot)
        for step in route.path:
            if step.num_steps:
                playable.num_steps = step.num_steps
            if playable.step(step.action).num_steps != step.num_steps:
                raise StateError("cannot replay to this frame: not enough memory for its denoising steps")
        return replace(route.target, snapshot=playable.snapshot())
    finally:
        if num_steps:
            playable.num_steps = num_steps


@dataclass(eq=False, kw_only=True)
class PlayHistory:
    """Call `begin` at every reset and `add` for every later frame; `move_to` sets the node that play continues from."""

    spec: ActionSpec
    snapshot_bytes: int
    budget_bytes: int = BUDGET_BYTES
    head: HistoryNode | None = None
    """The node that play has reached."""
    branches: dict[int, Branch] = field(default_factory=dict)
    """Branches whose tip is still held, by number, oldest first."""
    num_bytes: int = 0
    _order: deque[HistoryNode] = field(default_factory=deque)
    _num_branches: int = 0
    _freed_bytes: int = 0

    def begin(self, position: Position, label: str = "") -> None:
        """Play starts at `position`: after a reset or a load."""
        action_runs: ActionRuns | None = None
        for run in position.runs:
            action_runs = ActionRuns(action_runs, run)
        branch, step, snapshot = self._num_branches + 1, position.step, position.snapshot
        node = HistoryNode(step, position.seed, branch, None, action_runs, snapshot, position.override)
        self._start_branch(None, node, label)
        self._store(node)

    def add(self, step: Step, snapshot: Any) -> None:
        """Append the frame after the head. If the head is not the tip of its branch, this starts another branch."""
        head = self.head
        assert head is not None, "begin comes before add"
        node = HistoryNode(step, head.seed, head.branch, head, self._runs_after(head, step), override=head.override)
        nearest, distance = self._nearest_snapshot(head)
        if nearest is None or distance + 1 >= SNAPSHOT_EVERY:
            node.snapshot = snapshot
        self._append(node, head)

    def add_context_reset(self, position: Position) -> None:
        """Append a second node for the head's frame: the same actions led there, but memory was replaced.

        Rewinding goes from it back to the former head.
        """
        head = self.head
        assert head is not None, "begin comes before add_context_reset"
        node = HistoryNode(position.step, head.seed, head.branch, head, head.action_runs)
        node.snapshot, node.override = position.snapshot, position.override
        self._append(node, head)

    def _append(self, node: HistoryNode, head: HistoryNode) -> None:
        branch = self.branches.get(head.branch)
        if branch is not None and branch.tip is head:
            branch.tip = node
        else:
            node.branch = self._num_branches + 1
            self._start_branch(head.branch, node)
        self._store(node)

    def move_to(self, node: HistoryNode, snapshot: Any) -> None:
        """Play continues from `node`, whose `snapshot` was just computed."""
        if node.snapshot is None:
            node.snapshot = snapshot
            self.num_bytes += self.snapshot_bytes
        self.head = node

    def parent_of(self, node: HistoryNode) -> HistoryNode | None:
        """The node one frame earlier; None where play began, or if that frame cannot be reproduced any more."""
        parent = node.parent
        return parent if parent is not None and self._nearest_snapshot(parent)[0] is not None else None

    def route(self, node: HistoryNode) -> ReplayPath:
        nearest, distance = self._nearest_snapshot(node)
        assert nearest is not None, "unreachable node: only parent_of() and branches give reachable ones"
        path: list[Step] = []
        at = node
        for _ in range(distance):
            path.append(at.step)
            assert at.parent is not None
            at = at.parent
        return ReplayPath(snapshot=nearest.snapshot, path=tuple(reversed(path)), target=node.position())

    def depth(self, branch: Branch) -> int:
        """How many ancestors of a branch are still held."""
        depth = 0
        while branch.parent is not None and branch.parent in self.branches:
            branch, depth = self.branches[branch.parent], depth + 1
        return depth

    def neighbor(self, offset: int) -> Branch | None:
        """The branch `offset` further in the list than the head's, wrapping around; None if there is no other."""
        numbers = list(self.branches)
        if self.head is None or len(numbers) < 2:
            return None
        current = numbers.index(self.head.branch) if self.head.branch in self.branches else 0
        return self.branches[numbers[(current + offset) % len(numbers)]]

    def _nearest_snapshot(self, node: HistoryNode) -> tuple[HistoryNode | None, int]:
        """The nearest node with a snapshot, at or before `node`, and its distance in frames."""
        distance, at = 0, node
        while not at.is_evicted:
            if at.snapshot is not None:
                return at, distance
            if at.parent is None:
                break
            at, distance = at.parent, distance + 1
        return None, distance

    def _runs_after(self, head: HistoryNode, step: Step) -> ActionRuns:
        action = tuple(map(float, self.spec.encode(step.action)))
        last = head.action_runs
        if last is not None and last.run.extends(action, step.num_steps, step.device):
            return ActionRuns(last.previous, replace(last.run, count=last.run.count + 1))
        return ActionRuns(last, ActionRun(action=action, num_steps=step.num_steps, device=step.device, count=1))

    def _start_branch(self, parent: int | None, node: HistoryNode, label: str = "") -> None:
        self._num_branches = node.branch
        self.branches[node.branch] = Branch(node.branch, parent, node.step.index, node, label)

    def _store(self, node: HistoryNode) -> None:
        self.head = node
        self._order.append(node)
        self.num_bytes += self._num_bytes(node)
        while self.num_bytes > self.budget_bytes and self._order[0] is not self.head:
            self._evict(self._order.popleft())

    def _evict(self, node: HistoryNode) -> None:
        self.num_bytes -= self._num_bytes(node)
        self._freed_bytes += self._num_bytes(node)
        if self._freed_bytes >= TRIM_AFTER_BYTES:
            self._freed_bytes = 0
            trim_heap_async()
        had_snapshot = node.snapshot is not None
        node.is_evicted, node.parent, node.snapshot, node.action_runs = True, None, None, None
        if had_snapshot:  # nodes up to the next snapshot can no longer be reproduced
            self.branches = {n: b for n, b in self.branches.items() if self._nearest_snapshot(b.tip)[0] is not None}

    def _num_bytes(self, node: HistoryNode) -> int:
        return MOMENT_BYTES + node.step.frame.nbytes + (self.snapshot_bytes if node.snapshot is not None else 0)


def trim_heap_async() -> None:
    """Return freed memory to the system, in a thread of its own: going through the heap takes milliseconds.

    glibc returns memory only from the end of its heap, and snapshots, which are freed one by one, have smaller objects
    between them. With `maze` and a history of 15.5 MB it kept 8 MB more after 900 frames without this; trimming that
    heap takes 0.7 ms.
    """
    trim = _malloc_trim()
    if trim is not None:
        threading.Thread(target=trim, args=(0,), name="malloc_trim", daemon=True).start()


def _malloc_trim() -> Callable[[int], int] | None:
    """None if the C library is not glibc."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, TypeError, OSError):  # another library; Windows has no CDLL(None)
        return None
    return trim
