"""The title screen with a window of paper."""

from __future__ import annotations

from pathlib import Path

import pygame
import pytest

from tests.app.test_application import PaperRenderer, PaperWindow, keys
from worldsim.app.renderer import PictureFilter
from worldsim.app.settings import SettingsFile
from worldsim.app.shelf import Offer
from worldsim.app.title import TitleScreen
from worldsim.core.clock import ManualClock

OFFERS = (Offer(ref="bad", name="bad", trouble="damaged"), Offer(ref="maze", name="maze", title="A maze"))


class Desk:
    def __init__(self, path: Path) -> None:
        self.window = PaperWindow(ManualClock(), lambda: None)
        self.renderer = PaperRenderer()
        self.title = TitleScreen(
            OFFERS,
            self.window,  # type: ignore[arg-type]  # stands in for the window
            self.renderer,
            SettingsFile(path),
            trouble="the world has stopped",
        )

    def run(self, *script: list[pygame.event.Event]) -> str | None:
        self.window.script = list(script)
        chosen = self.title.run()
        return chosen.ref if chosen else None


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "settings.json")


def test_a_preset_is_chosen_by_keyboard(desk: Desk) -> None:
    assert desk.run(*keys("down return")) == "maze"
    assert "> maze" in desk.renderer.text and "the world has stopped" in desk.renderer.text


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
