"""The title screen with a fake window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pygame
import pytest

from tests.app.test_application import FakeRenderer, FakeWindow, keys
from worldsim.app.hud import InlineImage
from worldsim.app.preset_library import PresetEntry
from worldsim.app.renderer import PictureFilter
from worldsim.app.settings import SettingsFile
from worldsim.app.speed_estimates import SpeedEstimate
from worldsim.app.title_screen import TitleScreen
from worldsim.core.clock import ManualClock

SLOW = SpeedEstimate(frames_per_s=9, ticks_per_s=20)
ENTRIES = (
    PresetEntry(ref="bad", name="bad", error="damaged"),
    PresetEntry(ref="maze", name="maze", title="A maze", image=InlineImage(1, 1, bytes([100, 200, 50]))),
)


class StillLibrary:
    """Finds nothing by itself."""

    def __init__(self) -> None:
        self.entries = ENTRIES
        self.note = ""


class TitleWindow(FakeWindow):
    meanwhile: Callable[[], None] = staticmethod(lambda: None)


class Desk:
    def __init__(self, path: Path) -> None:
        self.window = TitleWindow(ManualClock(), lambda: self.window.meanwhile())
        self.renderer = FakeRenderer()
        self.library = StillLibrary()
        self.title = TitleScreen(
            self.library,  # type: ignore[arg-type]  # stands in for the library
            self.window,  # type: ignore[arg-type]  # stands in for the window
            self.renderer,
            SettingsFile(path),
            error="the world has stopped",
        )

    @property
    def focused(self) -> str:
        return next(row.left for panel in self.renderer.panels[-1] for row in panel.rows if row.is_focus)

    def run(self, *script: list[pygame.event.Event]) -> str | None:
        self.window.script = list(script)
        chosen = self.title.run()
        return chosen.ref if chosen else None


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "settings.json")


def test_a_preset_is_chosen_by_keyboard(desk: Desk) -> None:
    assert desk.run(*keys("down return")) == "maze"
    assert desk.focused == "maze" and "the world has stopped" in desk.renderer.text


def test_a_preset_is_chosen_by_mouse(desk: Desk) -> None:
    click = pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=pygame.BUTTON_LEFT, pos=(0, 2))
    assert desk.run([click]) == "maze"


def test_one_that_cannot_be_read_is_not_played(desk: Desk) -> None:
    assert desk.run(*keys("return down return")) == "maze"


@pytest.mark.parametrize("script", ["escape", "up return"])
def test_it_can_be_left(desk: Desk, script: str) -> None:
    assert desk.run(*keys(script), *keys("down")) is None
    assert len(desk.window.script) == 1, "it went on"


def test_closing_the_window_leaves_it(desk: Desk) -> None:
    assert desk.run() is None


def test_settings_can_be_changed_before_anything_is_loaded(desk: Desk) -> None:
    assert desk.run(*keys("down down return right escape up return")) == "maze"
    assert desk.renderer.picture_filter is PictureFilter.SMOOTH


def test_nothing_is_drawn_when_nothing_is_new(desk: Desk) -> None:
    desk.run(*[[]] * 10, [pygame.event.Event(pygame.WINDOWEXPOSED)], [], [])
    assert desk.window.num_flips == 2


def test_the_picture_of_the_one_in_focus_is_behind_the_list_and_darker(desk: Desk) -> None:
    desk.run(*keys("down return"))
    assert desk.renderer.frames[-1].tolist() == [[[40, 80, 20]]]


def test_what_is_found_meanwhile_is_listed_without_a_key(desk: Desk) -> None:
    more = PresetEntry(ref="me/castle", name="me/castle", source="on the Hub", estimate=SLOW)

    def find() -> None:
        desk.library.entries, desk.library.note = (*ENTRIES, more), "asking the Hub for more ..."

    desk.window.meanwhile = find
    desk.run([], [])
    (panel,) = desk.renderer.panels[-1]
    below = [line for row in panel.rows for line in row.sublines]
    assert "on the Hub   about 9 frames/s here, its pace is 20" in below
    assert any("... frames/s here" in line for line in below), "the others are not known yet"
    assert "asking the Hub for more ..." in desk.renderer.text


def test_a_gamepad_chooses_too(desk: Desk) -> None:
    buttons = (pygame.CONTROLLER_BUTTON_DPAD_DOWN, pygame.CONTROLLER_BUTTON_A)
    events = [pygame.event.Event(pygame.CONTROLLERBUTTONDOWN, instance_id=0, button=button) for button in buttons]
    assert desk.run(events) == "maze"


def test_the_picture_behind_stays_where_the_one_in_focus_has_none(desk: Desk) -> None:
    desk.run(*keys("down up"), [])
    assert [frame.max() for frame in desk.renderer.frames] == [0, 80]
