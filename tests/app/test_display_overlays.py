"""Overlays and screenshots in a real window, by real keys. Needs Xvfb and xdotool."""

from __future__ import annotations

import shutil

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.app.lamp_play import IDLE, WALK
from tests.app.test_display import Screen, finish, screen
from worldsim.app.text_renderer import CAP_FILLED

__all__ = ["screen"]
pytestmark = [
    pytest.mark.display,
    pytest.mark.skipif(not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="no Xvfb or no xdotool"),
]


def has_filled_key(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether the lower right shows the color of a held key."""
    corner = pixels[130:, 200:].astype(int)
    return bool((np.abs(corner - CAP_FILLED[:3]).max(axis=2) <= 8).sum() > 80)


@pytest.mark.parametrize("drawing", ["sdl", "opengl"])
def test_key_overlay_performance_panel_and_screenshot(
    screen: Screen, drawing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = screen.home.parent / "pictures"
    monkeypatch.setenv("XDG_PICTURES_DIR", str(pictures))
    program = screen.start("tests.app.lamp_play", drawing)
    screen.wait_for(IDLE, "play begins")
    screen.input("key", "F2")
    screen.input("keydown", "w")
    screen.wait_until(lambda: has_filled_key(screen.pixels()), "W is drawn as held")
    screen.input("key", "F12")
    screen.wait_until(lambda: list(pictures.glob("worldsim/*.png")), "a screenshot")
    screen.input("keyup", "w")
    screen.wait_until(lambda: not has_filled_key(screen.pixels()), "W is drawn as free")
    before = screen.pixels()[10:120, 10:120]
    screen.input("key", "F3", "F3")
    screen.wait_until(lambda: (screen.pixels()[10:120, 10:120] != before).mean() > 0.5, "the performance panel")
    screen.input("key", "ctrl+q")
    finish(program)
    (path,) = pictures.glob("worldsim/*.png")
    with Image.open(path) as image:
        assert image.getpixel((5, 5)) == WALK
        assert image.text["worldsim:seed"] == "0"  # type: ignore[attr-defined]  # a PNG's
