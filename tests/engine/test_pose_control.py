"""Sessions with pose control: keys move the camera, and the next pose follows from the frame shown."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.fakes import HEADER, FakePoseControlled, FakeWithWall
from tests.engine.test_time_travel import TICK_S, Play, assert_same, loads
from tests.engine.test_worker import take
from worldsim.core.types import NO_ACTION, Action, Step
from worldsim.engine.autopilot import RecordedPolicy, ScriptPolicy
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.recorder import Recorder
from worldsim.engine.replay import check
from worldsim.engine.session import SessionState
from worldsim.engine.simulator import Simulator
from worldsim.engine.worker import StageCallback, Worker
from worldsim.episodes.reader import open_session
from worldsim.presets.store import load_preset

STEP, TURN_DEG = 1 / 16, 10.0
PoseOf = tuple[float, float, float]


def fake(report: StageCallback) -> LoadedWorld:
    header = replace(HEADER, action_spec=FakePoseControlled.action_spec)
    return LoadedWorld(playable=FakePoseControlled(), title="fake", ticks_per_s=1 / TICK_S, header=header)


def pose_of(step: Step | None) -> PoseOf:
    """x, y and degrees."""
    assert step is not None
    x, y, cos, sin = (step.action.axis(name) for name in ("x", "y", "cos", "sin"))
    return x, y, math.degrees(math.atan2(sin, cos))


def hold(play: Play, key: str, num_ticks: int) -> None:
    play.session.inputs.press(key)
    for _ in range(num_ticks):
        play.go(TICK_S)
    play.session.inputs.release(key)


def near(x: float, y: float, angle_deg: float) -> object:
    return pytest.approx((x, y, angle_deg), abs=1e-5)


def test_keys_move_the_camera_from_the_start_pose_and_the_user_is_notified() -> None:
    play = Play(fake)
    assert play.session.notification == "free camera: walls are not solid"
    assert pose_of(play.session.shown_step) == near(-0.5, 0.25, 0)
    hold(play, "w", 4)
    hold(play, "left", 9)
    hold(play, "w", 2)
    play.go(TICK_S)
    assert [pose_of(step) for step in play.steps[-3:]] == [
        near(-0.25, 0.25 + STEP, 90),
        near(-0.25, 0.25 + 2 * STEP, 90),
        near(-0.25, 0.25 + 2 * STEP, 90),
    ]


def test_a_mouse_turns_the_camera() -> None:
    play = Play(fake)
    play.session.inputs.move_mouse(30.0)
    play.go(TICK_S)
    assert pose_of(play.session.shown_step) == near(-0.5, 0.25, -TURN_DEG / 2)


@pytest.mark.parametrize("depth", [1, 3])
def test_prefetched_frames_match_the_requested_ones(depth: int) -> None:
    world = FakePoseControlled()
    worker = Worker(
        lambda _: LoadedWorld(playable=world, title="", ticks_per_s=1.0), prefetch_depth=depth, num_warmup=0
    )
    run_all(worker)
    assert worker.take() is not None
    keys = Action.of("forward", turn=1.0)
    steps = []
    for _ in range(20):
        worker.expect(keys)
        run_all(worker)
        worker.submit(keys)
        worker.expect(keys)
        step = worker.take()  # prefetched: no run in between
        assert step is not None
        steps.append(step)
    counters = worker.counters
    assert (counters.hits, counters.misses, counters.dropped) == (20, 0, 0)
    assert pose_of(steps[8])[2] == pytest.approx(90, abs=1e-3) and len({step.action for step in steps}) == 20
    worker.expect(Action.of("back"))
    assert worker.counters.ahead == 0, "predictions under other keys are discarded"
    run_all(worker)
    worker.submit(Action.of("back"))
    assert worker.counters.hits == 21


@pytest.mark.parametrize("depth", [1, 3])
def test_at_a_wall_the_camera_stops_and_prefetched_frames_still_match(depth: int) -> None:
    worker = Worker(
        lambda _: LoadedWorld(playable=FakeWithWall(), title="", ticks_per_s=1.0), prefetch_depth=depth, num_warmup=0
    )
    run_all(worker)
    assert worker.take() is not None
    x = []
    for keys in [Action.of("forward")] * 8 + [Action.of("back")] * 2:
        worker.expect(keys)
        run_all(worker)
        worker.submit(keys)
        run_all(worker)
        x.append(pose_of(worker.take())[0])
    assert x == [*(-0.5 + STEP * i for i in range(1, 5)), *[FakeWithWall.WALL] * 4, *(-0.25 - STEP * i for i in (1, 2))]
    assert worker.counters.misses == 0


def test_where_walls_are_solid_the_user_is_not_told_otherwise() -> None:
    def solid(report: StageCallback) -> LoadedWorld:
        header = replace(HEADER, action_spec=FakeWithWall.action_spec)
        return LoadedWorld(playable=FakeWithWall(), title="fake", ticks_per_s=1 / TICK_S, header=header)

    play = Play(solid)
    assert not play.session.notification
    labels = {row.label for row in play.session.inputs.bindings}
    assert "walk forward" in labels and not any("free camera" in label for label in labels)


def run_all(worker: Worker) -> None:
    while worker.run_once():
        pass


def test_session_predicts_every_frame_of_held_keys() -> None:
    play = Play(fake)
    hold(play, "up", 12)
    counters = play.worker.counters
    assert counters.hits == 11 and counters.misses == 1, "all but the first, before which no key was held"


def test_after_a_rewind_pose_control_continues_from_the_shown_frame_exactly() -> None:
    play = Play(fake)
    frames = play.play(20)
    play.back(8)
    seen = play.session.shown_step
    assert seen is not None and seen.index == 12
    hold(play, "w", 1)
    x, y, angle_deg = pose_of(seen)
    ahead = near(x + STEP * math.cos(math.radians(angle_deg)), y + STEP * math.sin(math.radians(angle_deg)), angle_deg)
    assert pose_of(play.session.shown_step) == ahead
    play.session.change_branch(1)
    play.go(0.0)
    assert play.index == 20, "the first branch again"
    play.back(8)
    assert_same(play.play(8, first=12), frames[12:])


def test_another_start_is_another_pose_also_for_held_keys() -> None:
    play = Play(fake)
    play.session.inputs.press("w")
    for _ in range(3):
        play.go(TICK_S)
    play.session.reset(1)
    play.go(0.0)
    assert play.session.state is SessionState.PLAYING
    play.go(TICK_S)
    assert pose_of(play.session.shown_step) == near(-0.25 + STEP, 0.25, 0)


def test_scripts_use_the_same_keys_and_the_user_takes_over_at_their_pose() -> None:
    play = Play(fake)
    autopilot = play.session.autopilot
    autopilot.hand_over(ScriptPolicy(FakePoseControlled.action_spec, seed=3), NO_ACTION)
    for _ in range(30):
        play.go(TICK_S)
    assert autopilot.policy is not None, "changing poses are not player input"
    flown = {pose_of(step) for step in play.steps[1:]}
    assert len(flown) > 15
    before = pose_of(play.session.shown_step)
    hold(play, "w", 1)
    assert autopilot.policy is None
    assert math.dist(pose_of(play.session.shown_step)[:2], before[:2]) == pytest.approx(STEP, abs=1e-6)


def test_recorded_poses_are_replayed_unchanged() -> None:
    play = Play(fake)
    poses = [Action.of(x=0.1 * n, y=-0.3, cos=-1.0) for n in range(4)]
    autopilot = play.session.autopilot
    autopilot.hand_over(RecordedPolicy(poses), NO_ACTION)
    for _ in range(4):
        play.go(TICK_S)
    assert [step.action for step in play.steps[-4:]] == poses
    hold(play, "w", 1)
    assert pose_of(play.session.shown_step) == near(0.3 - STEP, -0.3, 180), "and keys continue from there"


@pytest.mark.parametrize("timing", range(3))
def test_frames_of_the_running_thread_match_their_poses(timing: int) -> None:
    rng, steps = random.Random(timing), list[Step]()
    worker = Worker(
        lambda _: LoadedWorld(playable=FakePoseControlled(step_s=0.0003), title="", ticks_per_s=1.0), prefetch_depth=3
    )
    choices = [Action.of("forward"), Action.of(turn=1.0), NO_ACTION]
    worker.start()
    try:
        steps.append(take(worker))
        for _ in range(60):
            action = rng.choice(choices)
            worker.expect(rng.choice([action, action, None]))
            worker.submit(action)
            worker.expect(rng.choice([action, None]))
            steps.append(take(worker))
    finally:
        worker.close()
    alone = FakePoseControlled()
    alone.reset(0)
    assert_same([step.frame for step in steps[1:]], [alone.step(step.action).frame for step in steps[1:]])


# ---- a preset


@pytest.fixture(scope="module")
def real(given_preset_folder: Path) -> Callable[[StageCallback], LoadedWorld]:
    return loads(given_preset_folder)


def test_pose_controlled_preset_is_recorded_and_replayed_bit_exactly(
    real: Callable[[StageCallback], LoadedWorld], given_preset_folder: Path, tmp_path: Path
) -> None:
    recorder = Recorder(folder=tmp_path / "session")
    play = Play(real, recorder=recorder)
    assert pose_of(play.session.shown_step) == near(0.2, -0.1, 0)
    frames = play.play(14)
    believed = [step.estimated_pose for step in play.steps[:2]]
    assert believed[0] is not None and believed[1] is not None
    assert math.dist((believed[0].x, believed[0].y), (believed[1].x, believed[1].y)) == pytest.approx(1, abs=1e-4)
    play.back(5)
    assert_same(play.play(3, first=9), frames[9:12])
    play.back(3)
    assert not np.array_equal(play.play(1, first=12)[0], frames[9]), "another pose gives another frame"
    play.session.recorder.close()
    session = open_session(tmp_path / "session")
    assert session.episodes[0].rows[0].action == pytest.approx((0.2, -0.1, 1, 0, 1, 0, 1, 0))
    assert session.episodes[0].rows[1].action[0] == pytest.approx(0.2 + 16.6 / 768)
    assert "pose_control" not in (tmp_path / "session/meta/worldsim.json").read_text()
    assert check(session, Simulator(load_preset(str(given_preset_folder)))).is_exact


@pytest.mark.parametrize("num_ticks", [0, 7])
def test_save_is_loaded_at_its_pose(
    real: Callable[[StageCallback], LoadedWorld], tmp_path: Path, num_ticks: int
) -> None:
    path, first = tmp_path / "save.safetensors", Play(real)
    first.play(num_ticks)
    first.session.save(path)
    first.go(0.0)
    second = Play(real)
    hold(second, "s", 3)
    second.session.load(path)
    second.go(0.0)
    assert pose_of(second.session.shown_step) == near(*pose_of(first.session.shown_step))
    assert_same(second.play(4), first.play(4))
