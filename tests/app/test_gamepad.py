"""An SDL virtual gamepad: plugged in, used and unplugged without hardware."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pygame
import pytest

from worldsim.actions.bindings import BINDINGS, Command
from worldsim.app.input import ConnectedGamepads, InputHandler
from worldsim.core.types import NO_ACTION, Action
from worldsim.engine.inputs import Inputs

GAMECONTROLLER, NUM_AXES, NUM_BUTTONS = 1, 6, 15


class VirtualPad:
    def __init__(self, sdl: Any) -> None:
        self._sdl = sdl
        self._place = sdl.SDL_JoystickAttachVirtual(GAMECONTROLLER, NUM_AXES, NUM_BUTTONS, 0)
        assert self._place >= 0
        self._joystick: ctypes.c_void_p | None = None

    def open(self) -> None:
        self._sdl.SDL_JoystickOpen.restype = ctypes.c_void_p
        self._joystick = ctypes.c_void_p(self._sdl.SDL_JoystickOpen(self._place))

    def push(self, button: int, *, down: bool = True) -> None:
        self._sdl.SDL_JoystickSetVirtualButton(self._joystick, button, int(down))

    def lean(self, axis: int, value: int) -> None:
        self._sdl.SDL_JoystickSetVirtualAxis(self._joystick, axis, ctypes.c_int16(value))

    def pull_out(self) -> None:
        self._sdl.SDL_JoystickDetachVirtual(self._place)


@pytest.fixture
def sdl(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The SDL library that pygame has loaded."""
    maps = Path("/proc/self/maps")
    names = {line.split()[-1] for line in maps.read_text().splitlines() if "libSDL2-2" in line} if maps.exists() else ()
    if not names or sys.platform != "linux":
        pytest.skip("SDL's library is looked for in /proc")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()
    pygame.display.set_mode((64, 48))
    try:
        yield ctypes.CDLL(names.pop())
    finally:
        pygame.quit()


def test_gamepad_works_from_plug_to_unplug(sdl: Any) -> None:
    ports, inputs = ConnectedGamepads(), Inputs(BINDINGS)
    handler = InputHandler(inputs, lambda is_captured: None)

    def look() -> list[tuple[Command, int]]:
        events = [*pygame.event.get(), *pygame.event.get()]
        ports.update(events)
        return handler.handle(events)

    assert look() == [] and ports.num == 0
    pad = VirtualPad(sdl)
    look()
    assert ports.num == 1
    pad.open()
    pad.push(pygame.CONTROLLER_BUTTON_Y)
    pad.lean(pygame.CONTROLLER_AXIS_LEFTY, -32768)
    assert look() == [(Command.RESET, 0)]
    assert inputs.sample() == Action.of("forward")
    assert handler.gamepad.is_used
    pad.pull_out()
    look()
    assert inputs.sample() == NO_ACTION and ports.num == 0
    again = VirtualPad(sdl)
    look()
    assert ports.num == 1, "plugged in again"
    again.pull_out()
    ports.close()
