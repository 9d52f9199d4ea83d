"""Context resets: rewound, saved, recorded and replayed exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.fakes import SPEC, FakeSimulator
from tests.engine.test_time_travel import Play, assert_same, tiny  # noqa: F401  # tiny is a fixture
from worldsim.core.errors import RecordingError
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.recorder import Recorder
from worldsim.engine.reference_world import ForwardOnlySimulator
from worldsim.engine.replay import check, resimulate
from worldsim.engine.simulator import Simulator
from worldsim.engine.worker import StageCallback
from worldsim.episodes.format import ContextOverride
from worldsim.episodes.reader import open_session
from worldsim.presets.store import load_preset

SHAPE = FakeSimulator.frame_shape


def pictures(index: int) -> ContextOverride:
    """Frames that play has not shown."""
    rng = np.random.default_rng(index)
    frames = [rng.integers(0, 256, SHAPE, dtype=np.uint8) for _ in range(4)]
    return ContextOverride.from_frames(index, frames, [[0.0] * SPEC.size] * 4)


def bring_back(play: Play) -> ContextOverride:
    """Returns the context override."""
    play.session.worker.cancel()
    assert play.session.history is not None and play.session.history.head is not None
    head = play.session.history.head
    anchor = pictures(head.step.index)
    assert play.session.reset_context(head, lambda: anchor)
    play.go(0.0)
    return anchor


def test_play_continues_from_the_last_context_frame() -> None:
    play = Play()
    play.play(5)
    anchor = bring_back(play)
    assert play.index == 5
    assert play.session.shown_step is not None
    assert np.array_equal(play.session.shown_step.frame, anchor.frames(SHAPE)[-1])
    assert "context reset" in play.session.notification
    drifted = Play()
    drifted.play(5)
    assert not np.array_equal(play.play(1, first=5)[0], drifted.play(1, first=5)[0])
    assert play.index == 6


def test_rewind_across_a_context_reset_is_exact() -> None:
    play = Play()
    before = play.play(12)
    bring_back(play)
    after = play.play(15, first=12)
    play.back(10)
    assert_same(play.play(10, first=17), after[5:])
    play.back(15)
    assert play.session.shown_step is not None
    assert np.array_equal(play.session.shown_step.frame, pictures(12).frames(SHAPE)[-1])
    assert_same(play.play(3, first=12), after[:3])
    play.back(6)
    assert_same(play.play(3, first=9), before[9:12])


def test_context_reset_is_skipped_when_play_has_moved_on() -> None:
    play = Play()
    play.play(2)
    assert play.session.history is not None
    node = play.session.history.head
    assert node is not None
    play.play(1)
    assert not play.session.reset_context(node, lambda: pictures(2))
    assert play.index == 3


def test_damaged_context_frames_change_nothing() -> None:
    play = Play()
    play.play(3)
    assert play.session.history is not None and play.session.history.head is not None
    assert play.session.reset_context(play.session.history.head, lambda: replace(pictures(3), pixels="AAAA"))
    play.go(0.0)
    assert "damaged" in play.session.notification
    other = Play()
    other.play(3)
    assert_same(play.play(2, first=3), other.play(2, first=3))


@pytest.mark.parametrize("begins", [0, 3, 8, 10])
def test_recording_across_a_context_reset_replays_bit_exactly_and_other_frames_do_not(
    begins: int, tmp_path: Path
) -> None:
    recorder = Recorder()
    play = Play(recorder=recorder)
    for index in range(1, 16):
        if index == begins + 1:
            assert play.session.header is not None
            recorder.start(tmp_path / "s", play.session.header)
        play.play(1, first=index)
        if index == 8:
            bring_back(play)
    play.back(3)
    play.play(2)
    recorder.close()
    session = open_session(tmp_path / "s")
    verdict = check(session, FakeSimulator())
    assert verdict.is_exact and verdict.frames == session.num_frames
    anchored = [n for n, episode in enumerate(session.episodes) if episode.start.anchor is not None]
    assert anchored, "the recording has no context reset"
    damaged = list(session.episodes)
    start = damaged[anchored[-1]].start
    damaged[anchored[-1]] = replace(damaged[anchored[-1]], start=replace(start, anchor=replace(pictures(9), index=8)))
    assert not check(replace(session, episodes=tuple(damaged)), FakeSimulator()).is_exact


def test_reference_world_replays_all_actions_of_such_an_episode(tmp_path: Path) -> None:
    recorder = Recorder(folder=tmp_path / "s")
    play = Play(recorder=recorder)
    frames = play.play(4)
    bring_back(play)
    play.play(2, first=4)
    recorder.close()
    episode = open_session(tmp_path / "s").episodes[-1]
    true_frames = list(resimulate(ForwardOnlySimulator(FakeSimulator()), episode, SPEC))
    assert np.array_equal(true_frames[0], frames[3]), "not the frame that the actions give after the reset"


def test_save_after_a_context_reset_loads_and_records_exactly(
    tiny: Callable[[StageCallback], LoadedWorld],  # noqa: F811
    tmp_path: Path,
) -> None:
    play = Play(tiny)
    play.play(3)
    bring_back(play)
    play.play(2, first=3)
    play.session.save(tmp_path / "a.safetensors")
    play.go(0.0)
    after = play.play(3, first=5)
    recorder = Recorder(folder=tmp_path / "s")
    loaded = Play(tiny, recorder=recorder, load=tmp_path / "a.safetensors")
    loaded.go(0.0)
    assert_same(loaded.play(3, first=5), after)
    recorder.close()
    session = open_session(tmp_path / "s")
    assert check(session, Simulator(load_preset(session.header.preset_ref))).is_exact


def test_context_reset_is_independent_of_earlier_state(tiny_preset_folder: Path) -> None:
    def after(seed: int, num_frames: int, index: int) -> bytes:
        simulator = Simulator(preset)
        simulator.reset(seed)
        for _ in range(num_frames):
            simulator.step(simulator.reset(seed).action)
        reset_step = simulator.reset_context(pictures(index), 0)
        assert reset_step.index == index
        return simulator.step(reset_step.action).frame.tobytes()

    preset = load_preset(str(tiny_preset_folder))
    assert after(0, 0, 7) == after(1, 3, 7)
    assert after(0, 0, 7) != after(0, 0, 9), "other frames and noise of another frame index"


@pytest.mark.parametrize("pixels", ["", "?", "AAAA"])
def test_damaged_pixels_raise_a_recording_error(pixels: str) -> None:
    with pytest.raises(RecordingError):
        replace(pictures(1), pixels=pixels).frames(SHAPE)
    with pytest.raises(RecordingError):
        pictures(1).frames((480, 640, 3))
