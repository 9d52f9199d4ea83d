"""Menus without a window: focus, scrolling, changing, waiting for a key."""

from __future__ import annotations

import pytest

from worldsim.app.hud import InlineImage, Style
from worldsim.app.menu import MAX_VISIBLE_IMAGE_ITEMS, MAX_VISIBLE_ITEMS, MenuItem, MenuKey, MenuPage, MenuStack


def menus_of(*items: MenuItem) -> MenuStack:
    menus = MenuStack()
    menus.open(lambda: MenuPage(title="A page", items=items, notes=("a note",)))
    return menus


def focused(menus: MenuStack) -> str:
    (row,) = [row for row in menus.panel().rows if row.is_focus]
    return row.left


def test_focus_wraps_around_and_enter_selects() -> None:
    chosen: list[str] = []
    menus = menus_of(*(MenuItem(label=name, on_select=lambda name=name: chosen.append(name)) for name in "abc"))
    menus.press(MenuKey.UP)
    menus.press(MenuKey.ENTER)
    menus.press(MenuKey.DOWN)
    menus.press(MenuKey.DOWN)
    menus.press(MenuKey.ENTER)
    assert chosen == ["c", "b"]
    assert focused(menus) == "b"


def test_left_right_and_enter_change_a_value() -> None:
    changes: list[int] = []
    menus = menus_of(MenuItem(label="size", value="3", on_change=changes.append))
    for key in (MenuKey.LEFT, MenuKey.RIGHT, MenuKey.ENTER):
        menus.press(key)
    assert changes == [-1, 1, 1]
    assert menus.panel().rows[1].right == "< 3 >"


def test_back_closes_one_page_and_calls_on_back() -> None:
    calls: list[str] = []
    menus = menus_of(MenuItem(label="below"))
    menus.open(lambda: MenuPage(title="above", items=()), on_back=lambda: calls.append("back"))
    menus.press(MenuKey.ENTER)  # on a page without items
    menus.press(MenuKey.BACK)
    assert calls == ["back"] and focused(menus) == "below"
    menus.press(MenuKey.BACK)
    assert not menus.is_open


@pytest.mark.parametrize(
    ("image", "room"), [(None, MAX_VISIBLE_ITEMS), (InlineImage(1, 1, b"abc"), MAX_VISIBLE_IMAGE_ITEMS)]
)
def test_long_page_scrolls_and_shows_its_position(image: InlineImage | None, room: int) -> None:
    menus = menus_of(*(MenuItem(label=str(n), image=image) for n in range(40)))
    for expected in (*range(1, 40), 0):
        menus.press(MenuKey.DOWN)
        assert focused(menus) == str(expected)
        assert len(menus.panel().rows) == 1 + room + 1 + 1  # title, items, position, note
    assert f"1-{room} of 40" in menus.panel().rows[-2].left


def test_pointing_at_a_row_of_a_scrolled_page_focuses_it() -> None:
    menus = menus_of(*(MenuItem(label=str(n)) for n in range(40)))
    for _ in range(20):
        menus.press(MenuKey.DOWN)
    shown = menus.panel().rows[3].left
    assert menus.focus_row(3)
    assert focused(menus) == shown
    assert not menus.focus_row(0) and not menus.focus_row(99)


def test_awaited_key_is_delivered_once() -> None:
    keys: list[str] = []
    menus = menus_of(MenuItem(label="walk"))
    menus.wait_for_key(keys.append)
    assert "Press a key" in menus.panel().rows[-1].left
    menus.take_key("z")
    menus.take_key("x")
    assert keys == ["z"] and not menus.is_waiting_for_key
    menus.wait_for_key(keys.append)
    menus.take_key(None)
    assert keys == ["z"] and menus.panel().rows[-1].left == "a note"


def test_item_with_an_error_is_styled_as_one() -> None:
    menus = menus_of(MenuItem(label="good"), MenuItem(label="bad", is_error=True))
    assert menus.panel().rows[2].style is Style.ERROR
    assert menus.panel().rows[1].left_style is Style.STRONG, "the focused item"


def test_focus_survives_a_shorter_page() -> None:
    items = [MenuItem(label=str(n)) for n in range(5)]
    menus = MenuStack()
    menus.open(lambda: MenuPage(title="", items=tuple(items)))
    menus.press(MenuKey.UP)
    del items[2:]
    assert focused(menus) == "1"


def test_focus_follows_its_item_when_others_are_inserted() -> None:
    items = [MenuItem(label=name) for name in ("maze", "Settings", "Quit")]
    menus = MenuStack()
    menus.open(lambda: MenuPage(title="", items=tuple(items)))
    menus.press(MenuKey.DOWN)
    items.insert(1, MenuItem(label="castle"))
    assert focused(menus) == "Settings"
    menus.press(MenuKey.DOWN)
    assert focused(menus) == "Quit"


def test_only_one_of_two_equal_labels_has_the_focus() -> None:
    menus = menus_of(MenuItem(label="speed", value="a"), MenuItem(label="speed", value="b"), MenuItem(label="end"))
    menus.press(MenuKey.DOWN)
    assert [row.right for row in menus.panel().rows if row.is_focus] == ["b"]
    menus.press(MenuKey.DOWN)
    assert focused(menus) == "end"
