"""The menus: a stack of pages with focus, and the pages for title, pause, settings and key bindings. Pure, no pygame.

Own code rather than pygame-menu-ce, which draws on a pygame surface only: under OpenGL that would need an upload per
frame, while this model goes through the same renderer as all other panels and is tested without a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TypeVar

from worldsim.actions.bindings import BINDINGS, Binding, KeyOverride, apply_overrides, binding_conflicts
from worldsim.app.hud import InlineImage, Panel, PanelRow, Placement, Style, capitalized, wrap_line
from worldsim.app.key_labels import key_label
from worldsim.app.preset_library import PresetEntry
from worldsim.app.settings import FILTERS, INTERPOLATION_MODES, Settings, SettingsFile

MAX_VISIBLE_ITEMS = 14
"""Items visible at once; the rest scrolls."""
MAX_VISIBLE_IMAGE_ITEMS = 5
T = TypeVar("T")

NUM_STEPS = (None, 1, 2, 4, 8)
SENSITIVITIES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
DEAD_ZONES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
PLACEHOLDER_IMAGE = InlineImage(4, 3, bytes((44, 49, 58)) * 12)
_INTERPOLATION_LABELS = {
    "off": "off",
    "blend": "blend (adds one tick of latency)",
    "motion": "motion (adds one tick of latency)",
}
_ROW_LABELS = {
    "speed -1": "slower",
    "speed +1": "faster",
    "branch -1": "previous branch",
    "branch +1": "next branch",
    "num steps +1": "1 denoising step per frame",
    **{f"num steps +{num}": f"{num} denoising steps per frame" for num in (2, 4, 8)},
}
"""Labels of single rows that the help merges into one."""
NAVIGATION_HINT = "Up/Down select · Enter confirm · Esc back (or mouse, gamepad)"


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


def title_page(
    entries: Sequence[PresetEntry],
    *,
    play: Callable[[PresetEntry], None],
    settings: Callable[[], None],
    quit_: Callable[[], None],
    notes: Sequence[str] = (),
) -> MenuPage:
    """`notes`: for example why the last session ended, and the state of the Hub search."""
    presets = tuple(
        MenuItem(
            label=entry.name,
            sublines=_sublines(entry),
            on_select=partial(play, entry),
            image=entry.image or PLACEHOLDER_IMAGE,
            is_error=bool(entry.error),
        )
        for entry in entries
    )
    more = (MenuItem(label="Settings", on_select=settings), MenuItem(label="Quit", on_select=quit_))
    wrapped = tuple(row for note in notes for row in wrap_line(capitalized(note)))
    return MenuPage(title="worldsim", items=presets + more, notes=(*wrapped, NAVIGATION_HINT))


def _sublines(entry: PresetEntry) -> tuple[str, ...]:
    """Title, then frame size, download size, source and speed."""
    if entry.error:
        return (entry.error,)
    megabytes = f"{entry.num_bytes / 1e6:.1f} MB" if entry.num_bytes else ""
    speed = "measuring speed ..." if entry.estimate is None else entry.estimate.text
    return entry.title or "...", "   ".join(filter(None, (entry.size, megabytes, entry.source, speed)))


def pause_page(entries: Iterable[tuple[str, Callable[[], None]]]) -> MenuPage:
    return MenuPage(
        title="Paused",
        items=tuple(MenuItem(label=label, on_select=do) for label, do in entries),
        notes=(NAVIGATION_HINT,),
    )


class SettingsPages:
    """The settings page and the key bindings page."""

    def __init__(
        self,
        menus: MenuStack,
        file: SettingsFile,
        apply: Callable[[Settings, Settings], None],
        no_denoising_reason: Callable[[], str] = lambda: "",
    ) -> None:
        """`apply` is called with the settings before and after every change, after they were saved.

        `no_denoising_reason`: why denoising steps have no effect in the world being played, if they have none.
        """
        self._menus, self._file, self._apply = menus, file, apply
        self._no_denoising_reason = no_denoising_reason

    def open(self) -> None:
        self._menus.open(self.settings_page)

    def settings_page(self) -> MenuPage:
        now = self._file.current
        steps = "preset default" if now.denoising_steps is None else str(now.denoising_steps)
        interpolation = _INTERPOLATION_LABELS[now.frame_interpolation]
        sensitivity = f"{now.mouse_sensitivity:g}"
        return MenuPage(
            title="Settings",
            items=(
                self._choice_item("Scaling filter", "scaling_filter", FILTERS, now.scaling_filter),
                self._toggle_item("Integer scaling", "integer_scale", now.integer_scale),
                self._choice_item("Frame interpolation", "frame_interpolation", INTERPOLATION_MODES, interpolation),
                self._toggle_item("Full screen", "full_screen", now.full_screen),
                self._choice_item("Mouse sensitivity", "mouse_sensitivity", SENSITIVITIES, sensitivity),
                self._choice_item("Stick dead zone", "stick_dead_zone", DEAD_ZONES, f"{now.stick_dead_zone:.0%}"),
                self._denoising_item(steps),
                self._toggle_item("Always record", "always_record", now.always_record),
                self._toggle_item("Lossless recording", "lossless_recording", now.lossless_recording),
                MenuItem(label="Key bindings ...", on_select=partial(self._menus.open, self.keys_page)),
            ),
            notes=("Left/Right change · Esc back", f"Saved in {self._file.path}"),
        )

    def _denoising_item(self, value: str) -> MenuItem:
        reason = self._no_denoising_reason()
        if reason:
            return MenuItem(label="Denoising steps", value=f"no effect: {reason}", is_disabled=True)
        return self._choice_item("Denoising steps", "denoising_steps", NUM_STEPS, value)

    def keys_page(self) -> MenuPage:
        bindings = apply_overrides(self._file.current.key_overrides)
        rows = [row for row in bindings if not row.is_fixed]
        shared = binding_conflicts(bindings)
        items = tuple(
            MenuItem(
                label=capitalized(_ROW_LABELS.get(row.name, row.label)),
                value=_keys_text(row, shared.get(row.name, ())),
                on_select=partial(self._menus.open, partial(self.binding_page, row.name)),
                is_error=row.name in shared,
            )
            for row in rows
        )
        defaults = MenuItem(label="Reset all to defaults", on_select=partial(self._change, key_overrides=()))
        return MenuPage(title="Key bindings", items=(*items, defaults), notes=("Enter edit keys · Esc back",))

    def binding_page(self, name: str) -> MenuPage:
        """Edits the keys of one row."""
        rows = apply_overrides(self._file.current.key_overrides)
        row = next(row for row in rows if row.name == name)
        default = next(row for row in BINDINGS if row.name == name)
        changes = tuple(
            MenuItem(label=f"Change {key_label(key, row.ctrl)}", on_select=partial(self._capture_key, row, index))
            for index, key in enumerate(row.keys)
        )
        deletions = tuple(
            MenuItem(
                label=f"Remove {key_label(key, row.ctrl)}",
                on_select=partial(self._bind, name, tuple(k for k in row.keys if k != key)),
            )
            for key in row.keys
        )
        also = binding_conflicts(rows).get(name, ())
        return MenuPage(
            title=f"{capitalized(_ROW_LABELS.get(row.name, row.label))}:  {_keys_text(row, ())}",
            items=(
                *changes,
                MenuItem(label="Add key", on_select=partial(self._capture_key, row, len(row.keys))),
                *deletions,
                MenuItem(label=f"Default:  {_keys_text(default, ())}", on_select=partial(self._bind, name, None)),
            ),
            notes=(*(f"Also bound to: {label}" for label in also), "Esc back"),
        )

    def _capture_key(self, row: Binding, index: int) -> None:
        """Waits for a key, to replace the row's key at `index` or to add one."""
        self._menus.wait_for_key(
            lambda key: self._bind(row.name, tuple(dict.fromkeys((*row.keys[:index], key, *row.keys[index + 1 :]))))
        )

    def _bind(self, name: str, keys: tuple[str, ...] | None) -> None:
        """None restores the default."""
        others = tuple(override for override in self._file.current.key_overrides if override.name != name)
        new = () if keys is None else (KeyOverride(name=name, keys=keys),)
        self._change(key_overrides=(*others, *new))

    def _toggle_item(self, label: str, name: str, is_on: bool) -> MenuItem:
        def change(_: int) -> None:
            self._change(**{name: not is_on})

        return MenuItem(label=label, value="on" if is_on else "off", on_change=change)

    def _choice_item(self, label: str, name: str, choices: Sequence[T], value: str) -> MenuItem:
        def change(offset: int) -> None:
            now = getattr(self._file.current, name)
            index = choices.index(now) + offset if now in choices else 0
            self._change(**{name: choices[index % len(choices)]})

        return MenuItem(label=label, value=value, on_change=change)

    def _change(self, **values: object) -> None:
        before = self._file.current
        self._apply(before, self._file.change(**values))


def _keys_text(row: Binding, others: Iterable[str]) -> str:
    text = " / ".join(key_label(key, row.ctrl) for key in row.keys) or "(unbound)"
    also = ", ".join(others)
    return f"{text}   also bound to: {also}" if also else text
