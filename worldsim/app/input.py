"""pygame events from keyboard, mouse and gamepads to held keys, mouse motion, commands and menu keys. UI thread.

Keys are scancodes (physical positions), so WASD works on AZERTY. Gamepads go through SDL's game controller mapping,
which gives every known pad the same layout; the mapping of an unknown pad can be set in SDL_GAMECONTROLLERCONFIG.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import pygame

from worldsim.actions.bindings import BINDINGS, PAD, Binding, Command
from worldsim.app.menu import MenuKey, MenuStack
from worldsim.engine.inputs import BUTTON_THRESHOLD, DEAD_ZONE, Inputs

AXIS_LEVELS = 16
"""Quantization levels of a stick. Each new value discards the prefetched frames, and a hand is never quite still."""
HYSTERESIS_LEVELS = 0.8
"""How far a stick must move before its quantized value changes, in levels."""
RELEASE_THRESHOLD = 0.35
"""A stick used as a button is released below this fraction. Lower than the press threshold, to prevent flutter."""
AXIS_MAX = 32767

CommandRequest = tuple[Command, int]
"""A command and its argument."""
RowAt = Callable[[tuple[int, int]], int | None]
"""From a point in the window to the menu row drawn there."""

MENU_KEYS = {
    pygame.KSCAN_UP: MenuKey.UP,
    pygame.KSCAN_DOWN: MenuKey.DOWN,
    pygame.KSCAN_LEFT: MenuKey.LEFT,
    pygame.KSCAN_RIGHT: MenuKey.RIGHT,
    pygame.KSCAN_RETURN: MenuKey.ENTER,
    pygame.KSCAN_KP_ENTER: MenuKey.ENTER,
    pygame.KSCAN_SPACE: MenuKey.ENTER,
    pygame.KSCAN_ESCAPE: MenuKey.BACK,
}
MENU_PAD_KEYS = {
    **{f"pad_dpad_{key.value}": key for key in (MenuKey.UP, MenuKey.DOWN, MenuKey.LEFT, MenuKey.RIGHT)},
    "pad_lefty-": MenuKey.UP,
    "pad_lefty+": MenuKey.DOWN,
    "pad_leftx-": MenuKey.LEFT,
    "pad_leftx+": MenuKey.RIGHT,
    "pad_a": MenuKey.ENTER,
    "pad_b": MenuKey.BACK,
    "pad_start": MenuKey.BACK,
}


def scancode(key: str) -> int:
    """The scancode of a key in the table: "w", "left", "f1", "period"."""
    return _scancodes()[key.lower()]


def key_name(code: int) -> str | None:
    """The inverse of `scancode`, for every key; None for a code without a name."""
    return _key_names().get(code)


@cache
def _scancodes() -> dict[str, int]:
    names = (name for name in dir(pygame) if name.startswith("KSCAN_") and name != "KSCAN_UNKNOWN")
    return {name.removeprefix("KSCAN_").lower(): int(getattr(pygame, name)) for name in names}


@cache
def _key_names() -> dict[int, str]:
    return {code: name for name, code in reversed(_scancodes().items())}


@cache
def gamepad_buttons() -> dict[int, str]:
    """SDL button number to the button's name in the key table."""
    return _names_of("CONTROLLER_BUTTON_")


@cache
def gamepad_axes() -> dict[int, str]:
    """SDL axis number to the axis's name in the key table, without the direction."""
    return _names_of("CONTROLLER_AXIS_")


def _names_of(prefix: str) -> dict[int, str]:
    names = (name.removeprefix(prefix) for name in dir(pygame) if name.startswith(prefix))
    return {getattr(pygame, prefix + n): PAD + n.lower() for n in names if n not in ("INVALID", "MAX")}


class ConnectedGamepads:
    """Opens game controllers as they are plugged in; SDL sends events of open controllers only."""

    def __init__(self) -> None:
        self._open: dict[int, Any] = {}
        self._controller: Any = None
        with suppress(ImportError, pygame.error):  # SDL built without game controllers
            from pygame._sdl2 import controller

            controller.init()
            self._controller = controller

    @property
    def num(self) -> int:
        return len(self._open)

    def update(self, events: Iterable[pygame.event.Event]) -> None:
        for event in events:
            if event.type == pygame.CONTROLLERDEVICEADDED and self._controller is not None:
                with suppress(pygame.error):  # already unplugged
                    opened = self._controller.Controller(event.device_index)
                    self._open[opened.id] = opened
            elif event.type == pygame.CONTROLLERDEVICEREMOVED:
                self._open.pop(event.instance_id, None)

    def close(self) -> None:
        self._open.clear()


