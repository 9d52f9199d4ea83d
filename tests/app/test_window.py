"""Missing display or OpenGL: one-line errors and fallbacks. Each case in its own process."""

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
    print("open", window.context is not None, window.fallback_reason, window.size_px)
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
def test_missing_display_error_names_an_alternative(environment: dict[str, str]) -> None:
    output = open_window(**environment)
    assert output.startswith("DisplayError no display to open a window on")
    assert output.endswith("| worldsim rollout maze")


def test_headless_driver_is_used_only_on_request() -> None:
    assert open_window("sdl", SDL_VIDEODRIVER="dummy") == "open False as requested (64, 48)"


def test_falls_back_to_sdl_with_a_reason() -> None:
    assert open_window(SDL_VIDEODRIVER="dummy").startswith("open False no OpenGL 3.3 (")


def test_requested_but_missing_opengl_is_an_error() -> None:
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
def test_default_window_size_fits_the_screen(screen_px: tuple[int, int], window_px: tuple[int, int]) -> None:
    assert default_size_px(screen_px) == window_px
