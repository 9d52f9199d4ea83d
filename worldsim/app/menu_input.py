"""pygame events to an open menu: keys by scancode, gamepads by name, the mouse by the row under it. UI thread.

Owns: which keys work a menu. Does not own: what they do (`app.menu`), keys of play (`app.input_handler`).
"""

from __future__ import annotations

from collections.abc import Callable

import pygame

from worldsim.app.gamepad import GamepadKeys
from worldsim.app.input_handler import key_name
from worldsim.app.menu import MenuKey, MenuStack

KEYS = {
    pygame.KSCAN_UP: MenuKey.UP,
    pygame.KSCAN_DOWN: MenuKey.DOWN,
    pygame.KSCAN_LEFT: MenuKey.LEFT,
    pygame.KSCAN_RIGHT: MenuKey.RIGHT,
    pygame.KSCAN_RETURN: MenuKey.ENTER,
    pygame.KSCAN_KP_ENTER: MenuKey.ENTER,
    pygame.KSCAN_SPACE: MenuKey.ENTER,
    pygame.KSCAN_ESCAPE: MenuKey.BACK,
}
PAD_KEYS = {
    **{f"pad_dpad_{key.value}": key for key in (MenuKey.UP, MenuKey.DOWN, MenuKey.LEFT, MenuKey.RIGHT)},
    "pad_lefty-": MenuKey.UP,
    "pad_lefty+": MenuKey.DOWN,
    "pad_leftx-": MenuKey.LEFT,
    "pad_leftx+": MenuKey.RIGHT,
    "pad_a": MenuKey.ENTER,
    "pad_b": MenuKey.BACK,
    "pad_start": MenuKey.BACK,
}

RowAt = Callable[[tuple[int, int]], int | None]
"""From a point of the window to the row of the menu's panel that is drawn there."""


def handle_menu_event(menus: MenuStack, event: pygame.event.Event, row_at: RowAt, gamepad: GamepadKeys) -> None:
    """One event, for an open menu."""
    for key, is_down in gamepad.transitions(gamepad.axis_values(event)):
        if is_down and menus.is_waiting_for_key:
            menus.take_key(None if key == "pad_start" else key)
        elif is_down and key in PAD_KEYS and menus.is_open:
            menus.press(PAD_KEYS[key])
    if event.type == pygame.KEYDOWN and menus.is_waiting_for_key:
        is_left = event.scancode == pygame.KSCAN_ESCAPE
        menus.take_key(None if is_left else key_name(event.scancode))
    elif event.type == pygame.KEYDOWN and event.scancode in KEYS:
        menus.press(KEYS[event.scancode])
    elif event.type == pygame.MOUSEMOTION and not menus.is_waiting_for_key:
        _point(menus, event.pos, row_at)
    elif event.type == pygame.MOUSEBUTTONDOWN and event.button in (pygame.BUTTON_LEFT, pygame.BUTTON_RIGHT):
        menus.take_key(None)
        if _point(menus, event.pos, row_at):
            menus.press(MenuKey.ENTER if event.button == pygame.BUTTON_LEFT else MenuKey.LEFT)
    elif event.type == pygame.MOUSEWHEEL and not menus.is_waiting_for_key and event.y:
        menus.press(MenuKey.UP if event.y > 0 else MenuKey.DOWN)


def _point(menus: MenuStack, point_px: tuple[int, int], row_at: RowAt) -> bool:
    row = row_at(point_px)
    return row is not None and menus.focus_row(row)
