"""The main loop with a fake window: scripted events, a manual clock, the model run while the loop waits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pygame
import pytest

from tests.engine.fakes import FakeSimulator, fake_load
from worldsim.actions.bindings import Command, KeyOverride
from worldsim.app.application import Application, ExitAction, SessionStats
from worldsim.app.hud import Panel, Placement
from worldsim.app.input import scancode
from worldsim.app.renderer import Interpolation, ScalingFilter
from worldsim.app.settings import SettingsFile
from worldsim.core.clock import ManualClock
from worldsim.core.types import Frame
from worldsim.engine.session import Session, SessionState
from worldsim.engine.worker import Worker

TICK_S = 0.1


class FakeWindow:
    """`script[n]` are the events of the n-th `wait`; after the last one the window is closed."""

    size_px = (320, 240)

    def __init__(self, clock: ManualClock, meanwhile: Callable[[], None]) -> None:
        self.script: list[list[pygame.event.Event]] = []
        self.waits_s: list[float] = []
        self.num_flips = 0
        self.is_full_screen = self.is_mouse_captured = False
        self.is_visible = True
        self._clock, self._meanwhile = clock, meanwhile

    def wait(self, timeout_s: float) -> list[pygame.event.Event]:
        assert timeout_s >= 0, timeout_s
        self.waits_s.append(timeout_s)
        self._clock.advance_s(timeout_s)
        self._meanwhile()
        return self.script.pop(0) if self.script else [pygame.event.Event(pygame.QUIT)]

    def flip(self) -> None:
        self.num_flips += 1

    def toggle_full_screen(self) -> None:
        self.is_full_screen = not self.is_full_screen

    def capture_mouse(self, is_captured: bool) -> None:
        self.is_mouse_captured = is_captured


class FakeRenderer:
    """Records what is drawn."""

    name = "fake"
    scaling_filter = ScalingFilter.SHARP
    integer_scale = False
    interpolation = Interpolation.OFF
    supports_motion_interpolation = False

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.panels: list[tuple[Panel, ...]] = []
        self.fractions: list[float] = []

    def show(self, frame: Frame) -> None:
        self.frames.append(frame)

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float = 1.0) -> None:
        self.panels.append(panels)
        self.fractions.append(fraction)

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        """Row n is at y = n."""
        return point_px[1] if point_px[1] < len(panel.rows) else None

    @property
    def text(self) -> str:
        """The text in the center of the last draw."""
        return "\n".join(row.left for p in self.panels[-1] if p.placement is Placement.CENTER for row in p.rows)


class ListHandler(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


class Play:
    def __init__(
        self,
        simulator: FakeSimulator | None = None,
        *,
        max_frames: int | None = None,
        settings: SettingsFile | None = None,
        num_steps: int | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.logged: list[str] = []
        self.worker = Worker(fake_load(simulator or FakeSimulator(), ticks_per_s=1 / TICK_S), clock=self.clock)
        self.window = FakeWindow(self.clock, self._model)
        self.renderer = FakeRenderer()
        self.session = Session(self.worker)
        self.application = Application(
            self.session,
            self.window,  # type: ignore[arg-type]  # stands in for the window
            self.renderer,
            clock=self.clock,
            title="fake",
            max_frames=max_frames,
            settings=settings,
            has_title=settings is not None,
            num_steps=num_steps,
        )

    def _model(self) -> None:
        while self.worker.run_once():
            pass

    def run(self, *script: list[pygame.event.Event]) -> SessionStats:
        self.window.script = [list(events) for events in script]
        handler, logger = ListHandler(self.logged), logging.getLogger("worldsim.app")
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            return self.application.run()
        finally:
            logger.removeHandler(handler)


def down(key: str) -> pygame.event.Event:
    return pygame.event.Event(pygame.KEYDOWN, scancode=scancode(key), mod=0)


NOTHING: list[pygame.event.Event] = []


def test_stops_after_max_frames() -> None:
    play = Play(max_frames=5)
    report = play.run(*[NOTHING] * 200)
    assert report.frames_shown == 5
    assert len(play.renderer.frames) == 6  # the start frame is shown, too, but not generated
    assert report.shown_per_s == pytest.approx(1 / TICK_S, rel=0.01)


def test_closing_the_window_quits_play() -> None:
    assert Play().run().frames_shown == 0


def test_stages_are_logged_once_each() -> None:
    play = Play()
    play.run(*[NOTHING] * 30)
    assert play.logged[-1] == "playing"
    assert len(play.logged) == len(set(play.logged))


def test_shows_the_frames_of_the_world() -> None:
    play = Play()
    play.run(*[NOTHING] * 8, [down("w")], *[NOTHING] * 20)
    simulator = FakeSimulator()
    assert np.array_equal(play.renderer.frames[0], simulator.reset(0).frame)
    assert np.array_equal(play.renderer.frames[1], simulator.step(simulator.reset(0).action).frame)


def test_unchanged_screen_is_not_redrawn() -> None:
    play = Play()
    play.run(*[NOTHING] * 10, [down("p")], *[NOTHING] * 40)
    assert play.session.state is SessionState.PAUSED
    still = play.window.num_flips
    assert still < 30, "a paused world is redrawn continuously"


def test_sleeps_until_the_next_deadline() -> None:
    play = Play()
    play.run(*[NOTHING] * 10, [down("p")], *[NOTHING] * 20)
    assert sum(play.window.waits_s[-10:]) > 1.0


def test_exposed_window_is_redrawn() -> None:
    def num_flips(*last: pygame.event.Event) -> int:
        play = Play()
        play.run(*[NOTHING] * 10, [down("p")], *[NOTHING] * 20, list(last))  # by then no number changes
        return play.window.num_flips

    assert num_flips(pygame.event.Event(pygame.WINDOWEXPOSED)) == num_flips() + 1


def test_hanging_model_blocks_neither_window_nor_close() -> None:
    hanging = threading.Event()
    play = Play()
    play.worker._load = lambda report: hanging.wait() and fake_load(FakeSimulator())(report)  # until the end
    play.window._meanwhile = lambda: None
    play.worker.start()
    begin_s = time.monotonic()
    play.run(*[NOTHING] * 30, [down("f1")], *[NOTHING] * 10)
    play.worker.close(timeout_s=0.05)
    assert time.monotonic() - begin_s < 5.0
    assert "W / Up" in play.renderer.text
    hanging.set()


def test_error_is_shown_and_play_can_continue() -> None:
    play = Play(FakeSimulator(fail_at=3))
    script = [NOTHING] * 60
    play.run(*script)
    assert "World stopped" in play.renderer.text
    assert "R restart" in play.renderer.text
    assert "Backspace rewind" in play.renderer.text
    assert play.logged[-1] == "failed"
    back = Play(FakeSimulator(fail_at=20))
    up = pygame.event.Event(pygame.KEYUP, scancode=scancode("backspace"), mod=0)
    back.run(*[NOTHING] * 120, [down("backspace")], *[NOTHING] * 10, [up], *[NOTHING] * 6)
    assert back.session.state is SessionState.PLAYING
    again = Play(FakeSimulator(fail_at=3))
    again.run(*script, [down("t")], *[NOTHING] * 30)
    assert again.session.state is SessionState.PLAYING
    assert again.session.seed == 1


def test_error_ends_a_run_with_max_frames() -> None:
    play = Play(FakeSimulator(fail_at=3), max_frames=50)
    report = play.run(*[NOTHING] * 200)
    assert report.frames_shown == 2
    assert play.session.error is not None


def test_escape_releases_the_mouse_then_pauses() -> None:
    play = Play()
    click = pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=pygame.BUTTON_LEFT)
    play.run(*[NOTHING] * 10, [click], [down("escape")])
    assert play.session.state is SessionState.PLAYING
    assert not play.window.is_mouse_captured
    play = Play()
    play.run(*[NOTHING] * 10, [click], [down("escape")], [down("escape")])
    assert play.session.state is SessionState.PAUSED


def keys(text: str) -> list[list[pygame.event.Event]]:
    """One `wait` per key."""
    return [[down(key)] for key in text.split()]


def test_esc_opens_the_menu_and_esc_resumes() -> None:
    play = Play()
    play.run(*[NOTHING] * 10, *keys("escape"), *[NOTHING] * 10)
    assert "Resume" in play.renderer.text and play.session.state is SessionState.PAUSED
    play = Play()
    play.run(*[NOTHING] * 10, *keys("escape"), *[NOTHING] * 10, *keys("escape"), *[NOTHING] * 3)
    assert play.renderer.text == "" and play.session.state is SessionState.PLAYING


def test_open_menu_takes_all_keys_and_keeps_a_new_world_paused() -> None:
    play = Play()
    play.run(*keys("escape"), *[NOTHING] * 10, *keys("w p r"), *[NOTHING] * 10)
    assert play.session.state is SessionState.PAUSED
    assert "Resume" in play.renderer.text
    assert len(play.renderer.frames) == 1


def test_opening_the_menu_releases_held_keys() -> None:
    play = Play()
    play.run(*[NOTHING] * 10, *keys("w escape"), NOTHING, *keys("escape"))
    assert not play.session.inputs.sample().buttons


def test_menu_restarts_and_leaves_by_keyboard_and_mouse(tmp_path: Path) -> None:
    play = Play()
    play.run(*[NOTHING] * 90, *keys("escape down return"), *[NOTHING] * 3)
    assert play.session.state is SessionState.PLAYING
    assert play.session.shown_step is not None and play.session.shown_step.index < 15
    play = Play(settings=SettingsFile(tmp_path / "settings.json"))
    click = pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=pygame.BUTTON_LEFT, pos=(0, 4))
    play.run(*[NOTHING] * 10, *keys("escape"), [click], *[NOTHING] * 50)
    assert play.application.exit_action is ExitAction.TITLE
    assert len(play.window.script) == 50, "the click did not end the loop"


def test_window_close_and_ctrl_q_quit_from_the_menu() -> None:
    ctrl_q = pygame.event.Event(pygame.KEYDOWN, scancode=scancode("q"), mod=pygame.KMOD_LCTRL)
    for event in (ctrl_q, pygame.event.Event(pygame.QUIT)):
        play = Play()
        play.run(*[NOTHING] * 10, *keys("escape"), [event], *[NOTHING] * 50)
        assert len(play.window.script) == 50
        assert play.application.exit_action is ExitAction.QUIT


def test_settings_apply_immediately(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    play = Play(settings=file)
    to_settings = "escape down down return"
    play.run(
        *[NOTHING] * 10, *keys(f"{to_settings} right down down down right down right down down left"), *[NOTHING] * 3
    )
    assert play.renderer.scaling_filter is ScalingFilter.SMOOTH
    assert play.window.is_full_screen
    assert play.worker.counters.num_steps == 8
    assert file.current.mouse_sensitivity == 1.5
    (mouse,) = [row for row in play.session.inputs.bindings if "mouse_x" in row.keys]
    assert mouse.amount == pytest.approx(-1.5 / 60)


def test_denoising_steps_can_be_overridden_and_restored(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    file.change(denoising_steps=8)
    play = Play(settings=file, num_steps=8)
    own = FakeSimulator().num_steps
    play.run(*[NOTHING] * 10)
    assert play.worker.counters.num_steps == 8 != own
    play = Play(settings=file, num_steps=8)
    play.run(*[NOTHING] * 10, *keys("escape down down return down down down down down down right"), *[NOTHING] * 3)
    assert file.current.denoising_steps is None
    assert play.worker.counters.num_steps == own


def test_rebound_key_replaces_the_old_one_and_is_named_on_screen(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    file.change(key_overrides=(KeyOverride(name="forward", keys=("f8",)), KeyOverride(name="pause", keys=("kp5",))))
    play = Play(settings=file)
    play.run(*[NOTHING] * 10, [down("w")], [down("f8")])
    assert play.session.inputs.sample().buttons == {"forward"}
    play = Play(settings=file)
    play.run(*[NOTHING] * 10, *keys("w p"), *[NOTHING] * 3)
    assert not play.session.inputs.sample().buttons
    assert play.session.state is SessionState.PLAYING
    play = Play(settings=file)
    play.run(*[NOTHING] * 10, *keys("kp5"), *[NOTHING] * 3)
    assert "KP5 resume" in play.renderer.text


def test_f1_toggles_help() -> None:
    play = Play()
    play.run(*[NOTHING] * 10, [down("f1")], NOTHING)
    assert "W / Up" in play.renderer.text
    play = Play()
    play.run(*[NOTHING] * 10, [down("f1")], NOTHING, [down("f1")], NOTHING)
    assert "W / Up" not in play.renderer.text


def test_keys_set_steps_filter_and_full_screen() -> None:
    play = Play()
    play.run(*[NOTHING] * 10, [down("3"), down("f4"), down("f11")], *[NOTHING] * 10)
    assert play.worker.counters.num_steps == 4
    assert play.renderer.scaling_filter is ScalingFilter.SMOOTH
    assert play.window.is_full_screen


def test_single_step_generates_one_frame_and_pauses() -> None:
    play = Play()
    play.run(*[NOTHING] * 10, [down("p")], NOTHING)
    shown = len(play.renderer.frames)
    play = Play()
    play.run(*[NOTHING] * 10, [down("p")], [down("n")], *[NOTHING] * 20)
    assert len(play.renderer.frames) == shown + 1


def test_every_command_has_a_handler() -> None:
    assert set(Play().application._handlers) == set(Command)


class VisibilityChange:
    """Makes the window visible or hidden from the n-th `wait` on."""

    def __init__(self, play: Play, look: int, *, is_visible: bool) -> None:
        self._play, self._look, self._is_visible = play, look, is_visible
        self._before = play.window._meanwhile
        play.window._meanwhile = self

    def __call__(self) -> None:
        if len(self._play.window.waits_s) == self._look:
            self._play.window.is_visible = self._is_visible
        self._before()


def test_minimized_window_releases_keys_pauses_and_sleeps() -> None:
    play = Play()
    VisibilityChange(play, 15, is_visible=False)
    script = [*[NOTHING] * 10, [down("w")], *[NOTHING] * 40]
    play.run(*script)
    assert play.session.state is SessionState.PAUSED
    assert not play.session.inputs.held
    assert play.window.num_flips < 14, "draws while hidden"
    assert sum(play.window.waits_s[-10:]) > 40.0, "does not sleep"
    again = Play()
    VisibilityChange(again, 15, is_visible=False)
    VisibilityChange(again, 30, is_visible=True)
    again.run(*script)
    assert "P resume" in again.renderer.text
    assert again.window.num_flips > play.window.num_flips


def test_minimized_window_with_max_frames_keeps_playing_without_drawing() -> None:
    play = Play(max_frames=20)
    VisibilityChange(play, 15, is_visible=False)
    report = play.run(*[NOTHING] * 200)
    assert report.frames_shown == 20
    assert play.window.num_flips < 20
