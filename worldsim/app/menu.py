"""Menus as a pure model: pages of rows, a focus, what a key does to them. No window, no fonts, no pygame.

Owns: the stack of open pages, focus, scrolling, waiting for a key to bind. Does not own: what pages there are
(`app.menu_pages`), events (`app.menu_input`), how rows look (`app.text_renderer`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from worldsim.app.hud import Anchor, Panel, Picture, Row, Tone

MAX_ITEMS = 14
"""So many are seen at once; the others are scrolled to."""
MAX_PICTURES = 5


class MenuKey(Enum):
    UP = "up"
    DOWN = "down"
    LEFT = "left"
    RIGHT = "right"
    ENTER = "enter"
    BACK = "back"


def _nothing() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Item:
    """One row that can be chosen. `choose` is done on Enter and click, `change` on Left (-1) and Right (1)."""

    label: str
    value: str = ""
    choose: Callable[[], None] = _nothing
    change: Callable[[int], None] | None = None
    picture: Picture | None = None
    below: tuple[str, ...] = ()
    is_bad: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one menu shows now. Made anew whenever it is looked at, so that it never shows old values."""

    title: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Open:
    make: Callable[[], Page]
    on_back: Callable[[], None]
    focus: int = 0
    label: str | None = None
    """Of the item in focus, which stays there when others come before it."""


@dataclass
class Menus:
    """The open pages, the topmost one seen. Nothing is open at first."""

    _stack: list[_Open] = field(default_factory=list)
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
    def page(self) -> Page:
        return self._stack[-1].make()

    def open(self, make: Callable[[], Page], on_back: Callable[[], None] = _nothing) -> None:
        """Over what is open. `on_back` is called when it is left backwards, after it is closed."""
        self._stack.append(_Open(make=make, on_back=on_back))

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
            if key is MenuKey.ENTER and item.change is None:
                item.choose()
            elif item.change is not None:
                item.change(-1 if key is MenuKey.LEFT else 1)

    def point(self, row: int) -> bool:
        """Puts the focus on a row of the panel. Returns: whether there is an item on it."""
        page = self.page
        begin, end = self._seen(page)
        index = begin + row - 1  # the first row is the title
        if not begin <= index < end:
            return False
        self._focus(page, index)
        return True

    def panel(self) -> Panel:
        page = self.page
        focus = self._focus_of(page)
        begin, end = self._seen(page)
        rows = [_row(item, is_focus=begin + place == focus) for place, item in enumerate(page.items[begin:end])]
        if end - begin < len(page.items):
            rows.append(Row(f"{begin + 1} to {end} of {len(page.items)}", tone=Tone.QUIET))
        notes = ("press a key, Esc leaves it as it is",) if self.is_waiting_for_key else page.notes
        return Panel(
            Anchor.CENTRE,
            (Row(page.title, tone=Tone.STRONG), *rows, *(Row(note, tone=Tone.QUIET) for note in notes)),
        )

    def _focus(self, page: Page, index: int) -> None:
        self._stack[-1].focus, self._stack[-1].label = index, page.items[index].label

    def _focus_of(self, page: Page) -> int:
        """The page may have become longer or shorter since."""
        top, labels = self._stack[-1], [item.label for item in page.items]
        index = min(top.focus, max(0, len(labels) - 1))
        if top.label in labels and labels[index] != top.label:
            return labels.index(top.label)
        return index

    def _seen(self, page: Page) -> tuple[int, int]:
        """The items from, to (without the last)."""
        room = MAX_PICTURES if any(item.picture or item.below for item in page.items) else MAX_ITEMS
        begin = min(max(0, self._focus_of(page) - room // 2), max(0, len(page.items) - room))
        return begin, min(len(page.items), begin + room)


def _row(item: Item, *, is_focus: bool) -> Row:
    value = f"< {item.value} >" if is_focus and item.change is not None else item.value
    tone = Tone.BAD if item.is_bad else Tone.STRONG if is_focus else Tone.PLAIN
    return Row(
        item.label,
        value,
        tone=tone,
        left_tone=tone,
        picture=item.picture,
        below=item.below,
        is_focus=is_focus,
    )
