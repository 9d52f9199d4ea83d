"""Recording and replay of a fake simulator: started midway, several episodes, changing numbers of steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.engine.fakes import HEADER, FakeSimulator
from worldsim.core.types import NO_ACTION, Action
from worldsim.engine.recorder import Recorder
from worldsim.engine.replay import ReplayWorld, check
from worldsim.episodes.reader import RecordedSession, open_session

ACTIONS = [Action.of("forward"), Action.of("forward"), NO_ACTION, Action.of("left", turn=0.25), Action.of(turn=-1.0)]


def recorded(folder: Path, *, begin: int = 0) -> RecordedSession:
    """Seeds 3 and 4, five frames each after the reset, with more steps from frame 3; recorded from frame `begin`."""
    recorder = Recorder()
    simulator = FakeSimulator()
    num_added = 0
    for seed in (3, 4):
        simulator.num_steps = 1
        steps = [simulator.reset(seed)]
        for index, action in enumerate(ACTIONS):
            simulator.num_steps = 4 if index >= 2 else 1
            steps.append(simulator.step(action))
        for step in steps:
            recorder.add(step, seed, HEADER)
            if num_added == begin:
                recorder.start(folder, HEADER)
            num_added += 1
    recorder.close()
    assert recorder.error is None
    return open_session(folder)


def test_session_recorded_from_any_frame_replays_exactly(tmp_path: Path) -> None:
    for begin in range(9):
        session = recorded(tmp_path / str(begin), begin=begin)
        assert session.num_frames == 12 - begin
        verdict = check(session, FakeSimulator())
        assert verdict.is_exact, (begin, verdict)
        assert verdict.frames == 12 - begin


def test_mismatch_is_found_at_the_first_differing_frame(tmp_path: Path) -> None:
    class Other(FakeSimulator):
        def _frame(self) -> np.ndarray:
            frame = super()._frame()
            return frame ^ np.uint8(self._now.index == 4)

    verdict = check(recorded(tmp_path / "s"), Other())
    assert verdict.difference is not None
    assert (verdict.difference.episode, verdict.difference.frame, verdict.frames) == (0, 4, 5)


def test_replay_world_shows_the_recorded_frames_and_stays_at_the_last(tmp_path: Path) -> None:
    session = recorded(tmp_path / "s")
    world = ReplayWorld(session, FakeSimulator())
    world.reset(1)
    frames = [world.step(NO_ACTION).frame for _ in range(7)]
    truth = FakeSimulator()
    truth.reset(4)
    assert (frames[0] == truth.step(ACTIONS[0]).frame).all()
    assert (frames[4] == frames[6]).all()
    assert (frames[3] != frames[4]).any()


def test_rewinding_a_replay_gives_the_same_frame_again(tmp_path: Path) -> None:
    world = ReplayWorld(recorded(tmp_path / "s"), FakeSimulator())
    world.reset(0)
    world.step(NO_ACTION)
    here = world.snapshot()
    first = world.step(NO_ACTION)
    world.step(NO_ACTION)
    world.restore(here)
    again = world.step(Action.of("back"))
    assert (first.frame == again.frame).all()
    assert first.index == again.index