class GamepadKeys:
    """Controller events as analog keys of the table. With several pads, the largest deflection counts."""

    def __init__(self) -> None:
        self.dead_zone = DEAD_ZONE
        """Fraction of a stick's deflection that counts as centered."""
        self._fractions: dict[str, dict[int, float]] = {}
        self._levels: dict[tuple[int, int], int] = {}
        self._pressed: set[str] = set()
        self.is_used = False
        """Whether any controller event has arrived."""

    def axis_values(self, event: pygame.event.Event) -> list[tuple[str, float]]:
        """The keys that `event` changes, each with how far it is pressed now (0 to 1)."""
        values = self._key_values(event)
        self.is_used = self.is_used or bool(values)
        for key, fraction in values:
            self._fractions.setdefault(key, {})[event.instance_id] = fraction
        return [(key, max(self._fractions[key].values())) for key, _ in values]

    def transitions(self, axis_values: Iterable[tuple[str, float]]) -> Iterator[tuple[str, bool]]:
        """Keys that went down (True) or up (False), treating analog keys as buttons."""
        for key, fraction in axis_values:
            if key not in self._pressed and fraction >= BUTTON_THRESHOLD:
                self._pressed.add(key)
                yield key, True
            elif key in self._pressed and fraction < RELEASE_THRESHOLD:
                self._pressed.discard(key)
                yield key, False

    def _key_values(self, event: pygame.event.Event) -> list[tuple[str, float]]:
        if event.type in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP):
            name = gamepad_buttons().get(event.button)
            return [(name, float(event.type == pygame.CONTROLLERBUTTONDOWN))] if name else []
        if event.type == pygame.CONTROLLERAXISMOTION:
            name = gamepad_axes().get(event.axis)
            fraction = self._quantize(event.value / AXIS_MAX, (event.instance_id, event.axis))
            return [(f"{name}-", max(0.0, -fraction)), (f"{name}+", max(0.0, fraction))] if name else []
        if event.type == pygame.CONTROLLERDEVICEREMOVED:
            return [(key, 0.0) for key, fractions in self._fractions.items() if event.instance_id in fractions]
        return []

    def _quantize(self, position: float, stick: tuple[int, int]) -> float:
        """Rescaled so that the edge of the dead zone is 0 and full deflection 1; quantized with hysteresis."""
        deflection = min(1.0, max(0.0, (abs(position) - self.dead_zone) / (1.0 - self.dead_zone))) * AXIS_LEVELS
        exact = deflection if position > 0 else -deflection
        if abs(exact - self._levels.get(stick, 0)) > HYSTERESIS_LEVELS or round(deflection) in (0, AXIS_LEVELS):
            self._levels[stick] = round(exact)
        return self._levels[stick] / AXIS_LEVELS


class InputHandler:
    """Updates a session's `inputs` with keys and mouse motion; `handle` returns the commands."""

    def __init__(self, inputs: Inputs, capture_mouse: Callable[[bool], None]) -> None:
        """`capture_mouse` is called when a click captures the mouse and when it is released."""
        self._inputs = inputs
        self._capture_mouse = capture_mouse
        self._is_mouse_captured = False
        self._held: dict[str, Command] = {}
        self.gamepad = GamepadKeys()
        """Shared with open menus: it has to see every event."""
        self.bind(BINDINGS)

    def bind(self, bindings: Iterable[Binding], *, dead_zone: float = DEAD_ZONE) -> None:
        """Replaces the command keys; keys that are held stay held. `dead_zone`: of gamepad sticks."""
        self.gamepad.dead_zone = dead_zone
        self._commands = {(key, row.ctrl): row for row in bindings if row.command for key in row.keys}

    def handle(self, events: Iterable[pygame.event.Event]) -> list[CommandRequest]:
        """Returns: commands in the order they were given."""
        requests: list[CommandRequest] = []
        for event in events:
            axis_values = self.gamepad.axis_values(event)
            if axis_values:
                self._handle_gamepad(axis_values, requests)
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
        """Releases every key and the mouse. Returns: the end requests of held commands."""
        requests: list[CommandRequest] = []
        self._inputs.release_all()
        for key in tuple(self._held):
            self._release(key, requests)
        self.free_mouse()
        return requests

    def is_quit_event(self, event: pygame.event.Event) -> bool:
        """Whether the event quits the program; also checked while a menu is open."""
        if event.type != pygame.KEYDOWN:
            return bool(event.type == pygame.QUIT)
        row = self._commands.get((key_name(event.scancode) or "", bool(event.mod & pygame.KMOD_CTRL)))
        return row is not None and row.command is Command.QUIT

    def free_mouse(self) -> bool:
        """Releases the mouse. Returns whether it was captured."""
        was_captured, self._is_mouse_captured = self._is_mouse_captured, False
        if was_captured:
            self._capture_mouse(False)
        return was_captured

    def _handle_gamepad(self, axis_values: list[tuple[str, float]], requests: list[CommandRequest]) -> None:
        """Command keys act as buttons; all others are held by an analog fraction."""
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


def handle_menu_event(menus: MenuStack, event: pygame.event.Event, row_at: RowAt, gamepad: GamepadKeys) -> None:
    """Passes one event to the open menu."""
    for key, is_down in gamepad.transitions(gamepad.axis_values(event)):
        if is_down and menus.is_waiting_for_key:
            menus.take_key(None if key == "pad_start" else key)
        elif is_down and key in MENU_PAD_KEYS and menus.is_open:
            menus.press(MENU_PAD_KEYS[key])
    if event.type == pygame.KEYDOWN and menus.is_waiting_for_key:
        is_canceled = event.scancode == pygame.KSCAN_ESCAPE
        menus.take_key(None if is_canceled else key_name(event.scancode))
    elif event.type == pygame.KEYDOWN and event.scancode in MENU_KEYS:
        menus.press(MENU_KEYS[event.scancode])
    elif event.type == pygame.MOUSEMOTION and not menus.is_waiting_for_key:
        _point_at(menus, event.pos, row_at)
    elif event.type == pygame.MOUSEBUTTONDOWN and event.button in (pygame.BUTTON_LEFT, pygame.BUTTON_RIGHT):
        menus.take_key(None)
        if _point_at(menus, event.pos, row_at):
            menus.press(MenuKey.ENTER if event.button == pygame.BUTTON_LEFT else MenuKey.LEFT)
    elif event.type == pygame.MOUSEWHEEL and not menus.is_waiting_for_key and event.y:
        menus.press(MenuKey.UP if event.y > 0 else MenuKey.DOWN)


def _point_at(menus: MenuStack, point_px: tuple[int, int], row_at: RowAt) -> bool:
    row = row_at(point_px)
    return row is not None and menus.focus_row(row)
