"""Menus as a pure model: a stack of pages, focus, scrolling, waiting for a key to bind. No pygame.

Own code rather than pygame-menu-ce, which draws on a pygame surface only: under OpenGL that would need an upload per
frame, while this model goes through the same renderer as all other panels and is tested without a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from worldsim.app.hud import InlineImage, Panel, PanelRow, Placement, Style

MAX_VISIBLE_ITEMS = 14
"""Items visible at once; the rest scrolls."""
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
    """One selectable row. `on_select` runs on Enter or click, `on_change` on Left (-1) or Right (1)."""

    label: str
    value: str = ""
    on_select: Callable[[], None] = _do_nothing
    on_change: Callable[[int], None] | None = None
    image: InlineImage | None = None
    sublines: tuple[str, ...] = ()
    is_error: bool = False
    is_disabled: bool = False
    """Grayed: without an effect at present."""


@dataclass(frozen=True, kw_only=True)
class MenuPage:
    """The content of one menu. Rebuilt whenever it is read, so that it never shows old values."""

    title: str
    items: tuple[MenuItem, ...]
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _OpenPage:
    make: Callable[[], MenuPage]
    on_back: Callable[[], None]
    focus: int = 0
    label: str | None = None
    """Label of the focused item, which keeps the focus when items are inserted before it."""


@dataclass
class MenuStack:
    """The open pages; the topmost is visible."""

    _stack: list[_OpenPage] = field(default_factory=list)
    _take_key: Callable[[str], None] | None = None

    @property
    def is_open(self) -> bool:
        return bool(self._stack)

    @property
    def is_waiting_for_key(self) -> bool:
        """Whether the next key, whatever it is, goes to `take_key`."""
        return self._take_key is not None

    @property
    def focus(self) -> int:
        return self._stack[-1].focus

    @property
    def page(self) -> MenuPage:
        return self._stack[-1].make()

    def open(self, make: Callable[[], MenuPage], on_back: Callable[[], None] = _do_nothing) -> None:
        """Opens a page on top. `on_back` is called after the page was closed with Esc."""
        self._stack.append(_OpenPage(make=make, on_back=on_back))

    def close(self) -> None:
        """Closes all pages."""
        self._stack.clear()
        self._take_key = None

    def wait_for_key(self, take: Callable[[str], None]) -> None:
        self._take_key = take

    def take_key(self, key: str | None) -> None:
        """The key that was waited for; None cancels."""
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
        """Moves the focus to a row of the panel. Returns: whether that row is an item."""
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
        rows = [_row(item, is_focus=index == focus) for index, item in enumerate(page.items[begin:end], begin)]
        if end - begin < len(page.items):
            rows.append(PanelRow(f"{begin + 1}-{end} of {len(page.items)}", style=Style.MUTED))
        notes = ("Press a key (Esc cancels)",) if self.is_waiting_for_key else page.notes
        return Panel(
            Placement.CENTER,
            (PanelRow(page.title, style=Style.STRONG), *rows, *(PanelRow(note, style=Style.MUTED) for note in notes)),
        )

    def _focus(self, page: MenuPage, index: int) -> None:
        self._stack[-1].focus, self._stack[-1].label = index, page.items[index].label

    def _focus_of(self, page: MenuPage) -> int:
        """The page may have changed length since the focus was set."""
        top, labels = self._stack[-1], [item.label for item in page.items]
        index = min(top.focus, max(0, len(labels) - 1))
        if top.label in labels and labels[index] != top.label:
            return labels.index(top.label)
        return index

    def _visible_range(self, page: MenuPage) -> tuple[int, int]:
        """Visible items as a half-open range."""
        room = MAX_VISIBLE_IMAGE_ITEMS if any(item.image or item.sublines for item in page.items) else MAX_VISIBLE_ITEMS
        begin = min(max(0, self._focus_of(page) - room // 2), max(0, len(page.items) - room))
        return begin, min(len(page.items), begin + room)


def _row(item: MenuItem, *, is_focus: bool) -> PanelRow:
    value = f"< {item.value} >" if is_focus and item.on_change is not None else item.value
    style = Style.ERROR if item.is_error else Style.STRONG if is_focus else Style.PLAIN
    style = Style.MUTED if item.is_disabled else style
    return PanelRow(
        item.label,
        value,
        style=style,
        left_style=style,
        image=item.image,
        sublines=item.sublines,
        is_focus=is_focus,
    )
