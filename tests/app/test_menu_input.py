"""pygame events to an open menu."""

from __future__ import annotations

import pygame
import pytest

from worldsim.app.gamepad import GamepadKeys
from worldsim.app.input_handler import scancode
from worldsim.app.menu import MenuItem, MenuPage, MenuStack
from worldsim.app.menu_input import handle_menu_event


class Desk:
    """A menu of two items; row 1 and 2 lie at y = 1 and 2."""

    def __init__(self) -> None:
        self.menus, self.gamepad, self.done = MenuStack(), GamepadKeys(), list[str]()
        items = (
            MenuItem(label="first", on_select=lambda: self.done.append("first")),
            MenuItem(label="second", value="x", on_change=lambda offset: self.done.append(f"second {offset:+d}")),
        )
        self.menus.open(lambda: MenuPage(title="", items=items))

    def key(self, name: str) -> None:
        self.event(pygame.KEYDOWN, scancode=scancode(name), mod=0)

    def event(self, kind: int, **values: object) -> None:
        handle_menu_event(
            self.menus,
            pygame.event.Event(kind, **values),
            lambda point: point[1] if point[1] < 3 else None,
            self.gamepad,
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_arrows_and_enter(desk: Desk) -> None:
    for key in ("return", "down", "left", "right", "up", "space"):
        desk.key(key)
    assert desk.done == ["first", "second -1", "second +1", "first"]
    desk.key("escape")
    assert not desk.menus.is_open


def test_the_mouse_points_clicks_and_scrolls(desk: Desk) -> None:
    desk.event(pygame.MOUSEMOTION, pos=(5, 2))
    assert desk.menus.focus == 1
    desk.event(pygame.MOUSEBUTTONDOWN, pos=(5, 1), button=pygame.BUTTON_LEFT)
    desk.event(pygame.MOUSEBUTTONDOWN, pos=(5, 2), button=pygame.BUTTON_RIGHT)
    desk.event(pygame.MOUSEBUTTONDOWN, pos=(5, 90), button=pygame.BUTTON_LEFT)
    assert desk.done == ["first", "second -1"]
    desk.event(pygame.MOUSEWHEEL, y=1)
    assert desk.menus.focus == 0


def test_a_key_that_is_waited_for_is_given_whatever_it_does_elsewhere(desk: Desk) -> None:
    keys: list[str] = []
    desk.menus.wait_for_key(keys.append)
    desk.key("return")
    desk.key("return")
    assert keys == ["return"] and desk.done == ["first"]
    desk.menus.wait_for_key(keys.append)
    desk.key("escape")
    assert keys == ["return"] and desk.menus.is_open and not desk.menus.is_waiting_for_key


def push(desk: Desk, button: int) -> None:
    for kind in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP):
        desk.event(kind, instance_id=0, button=button)


def lean(desk: Desk, axis: int, *places: float) -> None:
    for place in places:
        desk.event(pygame.CONTROLLERAXISMOTION, instance_id=0, axis=axis, value=round(place * 32767))


def test_a_gamepad_works_a_menu(desk: Desk) -> None:
    push(desk, pygame.CONTROLLER_BUTTON_A)
    push(desk, pygame.CONTROLLER_BUTTON_DPAD_DOWN)
    push(desk, pygame.CONTROLLER_BUTTON_DPAD_LEFT)
    lean(desk, pygame.CONTROLLER_AXIS_LEFTX, 0.3, 0.7, 0.9, 1.0, 0.6, 0.0)  # one step, however it is pushed
    lean(desk, pygame.CONTROLLER_AXIS_LEFTY, -1.0, 0.0)
    push(desk, pygame.CONTROLLER_BUTTON_A)
    assert desk.done == ["first", "second -1", "second +1", "first"]
    push(desk, pygame.CONTROLLER_BUTTON_B)
    assert not desk.menus.is_open


def test_a_stick_that_opened_nothing_is_not_heard_until_it_is_pushed_again(desk: Desk) -> None:
    lean(desk, pygame.CONTROLLER_AXIS_LEFTY, 1.0, 0.95, 1.0)
    assert desk.menus.focus == 1


def test_a_pads_button_is_taken_for_a_key_and_start_leaves_it(desk: Desk) -> None:
    keys: list[str] = []
    for button in (pygame.CONTROLLER_BUTTON_B, pygame.CONTROLLER_BUTTON_START):
        desk.menus.wait_for_key(keys.append)
        push(desk, button)
    desk.menus.wait_for_key(keys.append)
    lean(desk, pygame.CONTROLLER_AXIS_TRIGGERRIGHT, 0.2, 0.8, 0.0)
    assert keys == ["pad_b", "pad_triggerright+"] and desk.menus.is_open and not desk.done
