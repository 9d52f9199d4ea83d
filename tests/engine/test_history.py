"""The history tree: rewinding, branches, and the budget in bytes; on a fake simulator."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.fakes import SPEC, FakeSimulator
from worldsim.core.types import Action, Step
from worldsim.engine import history
from worldsim.engine.history import MOMENT_BYTES, SNAPSHOT_EVERY, PlayHistory, replay_to
from worldsim.engine.interfaces import Position

SNAPSHOT_BYTES = 1000
FRAME_BYTES = 48 * 64 * 3
ACTIONS = [Action.of("forward"), Action.of(turn=0.5), Action(), Action.of("left", turn=-1.0)]


class Play:
    """Plays a fake simulator into a history."""

    def __init__(self, budget_bytes: int = 2**40) -> None:
        self.world = FakeSimulator()
        self.history = PlayHistory(spec=SPEC, snapshot_bytes=SNAPSHOT_BYTES, budget_bytes=budget_bytes)
        self.reset(0)

    def reset(self, seed: int) -> None:
        step = self.world.reset(seed)
        self.history.begin(Position(step=step, snapshot=self.world.snapshot(), seed=seed))

    def go(self, num_frames: int, first: int = 0) -> list[Step]:
        steps = []
        for n in range(num_frames):
            step = self.world.step(ACTIONS[(first + n) % len(ACTIONS)])
            self.history.add(step, self.world.snapshot())
            steps.append(step)
        return steps

    def back(self, num_frames: int) -> None:
        node = self.history.head
        for _ in range(num_frames):
            assert node is not None
            node = self.history.parent_of(node)
        assert node is not None
        arrival = replay_to(self.history.route(node), self.world)
        self.history.move_to(node, arrival.snapshot)


@pytest.mark.parametrize("num_frames", [0, 1, SNAPSHOT_EVERY - 1, SNAPSHOT_EVERY, 3 * SNAPSHOT_EVERY + 4])
def test_same_actions_from_any_node_give_the_same_frames(num_frames: int) -> None:
    play = Play()
    steps = play.go(4 * SNAPSHOT_EVERY)
    play.back(num_frames)
    begin = len(steps) - num_frames
    again = play.go(num_frames, first=begin)
    assert [s.index for s in again] == [s.index for s in steps[begin:]]
    assert all(np.array_equal(a.frame, b.frame) for a, b in zip(again, steps[begin:], strict=True))


def test_last_frame_of_a_replay_path_is_reproduced() -> None:
    play = Play()
    steps = play.go(SNAPSHOT_EVERY + 5)
    assert play.history.head is not None
    route = play.history.route(play.history.head)
    assert 0 < len(route.path) < SNAPSHOT_EVERY
    play.world.restore(route.snapshot)
    made = [play.world.step(step.action) for step in route.path]
    assert np.array_equal(made[-1].frame, steps[-1].frame)


def test_replay_path_uses_the_recorded_denoising_steps_and_restores_the_current_number() -> None:
    play = Play()
    play.go(2)
    play.world.num_steps = 4
    steps = play.go(3)
    play.world.num_steps = 2
    assert play.history.head is not None
    arrival = replay_to(play.history.route(play.history.head), play.world)
    assert play.world.num_steps == 2
    assert arrival.snapshot == play.world.snapshot()
    reference = FakeSimulator()
    reference.reset(0)
    for number, num_steps in enumerate([1, 1, 4, 4, 4]):
        reference.num_steps = num_steps
        last = reference.step(ACTIONS[number if number < 2 else number - 2])
    assert np.array_equal(last.frame, steps[-1].frame)
    assert arrival.snapshot == reference.snapshot()


def test_playing_after_a_rewind_starts_a_branch_and_keeps_the_old_one() -> None:
    play = Play()
    first = play.go(20)
    play.back(5)
    assert list(play.history.branches) == [1], "no frame since then"
    second = play.go(3, first=1)
    one, two = play.history.branches.values()
    assert (one.number, one.parent, one.tip.step) == (1, None, first[-1])
    assert (two.number, two.parent, two.first_index, two.tip.step) == (2, 1, 16, second[-1])
    assert [play.history.depth(branch) for branch in (one, two)] == [0, 1]


def test_returning_to_a_branch_continues_it_unchanged() -> None:
    play = Play()
    play.go(20)
    play.back(5)
    play.go(7, first=2)
    branch = play.history.neighbor(1)
    assert branch is not None and branch.number == 1
    play.history.move_to(branch.tip, replay_to(play.history.route(branch.tip), play.world).snapshot)
    again = play.go(4, first=20)
    reference = Play().go(24)
    assert all(np.array_equal(a.frame, b.frame) for a, b in zip(again, reference[20:], strict=True))
    assert list(play.history.branches) == [1, 2], "the tip's branch continues"


def test_single_branch_has_no_neighbor() -> None:
    assert Play().history.neighbor(1) is None


def test_reset_starts_a_branch_that_cannot_be_rewound_past() -> None:
    play = Play()
    play.go(3)
    play.reset(7)
    assert play.history.head is not None
    assert play.history.parent_of(play.history.head) is None
    assert [(b.parent, b.tip.seed) for b in play.history.branches.values()] == [(None, 0), (None, 7)]


def test_runs_of_a_node_lead_to_it_also_on_a_branch() -> None:
    play = Play()
    for _ in range(5):
        play.history.add(play.world.step(ACTIONS[0]), play.world.snapshot())
    play.back(2)
    play.history.add(play.world.step(ACTIONS[2]), play.world.snapshot())
    assert play.history.head is not None
    assert [(run.action[0], run.count) for run in play.history.head.runs()] == [(1.0, 3), (0.0, 1)]
    assert [run.count for run in play.history.branches[1].tip.runs()] == [5]


def test_over_budget_oldest_nodes_are_evicted_and_the_rest_stay_reachable() -> None:
    budget_bytes = 40 * (FRAME_BYTES + MOMENT_BYTES + SNAPSHOT_BYTES)
    play = Play(budget_bytes)
    steps = play.go(300)
    history = play.history
    assert history.num_bytes <= budget_bytes
    node, num_back = history.head, 0
    while node is not None and (before := history.parent_of(node)) is not None:
        node, num_back = before, num_back + 1
    assert 30 <= num_back < 60
    play.back(num_back)
    again = play.go(2, first=300 - num_back)
    assert np.array_equal(again[0].frame, steps[300 - num_back].frame)
    assert list(history.branches) == [1, 2]


def test_evicted_branch_is_no_longer_listed() -> None:
    play = Play(40 * (FRAME_BYTES + MOMENT_BYTES + SNAPSHOT_BYTES))
    play.go(5)
    play.reset(1)
    play.go(200)
    assert list(play.history.branches) == [2]
    assert play.history.neighbor(1) is None


def test_heap_is_trimmed_after_enough_was_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = list[int]()
    play = Play(budget_bytes=20 * (FRAME_BYTES + MOMENT_BYTES + SNAPSHOT_BYTES))
    monkeypatch.setattr(history, "TRIM_AFTER_BYTES", 10 * FRAME_BYTES)
    monkeypatch.setattr(history, "trim_heap_async", lambda: given_back.append(play.world.num_calls))
    play.go(15)
    assert not given_back, "nothing has been freed yet"
    play.go(85)
    assert 6 <= len(given_back) <= 9 and min(np.diff(given_back)) >= 8
