"""No display, no OpenGL: said in one line, never a window that nobody sees. Each case in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worldsim.app.window import default_size_px

ROOT = Path(__file__).parents[2]
OPEN = """
from worldsim.app.window import Window
from worldsim.core.errors import WorldsimError
try:
    window = Window(title="t", size_px=(64, 48), backend={backend!r}, hint="worldsim rollout maze")
    print("open", window.context is not None, window.reason, window.size_px)
    window.wake()
    assert window.wait(5.0), "awake"
    window.close()
    window.wake()
except WorldsimError as error:
    print(type(error).__name__, error.message, "|", error.hint)
"""


def open_window(drawing: str = "auto", **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")}
    done = subprocess.run(
        [sys.executable, "-c", OPEN.format(backend=drawing)],
        env={**kept, "PYGAME_HIDE_SUPPORT_PROMPT": "1", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
@pytest.mark.parametrize("environment", [{}, {"DISPLAY": ":31999"}])
def test_without_a_display_it_says_what_to_run_instead(environment: dict[str, str]) -> None:
    said = open_window(**environment)
    assert said.startswith("DisplayError no display to open a window on")
    assert said.endswith("| worldsim rollout maze")


def test_a_driver_that_shows_nothing_is_taken_only_when_asked_for() -> None:
    assert open_window("sdl", SDL_VIDEODRIVER="dummy") == "open False as asked for (64, 48)"


def test_without_opengl_sdl_draws_and_the_reason_is_kept() -> None:
    assert open_window(SDL_VIDEODRIVER="dummy").startswith("open False no OpenGL 3.3 (")


def test_opengl_that_was_asked_for_and_is_not_there_is_an_error() -> None:
    assert open_window("opengl", SDL_VIDEODRIVER="dummy").startswith("GraphicsError no OpenGL 3.3")


@pytest.mark.parametrize(
    ("screen_px", "window_px"),
    [
        ((640, 480), (640, 480)),
        ((400, 300), (400, 300)),
        ((1366, 768), (800, 600)),
        ((1920, 1080), (1120, 840)),
        ((3840, 2160), (2240, 1680)),
        ((1080, 1920), (800, 600)),
    ],
)
def test_a_window_is_as_large_as_fits_the_screen(screen_px: tuple[int, int], window_px: tuple[int, int]) -> None:
    assert default_size_px(screen_px) == window_px
