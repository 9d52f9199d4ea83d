"""The title screen with a fake window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pygame
import pytest

from tests.app.test_application import FakeRenderer, FakeWindow, keys
from worldsim.app.hud import InlineImage
from worldsim.app.preset_library import PresetEntry, SpeedEstimate
from worldsim.app.renderer import ScalingFilter
from worldsim.app.settings import SettingsFile
from worldsim.app.title_screen import TitleScreen
from worldsim.core.clock import ManualClock

SLOW = SpeedEstimate(frames_per_s=9, ticks_per_s=20)
ENTRIES = (
    PresetEntry(ref="bad", name="bad", error="damaged"),
    PresetEntry(ref="maze", name="maze", title="A maze", image=InlineImage(1, 1, bytes([100, 200, 50]))),
)


class StillLibrary:
    """Finds nothing on its own."""

    def __init__(self) -> None:
        self.entries = ENTRIES
        self.note = ""


class TitleWindow(FakeWindow):
    meanwhile: Callable[[], None] = staticmethod(lambda: None)


class Harness:
    def __init__(self, path: Path) -> None:
        self.window = TitleWindow(ManualClock(), lambda: self.window.meanwhile())
        self.renderer = FakeRenderer()
        self.library = StillLibrary()
        self.title = TitleScreen(
            self.library,  # type: ignore[arg-type]  # stands in for the library
            self.window,  # type: ignore[arg-type]  # stands in for the window
            self.renderer,
            SettingsFile(path),
            error="The world has stopped",
        )

    @property
    def focused(self) -> str:
        return next(row.left for panel in self.renderer.panels[-1] for row in panel.rows if row.is_focus)

    def run(self, *script: list[pygame.event.Event]) -> str | None:
        self.window.script = list(script)
        chosen = self.title.run()
        return chosen.ref if chosen else None


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path / "settings.json")


def test_preset_is_chosen_by_keyboard(harness: Harness) -> None:
    assert harness.run(*keys("down return")) == "maze"
    assert harness.focused == "maze" and "The world has stopped" in harness.renderer.text


def test_preset_is_chosen_by_mouse(harness: Harness) -> None:
    click = pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=pygame.BUTTON_LEFT, pos=(0, 2))
    assert harness.run([click]) == "maze"


def test_unreadable_preset_cannot_be_chosen(harness: Harness) -> None:
    assert harness.run(*keys("return down return")) == "maze"


@pytest.mark.parametrize("script", ["escape", "up return"])
def test_title_screen_can_be_left(harness: Harness, script: str) -> None:
    assert harness.run(*keys(script), *keys("down")) is None
    assert len(harness.window.script) == 1, "the loop continued"


def test_window_close_leaves_the_title_screen(harness: Harness) -> None:
    assert harness.run() is None


def test_settings_can_be_changed_on_the_title_screen(harness: Harness) -> None:
    assert harness.run(*keys("down down return right escape up return")) == "maze"
    assert harness.renderer.scaling_filter is ScalingFilter.SMOOTH


def test_unchanged_screen_is_not_redrawn(harness: Harness) -> None:
    harness.run(*[[]] * 10, [pygame.event.Event(pygame.WINDOWEXPOSED)], [], [])
    assert harness.window.num_flips == 2


def test_background_is_the_dimmed_image_of_the_focused_preset(harness: Harness) -> None:
    harness.run(*keys("down return"))
    assert harness.renderer.frames[-1].tolist() == [[[40, 80, 20]]]


def test_new_presets_appear_without_input(harness: Harness) -> None:
    more = PresetEntry(ref="me/castle", name="me/castle", source="on the Hub", estimate=SLOW)

    def find() -> None:
        harness.library.entries, harness.library.note = (*ENTRIES, more), "Searching the Hub for more ..."

    harness.window.meanwhile = find
    harness.run([], [])
    (panel,) = harness.renderer.panels[-1]
    below = [line for row in panel.rows for line in row.sublines]
    assert "on the Hub   ~9 fps (target 20)" in below
    assert any("measuring speed ..." in line for line in below), "the other presets are not measured yet"
    assert "Searching the Hub for more ..." in harness.renderer.text


def test_preset_is_chosen_by_gamepad(harness: Harness) -> None:
    buttons = (pygame.CONTROLLER_BUTTON_DPAD_DOWN, pygame.CONTROLLER_BUTTON_A)
    events = [pygame.event.Event(pygame.CONTROLLERBUTTONDOWN, instance_id=0, button=button) for button in buttons]
    assert harness.run(events) == "maze"


def test_background_stays_if_the_focused_preset_has_no_image(harness: Harness) -> None:
    harness.run(*keys("down up"), [])
    assert [frame.max() for frame in harness.renderer.frames] == [0, 80]
