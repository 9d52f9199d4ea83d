"""The true world beside the learned one, autopilot, memory view and the way back, by keys, without a window."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from tests.app.test_application import NOTHING, Play, down
from tests.engine.fake_reference import FakeReference, fake_source, no_source
from tests.engine.fakes import FakePoseControlled, FakeSimulator, fake_load
from worldsim.app.application import Application
from worldsim.app.hud import Placement
from worldsim.app.reference_panel import ViewMode
from worldsim.core.errors import ConfigError
from worldsim.core.images import GAP_PX
from worldsim.core.types import Action, Frame, Step
from worldsim.engine.interfaces import LoadedWorld, ReferenceSource
from worldsim.engine.worker import StageCallback

HEIGHT_PX, WIDTH_PX, _ = FakeSimulator.frame_shape


class Dream(FakeSimulator):
    """The fake, a little off in every frame but the first; fog from frame `fog_from` on."""

    def __init__(self, fog_from: int = 10**6) -> None:
        super().__init__()
        self._fog_from = fog_from

    def _frame(self) -> Frame:
        frame = super()._frame()
        if self._now.index >= self._fog_from:
            return np.full_like(frame, 128)
        return frame if self._now.index == 0 else frame ^ np.uint8(8)


class PoseControlledDream(FakePoseControlled, Dream):
    """The same, given poses."""


class Company(Play):
    """Play with a true world whose thread is run by hand while the loop waits."""

    def __init__(
        self, source: ReferenceSource | None, dream: Dream | None = None, actions: tuple[Action, ...] = ()
    ) -> None:
        super().__init__()
        load = fake_load(dream or Dream(), ticks_per_s=10)

        def load_both(report: StageCallback) -> LoadedWorld:
            return replace(load(report), reference=source)

        self.worker._load = load_both
        self.window.wake = lambda: None  # type: ignore[attr-defined]  # it never sleeps
        self.application = Application(
            self.session,
            self.window,  # type: ignore[arg-type]  # stands in for the window
            self.renderer,
            clock=self.clock,
            title="fake",
            say=self.said.append,
            actions=actions,
        )
        self.panel = self.application._reference_panel

    def _model(self) -> None:
        super()._model()
        reference = self.panel._reference if hasattr(self, "panel") else None
        while reference is not None and reference.run_once():
            pass

    @property
    def lines(self) -> str:
        return "\n".join(
            row.left for p in self.renderer.panels[-1] if p.placement is Placement.BOTTOM for row in p.rows
        )

    @property
    def side(self) -> list[tuple[str, str]]:
        return [
            (r.left, r.right) for p in self.renderer.panels[-1] if p.placement is Placement.TOP_RIGHT for r in p.rows
        ]


@pytest.fixture(autouse=True)
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldsim.engine.reference_world.ReferenceWorker.start", lambda reference: None)


def test_the_key_goes_from_learned_over_both_and_the_true_one_to_the_difference() -> None:
    shown: dict[ViewMode, Frame] = {}
    play = Company(fake_source(FakeReference()))
    play.run(*[NOTHING] * 8)
    play.session.toggle_pause()
    for mode in (ViewMode.SIDE_BY_SIDE, ViewMode.REFERENCE, ViewMode.DIFFERENCE, ViewMode.LEARNED):
        play.application._is_running = True
        play.run([down("v")], *[NOTHING] * 4)
        assert play.panel.view_mode is mode
        shown[mode] = play.renderer.frames[-1]
    learned, true = shown[ViewMode.LEARNED], shown[ViewMode.REFERENCE]
    assert np.array_equal(true, learned ^ np.uint8(8)), "the true world is not where play is"
    assert np.array_equal(shown[ViewMode.SIDE_BY_SIDE][:, :WIDTH_PX], true)
    assert np.array_equal(shown[ViewMode.SIDE_BY_SIDE][:, WIDTH_PX + GAP_PX :], learned)
    assert set(np.unique(shown[ViewMode.DIFFERENCE])) == {8}


def test_both_pictures_are_of_the_same_moment_and_the_figure_is_theirs() -> None:
    play = Company(fake_source(FakeReference()))
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 12, [down("w")], *[NOTHING] * 12)
    both = [frame for frame in play.renderer.frames if frame.shape[1] > WIDTH_PX]
    assert len(both) > 8
    same = [np.array_equal(f[:, :WIDTH_PX], f[:, WIDTH_PX + GAP_PX :] ^ np.uint8(8)) for f in both[1:]]
    assert all(same), "a true frame stands beside another moment's"
    assert "true | learned   PSNR 30.1 dB" in play.lines
    assert play.application.report().frames_shown >= len(both)


def test_it_follows_through_a_reset_and_a_rewind() -> None:
    world = FakeReference()
    play = Company(fake_source(world))
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 14, [down("backspace")], *[NOTHING] * 3)
    assert "waits while you rewind" in play.lines
    play.application._is_running = True
    play.session.rewind(False)
    play.run(*[NOTHING] * 12, [down("t")], *[NOTHING] * 12)
    assert world.resets == [0, 0, 1]
    assert "PSNR 30.1 dB" in play.lines


@pytest.mark.parametrize(("source", "words"), [(None, "there is no true world"), (no_source(), "pip install it")])
def test_without_a_true_world_one_line_says_why(source: ReferenceSource | None, words: str) -> None:
    play = Company(source)
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 6)
    assert words in play.lines
    assert play.panel.view_mode is ViewMode.LEARNED


def test_the_autopilot_is_shown_and_a_key_of_play_or_its_own_takes_control_back() -> None:
    play = Company(None)
    play.run(*[NOTHING] * 6, [down("g")], *[NOTHING] * 6)
    assert "autopilot: the script 'explore'   G or any key" in play.lines
    for key in ("w", "g"):
        play.application._is_running = True
        play.run([down(key)], *[NOTHING] * 6)
        assert "autopilot" not in play.lines and "you have control" in play.lines
        if key == "w":
            play.application._is_running = True
            play.run([down("g")], *[NOTHING] * 2)
            assert "autopilot" in play.lines


def test_with_the_true_world_the_autopilot_explores_that() -> None:
    play = Company(fake_source(FakeReference()))
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 4, [down("g")], *[NOTHING] * 10)
    assert "an explorer in the true world" in play.lines
    assert play.session.shown_step is not None and play.session.shown_step.action.buttons == {"forward"}


def test_in_a_flight_the_autopilot_flies_by_script_and_walls_of_the_true_world_are_said() -> None:
    class Walled(FakeReference):
        def step(self, action: Action) -> Step:
            if abs(action.axis("x") + 0.5) > 0.1:
                raise ConfigError("the pose is inside a wall")
            return super().step(action)

    play = Company(fake_source(Walled()), PoseControlledDream())
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 4, [down("w")], *[NOTHING] * 12)
    assert "true | learned   nothing to show: the pose is inside a wall" in play.lines
    play.application._is_running = True
    play.run([down("g")], *[NOTHING] * 2)
    assert "autopilot: the script 'explore'" in play.lines


def test_recorded_actions_are_done_interrupted_and_done_again_from_a_reset() -> None:
    actions = tuple(Action.of("forward" if n % 2 else "left") for n in range(200))
    play = Company(None, actions=actions)
    play.run(*[NOTHING] * 12)
    assert play.session.history is not None and play.session.history.head is not None
    assert "autopilot: recorded actions, " in play.lines
    done = [step.action for step in _path(play)]
    assert len(done) >= 4 and done == list(islice(actions, len(done)))
    play.application._is_running = True
    play.run([down("r")], *[NOTHING] * 8)
    done = [step.action for step in _path(play)]
    assert len(done) >= 2 and done == list(islice(actions, len(done)))


def test_the_memory_view_says_what_is_known_and_draws_the_path() -> None:
    play = Company(fake_source(FakeReference()))
    play.run(*[NOTHING] * 6, [down("m"), down("v"), down("w")], *[NOTHING] * 90)
    rows = dict(play.side)
    assert rows["look back"] == "nothing seen twice yet"
    assert rows["against the truth"] == "30.1 dB"
    assert "good up to 1" in rows["drift"]
    panel = next(p for p in play.renderer.panels[-1] if p.placement is Placement.TOP_RIGHT)
    (picture,) = [row.image for row in panel.rows if row.image is not None]
    assert len(set(picture.pixels)) > 3, "an empty map"


def test_with_the_true_world_the_model_is_given_its_pictures() -> None:
    play = Company(fake_source(FakeReference(), num_context=3))
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 8, [down("b")], *[NOTHING] * 8)
    assert any("the last 3 ground-truth frames" in text for text in play.said)
    history = play.session.history
    assert history is not None and history.head is not None and history.head.override is not None
    assert len(history.head.override.actions) == 3


def test_without_it_play_goes_back_to_the_last_moment_without_drift() -> None:
    play = Company(None, Dream(fog_from=60))
    play.run(*[NOTHING] * 160)
    history = play.session.history
    assert history is not None and history.head is not None
    drifted = history.head
    assert drifted.step.index > 90 and drifted.drift is not None and drifted.drift > 1
    play.session.toggle_pause()
    play.application._is_running = True
    play.run([down("b")], *[NOTHING] * 3)
    assert any(text.startswith("back by") for text in play.said)
    assert history.head is not None and history.head.drift is not None and history.head.drift <= 1
    assert 40 < history.head.step.index < drifted.step.index


def test_where_nothing_is_wrong_nothing_is_done() -> None:
    play = Company(None)
    play.run(*[NOTHING] * 100, [down("b")], *[NOTHING] * 3)
    assert any("finds nothing wrong" in text for text in play.said)


def _path(play: Play) -> list[Step]:
    """The frames since the reset, without the reset's own."""
    assert play.session.history is not None
    node, found = play.session.history.head, []
    while node is not None and node.step.index:
        found.append(node.step)
        node = node.parent
    return found[::-1]
