"""The reference world follows play: same start and actions wherever play goes, with and without a thread."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_tiny_preset
from tests.engine.fake_reference import STRIDE_UNITS, FakeReference, fake_source, no_source
from tests.engine.fakes import SPEC, FakeSimulator
from worldsim.core.errors import ConfigError
from worldsim.core.images import MAX_PSNR_DB
from worldsim.core.types import NO_ACTION, Action, Step
from worldsim.engine.history import ActionRuns, PlayHistory
from worldsim.engine.interfaces import Position, ReferenceSource
from worldsim.engine.reference_world import ReferencePhase, ReferenceWorker, runs_between
from worldsim.episodes.format import ActionRun
from worldsim.presets.config import PresetConfig

FORWARD, TURN = Action.of("forward"), Action.of(turn=1.0)


class Played:
    """A fake simulator played by hand, and the reference world that follows it."""

    def __init__(self, reference: ReferenceWorker | None = None, seed: int = 0) -> None:
        self.world, self.true_world = FakeSimulator(), FakeReference()
        self.reference = reference or ReferenceWorker(fake_source(self.true_world), SPEC)
        self.history = PlayHistory(spec=SPEC, snapshot_bytes=1)
        self.reset(seed)

    def reset(self, seed: int) -> None:
        step = self.world.reset(seed)
        self.history.begin(Position(step=step, snapshot=self.world.snapshot(), seed=seed))
        self.tell()

    def step(self, *actions: Action) -> None:
        for action in actions:
            self.history.add(self.world.step(action), self.world.snapshot())
            self.tell()

    def tell(self) -> None:
        assert self.history.head is not None
        self.reference.follow(self.history.head)

    def catch_up(self) -> int:
        count = 0
        while self.reference.run_once():
            count += 1
        return count

    def back(self, num_frames: int) -> None:
        node = self.history.head
        for _ in range(num_frames):
            assert node is not None
            node = self.history.parent_of(node)
        assert node is not None
        path = self.history.route(node)
        self.world.restore(path.snapshot)
        for step in path.path:
            self.world.step(step.action)
        self.history.move_to(node, self.world.snapshot())
        self.tell()

    def assert_level(self) -> None:
        pair = self.reference.status.pair
        assert pair is not None and self.history.head is not None
        assert pair.generated is self.history.head.step
        assert pair.reference.index == pair.generated.index
        assert np.array_equal(pair.reference.frame, pair.generated.frame), (
            "another frame: not the same actions from the start"
        )
        assert pair.psnr_db == MAX_PSNR_DB


def test_reference_starts_where_play_is_and_follows_every_action() -> None:
    played = Played()
    played.step(FORWARD, FORWARD, TURN)
    played.catch_up()
    played.assert_level()
    num_calls = played.true_world.num_calls
    played.step(TURN)
    played.catch_up()
    played.assert_level()
    assert played.true_world.num_calls == num_calls + 1, "it took more than the one new step"
    assert played.true_world.resets == [0]


def test_reference_catches_up_after_lagging_behind() -> None:
    played = Played()
    played.catch_up()
    for n in range(20):
        played.step(FORWARD if n % 3 else TURN)
        if n % 4 == 0:
            played.reference.run_once()
    played.catch_up()
    played.assert_level()
    assert played.true_world.num_calls == 20


def test_rewind_branch_change_and_reset_restart_the_reference() -> None:
    played = Played()
    played.step(*[FORWARD] * 12, TURN, TURN)
    played.catch_up()
    played.back(3)
    played.catch_up()
    played.assert_level()
    assert played.true_world.resets == [0, 0]
    played.step(TURN, TURN)
    played.catch_up()
    played.assert_level()
    played.reset(3)
    played.step(FORWARD)
    played.catch_up()
    played.assert_level()
    assert played.true_world.resets == [0, 0, 3]


def test_abandoned_path_is_not_completed() -> None:
    played = Played()
    played.step(*[FORWARD] * 50)
    for _ in range(10):
        played.reference.run_once()
    played.reset(1)
    assert played.catch_up() <= 2
    played.assert_level()


def test_runs_between_two_nodes() -> None:
    def run(axis: float, count: int) -> ActionRun:
        return ActionRun(action=(axis,), num_steps=1, count=count)

    first = ActionRuns(None, run(0.0, 3))
    longer, second = ActionRuns(None, run(0.0, 5)), ActionRuns(first, run(1.0, 2))
    assert runs_between(first, first) == []
    assert runs_between(None, second) == [run(0.0, 3), run(1.0, 2)]
    assert runs_between(first, longer) == [run(0.0, 2)]
    assert runs_between(first, second) == [run(1.0, 2)]
    assert runs_between(longer, first) is None, "an earlier node"
    assert runs_between(longer, second) is None, "another line of play"
    assert runs_between(second, None) is None


def test_reference_frames_become_a_context_override() -> None:
    played = Played()
    played.catch_up()
    pair = played.reference.status.pair
    assert pair is not None
    assert len(pair.context) == 2, "steps to the start are context too"
    played.step(FORWARD, TURN, TURN)
    played.catch_up()
    pair = played.reference.status.pair
    assert pair is not None
    anchor = pair.context_override(SPEC)
    assert anchor.index == 3
    assert [vector[0] for vector in anchor.actions] == [0.0, 1.0, 0.0, 0.0]
    assert np.array_equal(anchor.frames(FakeSimulator.frame_shape)[-1], pair.reference.frame)


def test_status_has_step_length_and_policy() -> None:
    played = Played()
    played.catch_up()
    assert played.reference.status.step_length == STRIDE_UNITS
    assert played.reference.status.explorer is not None


def test_reference_that_cannot_be_opened_reports_its_error() -> None:
    played = Played(ReferenceWorker(no_source(), SPEC))
    assert played.catch_up() == 1
    status = played.reference.status
    assert status.phase is ReferencePhase.FAILED
    assert status.error is not None and "not there" in status.error.message and status.error.hint


def test_reference_waits_while_play_is_inside_a_wall() -> None:
    class Walled(FakeReference):
        def step(self, action: Action) -> Step:
            if action == TURN:
                raise ConfigError("the pose is inside a wall")
            return super().step(action)

    played = Played(ReferenceWorker(fake_source(Walled()), SPEC))
    played.step(FORWARD)
    played.catch_up()
    played.assert_level()
    played.step(TURN)
    played.catch_up()
    status = played.reference.status
    assert (status.phase, status.pair) == (ReferencePhase.FOLLOWING, None)
    assert status.unreachable_reason == "the pose is inside a wall"
    played.step(FORWARD)
    played.catch_up()
    status = played.reference.status
    assert status.unreachable_reason == "" and status.pair is not None and played.history.head is not None
    assert status.pair.generated is played.history.head.step
    played.step(TURN)
    played.catch_up()
    played.reset(0)
    played.catch_up()
    assert played.reference.status.unreachable_reason == ""
    played.assert_level()


def test_hanging_reference_world_does_not_block() -> None:
    hanging = threading.Event()

    class Hangs(FakeReference):
        def step(self, action: Action) -> Step:
            hanging.wait(20)
            return super().step(action)

    reference = ReferenceWorker(fake_source(Hangs()), SPEC)
    reference.start()
    played = Played(reference)
    begin_s = time.monotonic()
    for _ in range(100):
        played.step(FORWARD)
        assert reference.status.pair is None or reference.status.pair.generated.index == 0
    reference.close(timeout_s=0.05)
    assert time.monotonic() - begin_s < 5
    hanging.set()


def test_thread_follows_and_closes_the_world() -> None:
    world, news = FakeReference(), threading.Event()
    reference = ReferenceWorker(fake_source(world), SPEC, news.set)
    reference.start()
    played = Played(reference)
    played.step(FORWARD, TURN)
    deadline_s = time.monotonic() + 20
    while (pair := reference.status.pair) is None or pair.generated.index < 2:
        assert time.monotonic() < deadline_s
        news.wait(1)
        news.clear()
    played.assert_level()
    reference.close()
    assert world.is_closed


def test_doom_follows_and_its_frames_reset_the_context_of_a_preset(tiny_config: PresetConfig, tmp_path: Path) -> None:
    pytest.importorskip("vizdoom")
    from worldsim.engine.reference_world import ReferenceWorldAtStarts
    from worldsim.engine.simulator import Simulator
    from worldsim.presets.store import Start, load_preset
    from worldsim.worlds import open_world
    from worldsim.worlds.trajectories import FIRST_START_SEED, START_POLICY, START_TRAJECTORY_FRAMES, collect_trajectory

    actions = [Action.of("forward", turn=turn) for turn in (1.0, 0.0, -1.0, 0.5) * 3]
    alone = open_world(tiny_config.ground_truth_config)
    try:
        steps = collect_trajectory(alone, FIRST_START_SEED, START_TRAJECTORY_FRAMES, START_POLICY)[-6:]
        vectors = np.stack([tiny_config.action_spec.encode(step.action) for step in steps])
        write_tiny_preset(
            tmp_path, tiny_config, starts=[Start(frames=np.stack([s.frame for s in steps]), actions=vectors)]
        )
        expected = [alone.step(action) for action in actions][-1]
    finally:
        alone.close()
    preset = load_preset(str(tmp_path))
    simulator, world = Simulator(preset), ReferenceWorldAtStarts(tiny_config.ground_truth_config, preset.starts)
    history = PlayHistory(spec=simulator.action_spec, snapshot_bytes=1)
    reference = ReferenceWorker(ReferenceSource(open=lambda: world, num_context=4), simulator.action_spec)
    try:
        step = simulator.reset(0)
        history.begin(Position(step=step, snapshot=simulator.snapshot(), seed=0))
        for action in actions:
            history.add(simulator.step(action), simulator.snapshot())
        assert history.head is not None
        reference.follow(history.head)
        while reference.run_once():
            pass
        pair = reference.status.pair
    finally:
        world.close()
    assert pair is not None, reference.status
    assert np.array_equal(pair.reference.frame, expected.frame) and pair.reference.pose == expected.pose
    stand = simulator.reset_context(pair.context_override(simulator.action_spec), 0)
    assert (stand.index, stand.frame.tobytes()) == (12, expected.frame.tobytes())
    first = simulator.step(NO_ACTION).frame
    simulator.reset_context(pair.context_override(simulator.action_spec), 0)
    assert np.array_equal(simulator.step(NO_ACTION).frame, first)
