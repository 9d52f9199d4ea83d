"""pygame events to an open menu."""

from __future__ import annotations

import pygame
import pytest

from worldsim.app.input import GamepadKeys, handle_menu_event, scancode
from worldsim.app.menu import MenuItem, MenuPage, MenuStack


class Harness:
    """A menu of two items; rows 1 and 2 are at y = 1 and 2."""

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
def harness() -> Harness:
    return Harness()


def test_arrows_and_enter_work_a_menu(harness: Harness) -> None:
    for key in ("return", "down", "left", "right", "up", "space"):
        harness.key(key)
    assert harness.done == ["first", "second -1", "second +1", "first"]
    harness.key("escape")
    assert not harness.menus.is_open


def test_mouse_points_clicks_and_scrolls(harness: Harness) -> None:
    harness.event(pygame.MOUSEMOTION, pos=(5, 2))
    assert harness.menus.focus == 1
    harness.event(pygame.MOUSEBUTTONDOWN, pos=(5, 1), button=pygame.BUTTON_LEFT)
    harness.event(pygame.MOUSEBUTTONDOWN, pos=(5, 2), button=pygame.BUTTON_RIGHT)
    harness.event(pygame.MOUSEBUTTONDOWN, pos=(5, 90), button=pygame.BUTTON_LEFT)
    assert harness.done == ["first", "second -1"]
    harness.event(pygame.MOUSEWHEEL, y=1)
    assert harness.menus.focus == 0


def test_awaited_key_is_taken_whatever_it_is_bound_to(harness: Harness) -> None:
    keys: list[str] = []
    harness.menus.wait_for_key(keys.append)
    harness.key("return")
    harness.key("return")
    assert keys == ["return"] and harness.done == ["first"]
    harness.menus.wait_for_key(keys.append)
    harness.key("escape")
    assert keys == ["return"] and harness.menus.is_open and not harness.menus.is_waiting_for_key


def push(harness: Harness, button: int) -> None:
    for kind in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP):
        harness.event(kind, instance_id=0, button=button)


def lean(harness: Harness, axis: int, *places: float) -> None:
    for place in places:
        harness.event(pygame.CONTROLLERAXISMOTION, instance_id=0, axis=axis, value=round(place * 32767))


def test_gamepad_works_a_menu(harness: Harness) -> None:
    push(harness, pygame.CONTROLLER_BUTTON_A)
    push(harness, pygame.CONTROLLER_BUTTON_DPAD_DOWN)
    push(harness, pygame.CONTROLLER_BUTTON_DPAD_LEFT)
    lean(harness, pygame.CONTROLLER_AXIS_LEFTX, 0.3, 0.7, 0.9, 1.0, 0.6, 0.0)  # one step, however it is pushed
    lean(harness, pygame.CONTROLLER_AXIS_LEFTY, -1.0, 0.0)
    push(harness, pygame.CONTROLLER_BUTTON_A)
    assert harness.done == ["first", "second -1", "second +1", "first"]
    push(harness, pygame.CONTROLLER_BUTTON_B)
    assert not harness.menus.is_open


def test_held_stick_is_ignored_until_pushed_again(harness: Harness) -> None:
    lean(harness, pygame.CONTROLLER_AXIS_LEFTY, 1.0, 0.95, 1.0)
    assert harness.menus.focus == 1


def test_awaited_key_can_be_a_gamepad_button_and_start_cancels(harness: Harness) -> None:
    keys: list[str] = []
    for button in (pygame.CONTROLLER_BUTTON_B, pygame.CONTROLLER_BUTTON_START):
        harness.menus.wait_for_key(keys.append)
        push(harness, button)
    harness.menus.wait_for_key(keys.append)
    lean(harness, pygame.CONTROLLER_AXIS_TRIGGERRIGHT, 0.2, 0.8, 0.0)
    assert keys == ["pad_b", "pad_triggerright+"] and harness.menus.is_open and not harness.done
