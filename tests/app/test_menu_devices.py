"""pygame events to an open menu."""

from __future__ import annotations

import pygame
import pytest

from worldsim.app.devices import scancode
from worldsim.app.menu import Item, Menus, Page
from worldsim.app.menu_devices import work_menu


class Desk:
    """A menu of two items; row 1 and 2 lie at y = 1 and 2."""

    def __init__(self) -> None:
        self.menus, self.done = Menus(), list[str]()
        items = (
            Item(label="first", choose=lambda: self.done.append("first")),
            Item(label="second", value="x", change=lambda offset: self.done.append(f"second {offset:+d}")),
        )
        self.menus.open(lambda: Page(title="", items=items))

    def key(self, name: str) -> None:
        self.event(pygame.KEYDOWN, scancode=scancode(name), mod=0)

    def event(self, kind: int, **values: object) -> None:
        work_menu(self.menus, pygame.event.Event(kind, **values), lambda point: point[1] if point[1] < 3 else None)


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
