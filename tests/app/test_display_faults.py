"""Faults of a real window on a virtual screen: minimized, shrunk to nothing, graphics context lost."""

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
def test_minimized_window_is_idle_and_restores_paused(screen: Screen, drawing: str) -> None:
    program = screen.start("tests.app.lamp_play", drawing)
    screen.wait_for(IDLE, "play begins")
    window = screen.query("getwindowfocus")
    screen.input("keydown", "w")
    screen.wait_for(WALK, "W is held")
    screen.input("windowunmap", window)
    time.sleep(0.5)
    before_s = cpu_s(program.pid)
    time.sleep(2.0)
    assert cpu_s(program.pid) - before_s < 0.1, "uses the CPU while hidden"
    screen.input("keyup", "w")
    screen.input("windowmap", window)
    screen.input("windowfocus", "--sync", window)
    screen.wait_for(WALK, "the last frame is shown again")
    screen.input("key", "p")
    screen.wait_for(IDLE, "play resumes, and W is not held")
    screen.input("key", "ctrl+q")
    finish(program)


@pytest.mark.parametrize("drawing", ["sdl", "opengl"])
def test_window_survives_shrinking_to_nothing(screen: Screen, drawing: str) -> None:
    program = screen.start("tests.app.lamp_play", drawing)
    screen.wait_for(IDLE, "play begins")
    window = screen.query("getwindowfocus")
    for size in (("1", "1"), ("1", "300"), ("400", "300")):
        screen.input("windowsize", window, *size)
        time.sleep(0.3)
    screen.input("keydown", "w")
    screen.wait_for(WALK, "W is held")
    screen.input("keyup", "w")
    screen.input("key", "ctrl+q")
    finish(program)


def test_lost_graphics_context_is_recreated(screen: Screen) -> None:
    program = screen.start("tests.app.lamp_play", "opengl", "lose")
    screen.wait_for(IDLE, "play begins")
    time.sleep(2.5)
    screen.input("keydown", "w")
    screen.wait_for(WALK, "the world is shown again")
    screen.input("keyup", "w")
    screen.input("key", "ctrl+q")
    assert "OpenGL context lost (cannot create texture); continuing with OpenGL" in finish(program)
