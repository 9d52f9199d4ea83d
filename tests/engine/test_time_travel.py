"""Rewinding, branches, speed and saves: sessions with a manual clock, on a fake simulator and a tiny preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.engine.fakes import HEADER, FakeSimulator
from worldsim.core.clock import ManualClock
from worldsim.core.errors import StateError
from worldsim.core.types import Action, Frame, Step
from worldsim.engine.history import MOMENT_BYTES
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.preset_world import session_header
from worldsim.engine.recorder import Recorder
from worldsim.engine.replay import check
from worldsim.engine.save_files import SaveFiles
from worldsim.engine.session import MAX_REWIND_PACE, Session, SessionState
from worldsim.engine.simulator import Simulator
from worldsim.engine.worker import StageCallback, Worker
from worldsim.episodes.reader import open_session
from worldsim.presets.store import load_preset

TICK_S = 0.1
KEYS = ["w", "left", "w", "d", "right", "s"]
"""One key per tick, repeated."""


def fake(report: StageCallback) -> LoadedWorld:
    return LoadedWorld(playable=FakeSimulator(), title="fake", ticks_per_s=1 / TICK_S, header=HEADER)


class Play:
    """A session on a worker run by hand. `frames[n]` is the new frame n."""

    def __init__(
        self,
        load_world: Callable[[StageCallback], LoadedWorld] = fake,
        *,
        recorder: Recorder | None = None,
        load: Path | None = None,
    ) -> None:
        self.worker = Worker(load_world, clock=ManualClock(), num_warmup=0)
        self.session = Session(self.worker, recorder=recorder, load=load)
        self.steps: list[Step] = []
        for _ in range(3):
            self.go(0.0)
        assert self.session.state is SessionState.PLAYING or load is not None

    def model(self) -> None:
        while self.worker.run_once():
            pass

    def go(self, elapsed_s: float) -> None:
        self.steps += self.session.tick(elapsed_s)
        self.model()
        self.steps += self.session.tick(0.0)

    def play(self, num_ticks: int, first: int = 0) -> list[Frame]:
        """Plays with one key per tick. Returns the frames."""
        begin = len(self.steps)
        for n in range(num_ticks):
            key = KEYS[(first + n) % len(KEYS)]
            self.session.inputs.press(key)
            self.session.inputs.release(key)
            self.go(TICK_S)
        assert len(self.steps) == begin + num_ticks
        return [step.frame for step in self.steps[begin:]]

    def back(self, num_frames: int) -> None:
        """Holds the rewind key until `num_frames` are rewound."""
        index = self.index
        self.session.rewind(True)
        while self.index > index - num_frames:
            self.go(TICK_S / MAX_REWIND_PACE / 2)
        self.session.rewind(False)
        self.go(0.0)

    @property
    def index(self) -> int:
        assert self.session.shown_step is not None
        return self.session.shown_step.index


def loads(folder: Path) -> Callable[[StageCallback], LoadedWorld]:
    """Loader of a preset for a worker."""
    preset = load_preset(str(folder))

    def load(report: StageCallback) -> LoadedWorld:
        simulator = Simulator(preset)
        header = session_header(preset, simulator, ref=str(folder), device="cpu")
        saves = SaveFiles(preset, header)
        return LoadedWorld(
            playable=simulator,
            title="tiny",
            ticks_per_s=1 / TICK_S,
            header=header,
            saves=saves,
            snapshot_bytes=saves.state_bytes,
        )

    return load


@pytest.fixture(scope="module")
def tiny(tiny_preset_folder: Path) -> Callable[[StageCallback], LoadedWorld]:
    return loads(tiny_preset_folder)


def assert_same(found: list[Frame], expected: list[Frame]) -> None:
    different = [n for n, (a, b) in enumerate(zip(found, expected, strict=True)) if not np.array_equal(a, b)]
    assert different == [], f"frames {different} of {len(expected)} differ"


def test_rewind_while_the_key_is_held_then_play_continues_from_there() -> None:
    play = Play()
    frames = play.play(30)
    play.back(12)
    assert play.index == 18
    assert play.session.state is SessionState.PLAYING
    assert np.array_equal(play.session.shown_step.frame, frames[17])  # type: ignore[union-attr]  # there is one
    assert_same(play.play(12, first=18), frames[18:])


def test_rewinding_is_bit_for_bit_with_the_real_model(tiny: Callable[[StageCallback], LoadedWorld]) -> None:
    play = Play(tiny)
    frames = play.play(27)
    play.back(14)
    assert_same(play.play(14, first=13), frames[13:])
    other = Play(tiny)
    other.session.reset(1)
    other.go(0.0)
    assert not np.array_equal(other.play(20)[-1], frames[19]), "another seed gives the same frame"


def test_rewinding_a_minute_takes_ten_seconds_without_the_model() -> None:
    play = Play()
    play.play(700)
    calls = play.worker.counters.made
    play.session.rewind(True)
    elapsed_s, seen = 0.0, [play.index]
    while play.session.rewound_s < 60.0:
        play.session.tick(1 / 60)
        elapsed_s += 1 / 60
        seen.append(play.index)
    assert elapsed_s == pytest.approx(10.5, abs=1.5)
    assert max(a - b for a, b in pairwise(seen)) <= 2, "at most two frames at a time"
    assert play.worker.counters.made == calls


def test_tap_rewinds_one_frame_and_keeps_the_pause() -> None:
    play = Play()
    frames = play.play(8)
    play.session.toggle_pause()
    for expected in (7, 6):
        play.session.rewind(True)
        play.session.rewind(False)
        play.go(0.0)
        assert play.index == expected
    assert play.session.state is SessionState.PAUSED
    play.session.inputs.press(KEYS[6 % len(KEYS)])
    play.session.single_step()
    play.go(0.0)
    assert_same([play.steps[-1].frame], frames[6:7])


def test_tap_during_a_pending_rewind_counts() -> None:
    play = Play()
    play.play(8)
    for _ in range(2):
        play.session.rewind(True)
        play.session.rewind(False)
    play.go(0.0)
    play.go(0.0)
    assert play.index == 6


def test_rewinding_stops_at_the_beginning() -> None:
    play = Play()
    frames = play.play(5)
    play.session.rewind(True)
    play.go(3.0)
    assert play.index == 0
    play.session.rewind(False)
    play.go(0.0)
    assert_same(play.play(5), frames)


def test_a_frame_that_comes_as_rewinding_begins_is_not_lost() -> None:
    play = Play()
    play.play(3)
    play.session.tick(TICK_S)  # requested
    play.session.tick(TICK_S)
    play.model()  # ready, not yet taken
    play.session.rewind(True)
    assert play.session.history is not None and play.session.history.head is not None
    assert play.session.history.head.step.index == play.worker.snapshot.index
    play.session.rewind(False)
    play.go(0.0)
    play.play(2)


def test_a_reset_in_the_middle_of_rewinding_is_a_reset() -> None:
    play = Play()
    play.play(9)
    play.session.rewind(True)
    play.session.reset(3)
    play.session.rewind(False)
    play.go(0.0)
    assert (play.session.state, play.index) == (SessionState.PLAYING, 0)
    assert_same([play.steps[-1].frame], [FakeSimulator().reset(3).frame])


def test_world_without_snapshots_reports_that_it_cannot_rewind() -> None:
    play = Play(lambda report: replace(fake(report), can_rewind=False))
    play.play(3)
    play.session.rewind(True)
    assert play.session.state is SessionState.PLAYING
    assert "not available" in play.session.notification


def test_fork_and_return(tiny: Callable[[StageCallback], LoadedWorld]) -> None:
    play, straight = Play(tiny), Play(tiny)
    frames = straight.play(30)
    play.play(20)
    play.back(8)
    fork = play.play(15, first=3)
    assert not np.array_equal(fork[-1], frames[19])
    branch = play.session.change_branch(-1)
    play.go(0.0)
    assert branch is not None and (branch.number, play.index) == (1, 20)
    assert_same(play.play(10, first=20), frames[20:])
    play.session.change_branch(1)
    play.go(0.0)
    assert np.array_equal(play.session.shown_step.frame, fork[-1])  # type: ignore[union-attr]  # there is one


def test_single_branch_is_reported() -> None:
    play = Play()
    assert play.session.change_branch(1) is None
    assert "only one branch" in play.session.notification


@pytest.mark.parametrize(("offset", "speed", "num_frames"), [(-1, 0.5, 5), (-9, 0.25, 2), (1, 2.0, 20), (9, 4.0, 40)])
def test_speed_changes_how_many_ticks_a_second_has_and_nothing_else(offset: int, speed: float, num_frames: int) -> None:
    play, straight = Play(), Play()
    play.session.change_speed(offset)
    assert play.session.speed == speed
    for _ in range(100):
        play.go(TICK_S / 10)
    assert len(play.steps) == pytest.approx(1 + num_frames, abs=1)
    for _ in range(len(play.steps)):
        straight.go(TICK_S)
    assert_same([s.frame for s in play.steps], [s.frame for s in straight.steps[: len(play.steps)]])


def test_save_loaded_in_another_session_continues_bit_exactly(
    tiny: Callable[[StageCallback], LoadedWorld], tmp_path: Path
) -> None:
    path = tmp_path / "new" / "slot-1.safetensors"
    play = Play(tiny)
    play.session.set_num_steps(2)
    play.play(12)
    play.session.save(path)
    play.go(0.0)
    assert play.session.notification == f"saved {path}"
    frames = play.play(9, first=12)
    other = Play(tiny)
    other.session.set_num_steps(2)
    other.play(3)
    other.session.load(path)
    other.go(0.0)
    assert (other.session.notification, other.index) == (f"loaded {path}", 12)
    assert_same(other.play(9, first=12), frames)
    assert [b.label for b in other.session.history.branches.values()] == ["", "slot-1"]  # type: ignore[union-attr]


def test_a_session_may_begin_with_a_save(tiny: Callable[[StageCallback], LoadedWorld], tmp_path: Path) -> None:
    path = tmp_path / "slot.safetensors"
    play = Play(tiny)
    play.play(4)
    play.session.save(path)
    play.go(0.0)
    frames = play.play(6, first=4)
    other = Play(tiny, load=path)
    assert (other.session.state, other.index, other.steps) == (SessionState.PLAYING, 4, [])
    assert_same(other.play(6, first=4), frames)


def test_unloadable_save_is_reported_and_play_continues(
    tiny: Callable[[StageCallback], LoadedWorld], tmp_path: Path
) -> None:
    path = tmp_path / "slot.safetensors"
    play, straight = Play(tiny), Play(tiny)
    frames = straight.play(8)
    play.play(4)
    path.write_bytes(b"nonsense")
    play.session.load(path)
    play.go(0.0)
    assert "is damaged" in play.session.notification and "\n" not in play.session.notification
    play.session.save(path / "in a file")
    play.go(0.0)
    assert "cannot write" in play.session.notification
    assert_same(play.play(4, first=4), frames[4:])


def test_session_starting_from_a_damaged_save_fails(
    tiny: Callable[[StageCallback], LoadedWorld], tmp_path: Path
) -> None:
    play = Play(tiny, load=tmp_path / "nothing")
    assert play.session.state is SessionState.FAILED
    assert isinstance(play.session.error, StateError)
    play.session.reset()
    play.go(0.0)
    assert (play.session.state, play.session.error) == (SessionState.PLAYING, None)


def test_what_is_recorded_through_rewinds_and_branches_and_loads_replays_exactly(
    tiny: Callable[[StageCallback], LoadedWorld], tmp_path: Path
) -> None:
    recorder = Recorder(folder=tmp_path / "session")
    play = Play(tiny, recorder=recorder)
    play.play(15)
    play.session.save(tmp_path / "slot")
    play.go(0.0)
    play.back(6)
    play.session.set_num_steps(2)
    play.play(7, first=2)
    play.session.change_branch(1)
    play.go(0.0)
    play.play(3)
    play.session.load(tmp_path / "slot")
    play.go(0.0)
    play.play(4)
    recorder.close()
    session = open_session(tmp_path / "session")
    assert [len(episode.rows) for episode in session.episodes] == [16, 8, 4, 5]
    assert [episode.start.first_index for episode in session.episodes] == [0, 9, 15, 15]
    simulator = tiny(lambda stage: None).playable
    assert check(session, simulator).is_exact
    first, second, *others = session.episodes
    wrong = replace(second, start=replace(second.start, seed=1))
    verdict = check(replace(session, episodes=(first, wrong, *others)), simulator)
    assert verdict.difference is not None and verdict.difference.episode == 1


def test_a_recording_of_a_session_that_began_with_a_save_replays_exactly(
    tiny: Callable[[StageCallback], LoadedWorld], tmp_path: Path
) -> None:
    play = Play(tiny)
    play.play(5)
    play.session.save(tmp_path / "slot")
    play.go(0.0)
    recorder = Recorder(folder=tmp_path / "session")
    Play(tiny, recorder=recorder, load=tmp_path / "slot").play(4, first=1)
    recorder.close()
    session = open_session(tmp_path / "session")
    assert [(e.start.first_index, len(e.rows)) for e in session.episodes] == [(5, 5)]
    assert check(session, tiny(lambda stage: None).playable).is_exact


def test_an_hour_keeps_to_the_budget() -> None:
    play = Play()
    history = play.session.history
    assert history is not None
    history.budget_bytes = 50 * (MOMENT_BYTES + 48 * 64 * 3) + 10 * history.snapshot_bytes
    play.session.inputs.press("w")
    for _ in range(600):
        play.go(TICK_S)
    assert history.num_bytes <= history.budget_bytes
    assert history.head is not None and len(history.head.runs()) <= 2
    assert history.head.step.action == Action.of("forward")
