"""pygame events to held keys, taps, mouse motion and commands.

Owns: the mapping from the key table's names to scancodes (physical places: WASD works on AZERTY). Does not own:
gamepads (`app.gamepad`), what a key means (`actions.bindings`) or what is done about it (`app.application`). UI thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import pygame

from worldsim.actions.bindings import BINDINGS, Binding, Command
from worldsim.app.gamepad import GamepadKeys
from worldsim.engine.inputs import DEAD_ZONE, Inputs

CommandRequest = tuple[Command, int]
"""A command and its argument."""


def scancode(key: str) -> int:
    """The scancode of a key of the table: "w", "left", "f1", "period"."""
    return _scancodes()[key.lower()]


def key_name(code: int) -> str | None:
    """The inverse of `scancode`, for every key that there is; None for a code without a name."""
    return _key_names().get(code)


@cache
def _scancodes() -> dict[str, int]:
    names = (name for name in dir(pygame) if name.startswith("KSCAN_") and name != "KSCAN_UNKNOWN")
    return {name.removeprefix("KSCAN_").lower(): int(getattr(pygame, name)) for name in names}


@cache
def _key_names() -> dict[int, str]:
    return {code: name for name, code in reversed(_scancodes().items())}


class InputHandler:
    """Feeds a session's `inputs`; commands come back from `handle`."""

    def __init__(self, inputs: Inputs, capture_mouse: Callable[[bool], None]) -> None:
        """`capture_mouse` is told when a click captures the mouse, and when it is let go."""
        self._inputs = inputs
        self._capture_mouse = capture_mouse
        self._is_mouse_captured = False
        self._held: dict[str, Command] = {}
        self.gamepad = GamepadKeys()
        """An open menu reads them too: they have to see every event."""
        self.bind(BINDINGS)

    def bind(self, bindings: Iterable[Binding], *, dead_zone: float = DEAD_ZONE) -> None:
        """The commands' keys are those of `bindings` from now on; what is held is held on. `dead_zone`: of sticks."""
        self.gamepad.dead_zone = dead_zone
        self._commands = {(key, row.ctrl): row for row in bindings if row.command for key in row.keys}

    def handle(self, events: Iterable[pygame.event.Event]) -> list[CommandRequest]:
        """Returns: the commands, in the order in which they were given."""
        requests: list[CommandRequest] = []
        for event in events:
            axis_values = self.gamepad.axis_values(event)
            if axis_values:
                self._handle_moves(axis_values, requests)
            elif event.type == pygame.QUIT:
                requests.append((Command.QUIT, 0))
            elif event.type == pygame.KEYDOWN:
                self._press(key_name(event.scancode), bool(event.mod & pygame.KMOD_CTRL), requests)
            elif event.type == pygame.KEYUP:
                self._release(key_name(event.scancode), requests)
            elif event.type == pygame.MOUSEMOTION and self._is_mouse_captured:
                self._inputs.move_mouse(event.rel[0])
            elif event.type == pygame.MOUSEBUTTONDOWN and event.button == pygame.BUTTON_LEFT:
                self._is_mouse_captured = True
                self._capture_mouse(True)
            elif event.type == pygame.WINDOWFOCUSLOST:
                requests += self.release_all()
        return requests

    def release_all(self) -> list[CommandRequest]:
        """Nothing is held any more, and the mouse is free. Returns: the ends of held commands."""
        requests: list[CommandRequest] = []
        self._inputs.release_all()
        for key in tuple(self._held):
            self._release(key, requests)
        self.free_mouse()
        return requests

    def is_quit_event(self, event: pygame.event.Event) -> bool:
        """Whatever else is open."""
        if event.type != pygame.KEYDOWN:
            return bool(event.type == pygame.QUIT)
        row = self._commands.get((key_name(event.scancode) or "", bool(event.mod & pygame.KMOD_CTRL)))
        return row is not None and row.command is Command.QUIT

    def free_mouse(self) -> bool:
        """Lets the mouse go. Returns whether it was captured."""
        was_captured, self._is_mouse_captured = self._is_mouse_captured, False
        if was_captured:
            self._capture_mouse(False)
        return was_captured

    def _handle_moves(self, axis_values: list[tuple[str, float]], requests: list[CommandRequest]) -> None:
        """Of a gamepad's keys: those of commands are pressed and released, the others held as far as they are moved."""
        for key, is_down in self.gamepad.transitions(axis_values):
            if not is_down:
                self._release(key, requests)
            elif (key, False) in self._commands:
                self._press(key, False, requests)
        for key, fraction in axis_values:
            if fraction and (key, False) not in self._commands:
                self._inputs.press(key, fraction)
            else:
                self._inputs.release(key)

    def _press(self, key: str | None, has_ctrl: bool, requests: list[CommandRequest]) -> None:
        if key is None:
            return
        row: Binding | None = self._commands.get((key, has_ctrl))
        if row is not None and row.command is not None:
            requests.append((row.command, 1 if row.is_hold else row.argument))
            if row.is_hold:
                self._held[key] = row.command
        elif not has_ctrl:
            self._inputs.press(key)

    def _release(self, key: str | None, requests: list[CommandRequest]) -> None:
        if key is None:
            return
        self._inputs.release(key)
        command = self._held.pop(key, None)
        if command is not None:
            requests.append((command, 0))
