"""Menus as a pure model: pages of rows, a focus, what a key does to them. No window, no fonts, no pygame.

Owns: the stack of open pages, focus, scrolling, waiting for a key to bind. Does not own: what pages there are
(`app.menu_pages`), events (`app.menu_input`), how rows look (`app.text_renderer`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from worldsim.app.hud import InlineImage, Panel, PanelRow, Placement, Style

MAX_VISIBLE_ITEMS = 14
"""So many are seen at once; the others are scrolled to."""
MAX_VISIBLE_IMAGE_ITEMS = 5


class MenuKey(Enum):
    UP = "up"
    DOWN = "down"
    LEFT = "left"
    RIGHT = "right"
    ENTER = "enter"
    BACK = "back"


def _do_nothing() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class MenuItem:
    """One row that can be chosen. `on_select` is done on Enter and click, `on_change` on Left (-1) and Right (1)."""

    label: str
    value: str = ""
    on_select: Callable[[], None] = _do_nothing
    on_change: Callable[[int], None] | None = None
    image: InlineImage | None = None
    sublines: tuple[str, ...] = ()
    is_error: bool = False


@dataclass(frozen=True, kw_only=True)
class MenuPage:
    """What one menu shows now. Made anew whenever it is looked at, so that it never shows old values."""

    title: str
    items: tuple[MenuItem, ...]
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _OpenPage:
    make: Callable[[], MenuPage]
    on_back: Callable[[], None]
    focus: int = 0
    label: str | None = None
    """Of the item in focus, which stays there when others come before it."""


@dataclass
class MenuStack:
    """The open pages, the topmost one seen. Nothing is open at first."""

    _stack: list[_OpenPage] = field(default_factory=list)
    _take_key: Callable[[str], None] | None = None

    @property
    def is_open(self) -> bool:
        return bool(self._stack)

    @property
    def is_waiting_for_key(self) -> bool:
        """Whether the next key of the keyboard is to be given to `take_key`, whatever it is."""
        return self._take_key is not None

    @property
    def focus(self) -> int:
        return self._stack[-1].focus

    @property
    def page(self) -> MenuPage:
        return self._stack[-1].make()

    def open(self, make: Callable[[], MenuPage], on_back: Callable[[], None] = _do_nothing) -> None:
        """Over what is open. `on_back` is called when it is left backwards, after it is closed."""
        self._stack.append(_OpenPage(make=make, on_back=on_back))

    def close(self) -> None:
        """All of them."""
        self._stack.clear()
        self._take_key = None

    def wait_for_key(self, take: Callable[[str], None]) -> None:
        self._take_key = take

    def take_key(self, key: str | None) -> None:
        """The key that was waited for; None when it was thought better of."""
        take, self._take_key = self._take_key, None
        if take is not None and key is not None:
            take(key)

    def press(self, key: MenuKey) -> None:
        top, page = self._stack[-1], self.page
        if key is MenuKey.BACK:
            self._stack.pop()
            top.on_back()
        elif not page.items:
            return
        elif key in (MenuKey.UP, MenuKey.DOWN):
            self._focus(page, (self._focus_of(page) + (1 if key is MenuKey.DOWN else -1)) % len(page.items))
        else:
            item = page.items[self._focus_of(page)]
            if key is MenuKey.ENTER and item.on_change is None:
                item.on_select()
            elif item.on_change is not None:
                item.on_change(-1 if key is MenuKey.LEFT else 1)

    def focus_row(self, row: int) -> bool:
        """Puts the focus on a row of the panel. Returns: whether there is an item on it."""
        page = self.page
        begin, end = self._visible_range(page)
        index = begin + row - 1  # the first row is the title
        if not begin <= index < end:
            return False
        self._focus(page, index)
        return True

    def panel(self) -> Panel:
        page = self.page
        focus = self._focus_of(page)
        begin, end = self._visible_range(page)
        rows = [_row(item, is_focus=begin + place == focus) for place, item in enumerate(page.items[begin:end])]
        if end - begin < len(page.items):
            rows.append(PanelRow(f"{begin + 1} to {end} of {len(page.items)}", style=Style.MUTED))
        notes = ("press a key, Esc leaves it as it is",) if self.is_waiting_for_key else page.notes
        return Panel(
            Placement.CENTER,
            (PanelRow(page.title, style=Style.STRONG), *rows, *(PanelRow(note, style=Style.MUTED) for note in notes)),
        )

    def _focus(self, page: MenuPage, index: int) -> None:
        self._stack[-1].focus, self._stack[-1].label = index, page.items[index].label

    def _focus_of(self, page: MenuPage) -> int:
        """The page may have become longer or shorter since."""
        top, labels = self._stack[-1], [item.label for item in page.items]
        index = min(top.focus, max(0, len(labels) - 1))
        if top.label in labels and labels[index] != top.label:
            return labels.index(top.label)
        return index

    def _visible_range(self, page: MenuPage) -> tuple[int, int]:
        """The items from, to (without the last)."""
        room = MAX_VISIBLE_IMAGE_ITEMS if any(item.image or item.sublines for item in page.items) else MAX_VISIBLE_ITEMS
        begin = min(max(0, self._focus_of(page) - room // 2), max(0, len(page.items) - room))
        return begin, min(len(page.items), begin + room)


def _row(item: MenuItem, *, is_focus: bool) -> PanelRow:
    value = f"< {item.value} >" if is_focus and item.on_change is not None else item.value
    style = Style.ERROR if item.is_error else Style.STRONG if is_focus else Style.PLAIN
    return PanelRow(
        item.label,
        value,
        style=style,
        left_style=style,
        image=item.image,
        sublines=item.sublines,
        is_focus=is_focus,
    )
