"""All that was played, as a tree: every frame, a snapshot now and then, and the branches that rewinding left behind.

Owns: moments, branches, the budget in bytes, the route to any moment that is still held. Does not own: the making of
frames (`engine.worker` runs `replay_to`), what is said of it (`app.timeline`). Torch-free; a snapshot is opaque here
and never touched. UI thread, but `replay_to`, which runs in the model thread.

A snapshot every `SNAPSHOT_EVERY` frames is enough: the frames between are exact functions of it and the actions. Over
the budget the oldest moments go. Actions are kept for ever (about 350 bytes a change): recordings and saves need them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from worldsim.core.errors import StateError
from worldsim.core.types import ActionSpec, Step
from worldsim.engine.interfaces import Position, SimulatorProtocol
from worldsim.engine.malloc_trim import trim_heap_async
from worldsim.episodes.context_override import ContextOverride
from worldsim.episodes.format import ActionRun

BUDGET_BYTES = 320 * 2**20
"""Of pictures and snapshots. The process holds up to a half more after an hour: what the allocator does not give
back at once, and every action since the reset. So it stays within 512 MB: twenty minutes of play at 17.5 frames a
second where the state is small (`maze`, 0.06 MB), two where it holds a plan (1.4 MB)."""
TRIM_AFTER_BYTES = BUDGET_BYTES // 10
"""After so much was let go of, what the C library kept of it goes back to the machine."""
SNAPSHOT_EVERY = 10
"""Frames. At 25 ms a frame the way to any moment then takes a quarter of a second at most."""
MOMENT_BYTES = 1000
"""What a moment costs beside its picture and its snapshot: the objects, measured and rounded up."""


@dataclass(frozen=True, slots=True)
class ActionRuns:
    """The actions since the reset, newest first; branches share what they have in common."""

    previous: ActionRuns | None
    run: ActionRun


@dataclass(eq=False, slots=True)
class HistoryNode:
    """One frame of play, and how it came about."""

    step: Step
    seed: int
    branch: int
    parent: HistoryNode | None
    action_runs: ActionRuns | None
    snapshot: Any = None
    anchor: ContextOverride | None = None
    """The last time up to here that true pictures took the place of memory."""
    drift: float | None = None
    """What the drift meter said of it; None while it does not know yet."""
    is_evicted: bool = False

    def runs(self) -> tuple[ActionRun, ...]:
        """What led here from the reset with `seed`, oldest first."""
        found: list[ActionRun] = []
        action_runs = self.action_runs
        while action_runs is not None:
            found.append(action_runs.run)
            action_runs = action_runs.previous
        return tuple(reversed(found))


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
    """How to stand at a moment again: `path` from `snapshot` ends in `step`."""

    snapshot: Any
    path: tuple[Step, ...]
    step: Step


def replay_to(route: ReplayPath, playable: SimulatorProtocol) -> Position:
    """Puts `playable` at the route's end. Its number of denoising steps is afterwards what it was.

    Raises: StateError when a frame could not be made as it was.
    """
    num_steps = playable.num_steps
    try:
        playable.restore(route.snapshot)
        for step in route.path:
            if step.num_steps:
                playable.num_steps = step.num_steps
            if playable.step(step.action).num_steps != step.num_steps:
                raise StateError("the way there cannot be gone again: there is no memory for as many denoising steps")
        return Position(step=route.step, snapshot=playable.snapshot())
    finally:
        if num_steps:
            playable.num_steps = num_steps


@dataclass(eq=False, kw_only=True)
class PlayHistory:
    """`begin` at every reset, `add` every frame after it; `move_to` sets the node that play continues from."""

    spec: ActionSpec
    snapshot_bytes: int
    budget_bytes: int = BUDGET_BYTES
    head: HistoryNode | None = None
    """The moment that play has reached."""
    branches: dict[int, Branch] = field(default_factory=dict)
    """Those of which the end is still held, by number, oldest first."""
    num_bytes: int = 0
    _order: deque[HistoryNode] = field(default_factory=deque)
    _num_branches: int = 0
    _freed_bytes: int = 0

    def begin(
        self,
        step: Step,
        snapshot: Any,
        seed: int,
        runs: Iterable[ActionRun] = (),
        label: str = "",
        anchor: ContextOverride | None = None,
    ) -> None:
        """Play begins anew at `step`, to which `runs` led from a reset with `seed`."""
        action_runs: ActionRuns | None = None
        for run in runs:
            action_runs = ActionRuns(action_runs, run)
        node = HistoryNode(step, seed, self._num_branches + 1, None, action_runs, snapshot, anchor)
        self._start_branch(None, node, label)
        self._store(node)

    def add(self, step: Step, snapshot: Any) -> None:
        """The frame after the head. Where the head is not the end of its branch, another branch begins."""
        head = self.head
        assert head is not None, "begin comes before add"
        node = HistoryNode(step, head.seed, head.branch, head, self._runs_after(head, step), anchor=head.anchor)
        nearest, distance = self._nearest_snapshot(head)
        if nearest is None or distance + 1 >= SNAPSHOT_EVERY:
            node.snapshot = snapshot
        self._append(node, head)

    def replace_memory(self, step: Step, snapshot: Any, anchor: ContextOverride) -> None:
        """The head once more, as a moment of its own: the same actions led there, but play goes on from true pictures.

        Rewinding goes from it back to what the head was.
        """
        head = self.head
        assert head is not None, "begin comes before replace_memory"
        self._append(HistoryNode(step, head.seed, head.branch, head, head.action_runs, snapshot, anchor), head)

    def _append(self, node: HistoryNode, head: HistoryNode) -> None:
        branch = self.branches.get(head.branch)
        if branch is not None and branch.tip is head:
            branch.tip = node
        else:
            node.branch = self._num_branches + 1
            self._start_branch(head.branch, node)
        self._store(node)

    def move_to(self, node: HistoryNode, snapshot: Any) -> None:
        """Play goes on from `node`, where `snapshot` was just made."""
        if node.snapshot is None:
            node.snapshot = snapshot
            self.num_bytes += self.snapshot_bytes
        self.head = node

    def parent_of(self, node: HistoryNode) -> HistoryNode | None:
        """The moment one frame earlier; None where play began, or where what came before is not held any more."""
        parent = node.parent
        return parent if parent is not None and self._nearest_snapshot(parent)[0] is not None else None

    def route(self, node: HistoryNode) -> ReplayPath:
        nearest, distance = self._nearest_snapshot(node)
        assert nearest is not None, "nobody can go there: parent_of() and branches say where one can"
        path: list[Step] = []
        now = node
        for _ in range(distance):
            path.append(now.step)
            assert now.parent is not None
            now = now.parent
        return ReplayPath(snapshot=nearest.snapshot, path=tuple(reversed(path)), step=node.step)

    def depth(self, branch: Branch) -> int:
        """How many branches it grew out of, as far as they are still held."""
        depth = 0
        while branch.parent is not None and branch.parent in self.branches:
            branch, depth = self.branches[branch.parent], depth + 1
        return depth

    def neighbor(self, offset: int) -> Branch | None:
        """The branch `offset` further in the list than the head's, going round; None when there is no other."""
        numbers = list(self.branches)
        if self.head is None or len(numbers) < 2:
            return None
        here = numbers.index(self.head.branch) if self.head.branch in self.branches else 0
        return self.branches[numbers[(here + offset) % len(numbers)]]

    def _nearest_snapshot(self, node: HistoryNode) -> tuple[HistoryNode | None, int]:
        """The nearest moment with a snapshot, at `node` or before it, and how many frames before."""
        distance, now = 0, node
        while not now.is_evicted:
            if now.snapshot is not None:
                return now, distance
            if now.parent is None:
                break
            now, distance = now.parent, distance + 1
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
        if had_snapshot:  # with it goes the way to the moments after it, up to the next snapshot
            self.branches = {n: b for n, b in self.branches.items() if self._nearest_snapshot(b.tip)[0] is not None}

    def _num_bytes(self, node: HistoryNode) -> int:
        return MOMENT_BYTES + node.step.frame.nbytes + (self.snapshot_bytes if node.snapshot is not None else 0)
