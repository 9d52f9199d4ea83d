"""Faults of a real window on a virtual screen: minimised, without room, its graphics context taken away."""

from __future__ import annotations

import time

import pytest

from tests.app.lamp_play import IDLE, WALK
from tests.app.test_display import Screen, finish, pytestmark, screen

__all__ = ["pytestmark", "screen"]


def cpu_s(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@pytest.mark.parametrize("drawing", ["sdl", "opengl"])
def test_a_minimised_window_waits_without_work_and_comes_back_paused(screen: Screen, drawing: str) -> None:
    program = screen.start("tests.app.lamp_play", drawing)
    screen.wait_for(IDLE, "play begins")
    window = screen.ask("getwindowfocus")
    screen.hand("keydown", "w")
    screen.wait_for(WALK, "W is held")
    screen.hand("windowunmap", window)
    time.sleep(0.5)
    before_s = cpu_s(program.pid)
    time.sleep(2.0)
    assert cpu_s(program.pid) - before_s < 0.1, "it works while nobody can see it"
    screen.hand("keyup", "w")
    screen.hand("windowmap", window)
    screen.hand("windowfocus", "--sync", window)
    screen.wait_for(WALK, "the last frame is there again")
    screen.hand("key", "p")
    screen.wait_for(IDLE, "play goes on, and W is not held")
    screen.hand("key", "ctrl+q")
    finish(program)


@pytest.mark.parametrize("drawing", ["sdl", "opengl"])
def test_a_window_that_shrinks_to_nothing_and_grows_again_goes_on(screen: Screen, drawing: str) -> None:
    program = screen.start("tests.app.lamp_play", drawing)
    screen.wait_for(IDLE, "play begins")
    window = screen.ask("getwindowfocus")
    for size in (("1", "1"), ("1", "300"), ("400", "300")):
        screen.hand("windowsize", window, *size)
        time.sleep(0.3)
    screen.hand("keydown", "w")
    screen.wait_for(WALK, "W is held")
    screen.hand("keyup", "w")
    screen.hand("key", "ctrl+q")
    finish(program)


def test_a_graphics_context_that_is_taken_away_is_made_anew(screen: Screen) -> None:
    program = screen.start("tests.app.lamp_play", "opengl", "lose")
    screen.wait_for(IDLE, "play begins")
    time.sleep(2.5)
    screen.hand("keydown", "w")
    screen.wait_for(WALK, "the world is seen again")
    screen.hand("keyup", "w")
    screen.hand("key", "ctrl+q")
    assert "the graphics context was lost (cannot create texture): drawing goes on with OpenGL" in finish(program)
