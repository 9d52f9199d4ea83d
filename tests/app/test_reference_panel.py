"""Reference view, autopilot, memory panel and context reset by keys, without a window."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from tests.app.test_application import NOTHING, Play, down
from tests.engine.fake_reference import FakeReference, fake_source, no_source
from tests.engine.fakes import FakePoseControlled, FakeSimulator, FakeSnapshot, fake_load
from worldsim.app.application import Application
from worldsim.app.hud import Placement
from worldsim.app.reference_panel import FLOOR, MAP_PX, WALL, ViewMode, path_map
from worldsim.core.errors import ConfigError
from worldsim.core.images import GAP_PX
from worldsim.core.types import Action, Frame, Pose, Step
from worldsim.engine.interfaces import LoadedWorld, MapView, ReferenceSource
from worldsim.engine.worker import StageCallback

HEIGHT_PX, WIDTH_PX, _ = FakeSimulator.frame_shape


class DriftingSimulator(FakeSimulator):
    """A slightly wrong fake from the second frame on; uniform gray from frame `fog_from`."""

    def __init__(self, fog_from: int = 10**6) -> None:
        super().__init__()
        self._fog_from = fog_from

    def _frame(self) -> Frame:
        frame = super()._frame()
        if self._now.index >= self._fog_from:
            return np.full_like(frame, 128)
        return frame if self._now.index == 0 else frame ^ np.uint8(8)


class DriftingPoseControlled(FakePoseControlled, DriftingSimulator):
    """The same with pose inputs."""


class ReferencePlay(Play):
    """Play with a reference world whose thread is run manually while the loop waits."""

    def __init__(
        self,
        source: ReferenceSource | None,
        simulator: DriftingSimulator | None = None,
        actions: tuple[Action, ...] = (),
    ) -> None:
        super().__init__()
        load = fake_load(simulator or DriftingSimulator(), ticks_per_s=10)

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


def test_view_key_cycles_through_all_modes() -> None:
    shown: dict[ViewMode, Frame] = {}
    play = ReferencePlay(fake_source(FakeReference()))
    play.run(*[NOTHING] * 8)
    play.session.toggle_pause()
    for mode in (ViewMode.SIDE_BY_SIDE, ViewMode.REFERENCE, ViewMode.DIFFERENCE, ViewMode.GENERATED):
        play.application._is_running = True
        play.run([down("v")], *[NOTHING] * 4)
        assert play.panel.view_mode is mode
        shown[mode] = play.renderer.frames[-1]
    learned, true = shown[ViewMode.GENERATED], shown[ViewMode.REFERENCE]
    assert np.array_equal(true, learned ^ np.uint8(8)), "the reference world is not at the same frame"
    assert np.array_equal(shown[ViewMode.SIDE_BY_SIDE][:, :WIDTH_PX], true)
    assert np.array_equal(shown[ViewMode.SIDE_BY_SIDE][:, WIDTH_PX + GAP_PX :], learned)
    assert set(np.unique(shown[ViewMode.DIFFERENCE])) == {8}


def test_side_by_side_frames_are_aligned_and_psnr_is_theirs() -> None:
    play = ReferencePlay(fake_source(FakeReference()))
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 12, [down("w")], *[NOTHING] * 12)
    both = [frame for frame in play.renderer.frames if frame.shape[1] > WIDTH_PX]
    assert len(both) > 8
    same = [np.array_equal(f[:, :WIDTH_PX], f[:, WIDTH_PX + GAP_PX :] ^ np.uint8(8)) for f in both[1:]]
    assert all(same), "the two frames are of different ticks"
    assert "Reference | generated · PSNR 30.1 dB" in play.lines
    assert play.application.report().frames_shown >= len(both)


def test_reference_follows_reset_and_rewind() -> None:
    world = FakeReference()
    play = ReferencePlay(fake_source(world))
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 14, [down("backspace")], *[NOTHING] * 3)
    assert "paused while rewinding" in play.lines
    play.application._is_running = True
    play.session.rewind(False)
    play.run(*[NOTHING] * 12, [down("t")], *[NOTHING] * 12)
    assert world.resets == [0, 0, 1]
    assert "PSNR 30.1 dB" in play.lines


@pytest.mark.parametrize(("source", "words"), [(None, "No reference world"), (no_source(), "pip install it")])
def test_missing_reference_world_is_reported(source: ReferenceSource | None, words: str) -> None:
    play = ReferencePlay(source)
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 6)
    assert words in play.lines
    assert play.panel.view_mode is ViewMode.GENERATED


def test_autopilot_is_shown_and_any_movement_key_takes_over() -> None:
    play = ReferencePlay(None)
    play.run(*[NOTHING] * 6, [down("g")], *[NOTHING] * 6)
    assert "Autopilot: script 'explore' · G or any movement key" in play.lines
    for key in ("w", "g"):
        play.application._is_running = True
        play.run([down(key)], *[NOTHING] * 6)
        assert "Autopilot:" not in play.lines and "Autopilot off" in play.lines
        if key == "w":
            play.application._is_running = True
            play.run([down("g")], *[NOTHING] * 2)
            assert "Autopilot" in play.lines


def test_autopilot_explores_with_the_reference_world() -> None:
    play = ReferencePlay(fake_source(FakeReference()))
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 4, [down("g")], *[NOTHING] * 10)
    assert "reference-world policy" in play.lines
    assert play.session.shown_step is not None and play.session.shown_step.action.buttons == {"forward"}


def test_pose_controlled_autopilot_is_scripted_and_unreachable_poses_are_reported() -> None:
    class Walled(FakeReference):
        def step(self, action: Action) -> Step:
            if abs(action.axis("x") + 0.5) > 0.1:
                raise ConfigError("the pose is inside a wall")
            return super().step(action)

    play = ReferencePlay(fake_source(Walled()), DriftingPoseControlled())
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 4, [down("w")], *[NOTHING] * 12)
    assert "Reference | generated · not available: the pose is inside a wall" in play.lines
    play.application._is_running = True
    play.run([down("g")], *[NOTHING] * 2)
    assert "Autopilot: script 'explore'" in play.lines


def test_recorded_actions_replay_stop_and_restart() -> None:
    actions = tuple(Action.of("forward" if n % 2 else "left") for n in range(200))
    play = ReferencePlay(None, actions=actions)
    play.run(*[NOTHING] * 12)
    assert play.session.history is not None and play.session.history.head is not None
    assert "Autopilot: recorded actions, " in play.lines
    done = [step.action for step in _path(play)]
    assert len(done) >= 4 and done == list(islice(actions, len(done)))
    play.application._is_running = True
    play.run([down("r")], *[NOTHING] * 8)
    done = [step.action for step in _path(play)]
    assert len(done) >= 2 and done == list(islice(actions, len(done)))


def test_memory_view_shows_scores_and_path() -> None:
    play = ReferencePlay(fake_source(FakeReference()))
    play.run(*[NOTHING] * 6, [down("m"), down("v"), down("w")], *[NOTHING] * 90)
    rows = dict(play.side)
    assert rows["revisit PSNR"] == "no revisits yet"
    assert rows["PSNR to reference"] == "30.1 dB"
    assert "(ok < 1)" in rows["drift"]
    panel = next(p for p in play.renderer.panels[-1] if p.placement is Placement.TOP_RIGHT)
    (picture,) = [row.image for row in panel.rows if row.image is not None]
    assert len(set(picture.pixels)) > 3, "the map is empty"


def test_path_map_shows_walls_and_floor_that_are_known_around_the_path() -> None:
    """A room that reaches from x = -10 to 10, known on its left half only."""
    wall, known = np.zeros((41, 41), np.uint8), np.zeros((41, 41), np.uint8)
    wall[:, 10] = 255
    known[10:31, 10:21] = 255
    view = MapView(wall=wall, known=known, reach=20.0)
    pixels = np.frombuffer(path_map([Pose(x=0.0, y=0.0, angle_rad=0.0)], view), np.uint8)
    colors = Counter(map(tuple, pixels.reshape(-1, 3).tolist()))
    assert colors[FLOOR] > 5 * colors[WALL] > 0, "a floor with a wall at its side"
    image = pixels.reshape(MAP_PX, MAP_PX, 3)
    columns = np.flatnonzero((image == WALL).all(-1).any(0))
    assert columns.max() < MAP_PX / 2 and np.ptp(columns) < 10, "the wall is to the left, and thin"
    alone = np.frombuffer(path_map([Pose(x=0.0, y=0.0, angle_rad=0.0)]), np.uint8)
    assert not (alone.reshape(-1, 3) == FLOOR).all(-1).any(), "no floor without a map"


class MappingSimulator(DriftingSimulator):
    def map_view(self, snapshot: FakeSnapshot) -> MapView | None:
        cells = np.full((3, 3), 255, np.uint8)
        return MapView(wall=cells, known=cells, reach=30.0)


def test_memory_view_shows_the_map_of_the_model() -> None:
    play = ReferencePlay(fake_source(FakeReference()), MappingSimulator())
    play.run(*[NOTHING] * 6, [down("m"), down("v"), down("w")], *[NOTHING] * 90)
    panel = next(p for p in play.renderer.panels[-1] if p.placement is Placement.TOP_RIGHT)
    (picture,) = [row.image for row in panel.rows if row.image is not None]
    colors = set(map(tuple, np.frombuffer(picture.pixels, np.uint8).reshape(-1, 3).tolist()))
    assert WALL in colors


def test_context_reset_uses_reference_frames() -> None:
    play = ReferencePlay(fake_source(FakeReference(), num_context=3))
    play.run(*[NOTHING] * 6, [down("v")], *[NOTHING] * 8, [down("b")], *[NOTHING] * 8)
    assert any("the last 3 ground-truth frames" in text for text in play.logged)
    history = play.session.history
    assert history is not None and history.head is not None and history.head.override is not None
    assert len(history.head.override.actions) == 3


def test_context_reset_without_reference_rewinds_to_the_last_good_frame() -> None:
    play = ReferencePlay(None, DriftingSimulator(fog_from=60))
    play.run(*[NOTHING] * 160)
    history = play.session.history
    assert history is not None and history.head is not None
    drifted = history.head
    assert drifted.step.index > 90 and drifted.drift is not None and drifted.drift > 1
    play.session.toggle_pause()
    play.application._is_running = True
    play.run([down("b")], *[NOTHING] * 3)
    assert any(text.startswith("rewound") for text in play.logged)
    assert history.head is not None and history.head.drift is not None and history.head.drift <= 1
    assert 40 < history.head.step.index < drifted.step.index


def test_context_reset_without_drift_does_nothing() -> None:
    play = ReferencePlay(None)
    play.run(*[NOTHING] * 100, [down("b")], *[NOTHING] * 3)
    assert any("no drift detected" in text for text in play.logged)


def _path(play: Play) -> list[Step]:
    """The frames since the reset, without the start frame."""
    assert play.session.history is not None
    node, found = play.session.history.head, []
    while node is not None and node.step.index:
        found.append(node.step)
        node = node.parent
    return found[::-1]
