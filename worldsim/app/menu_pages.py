"""What menus there are: title, pause, settings, keys. Pure: from settings and presets to pages of items.

Owns: the words and the order. Does not own: what an item does to play (it is given as a function), focus and keys
(`app.menu`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from worldsim.actions.bindings import BINDINGS, Binding, KeyOverride, apply_overrides, binding_conflicts, key_label
from worldsim.app.hud import InlineImage, wrap_line
from worldsim.app.menu import MenuItem, MenuPage, MenuStack
from worldsim.app.preset_library import PresetEntry
from worldsim.app.settings import FILTERS, INTERPOLATION_MODES, Settings, SettingsFile

T = TypeVar("T")

NUM_STEPS = (None, 1, 2, 4, 8)
SENSITIVITIES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
DEAD_ZONES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
PLACEHOLDER_IMAGE = InlineImage(4, 3, bytes((44, 49, 58)) * 12)
_INTERPOLATION_LABELS = {"off": "nothing", "blend": "blended; one tick later", "motion": "moved along; one tick later"}
NAVIGATION_HINT = "Up, Down, Enter, Esc; the mouse; or a gamepad: stick, A, B"


def title_page(
    entries: Sequence[PresetEntry],
    *,
    play: Callable[[PresetEntry], None],
    settings: Callable[[], None],
    quit_: Callable[[], None],
    notes: Sequence[str] = (),
) -> MenuPage:
    """`notes`: why the last one ended, what is being looked for."""
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
    said = tuple(row for note in notes for row in wrap_line(note))
    return MenuPage(title="worldsim", items=presets + more, notes=(*said, NAVIGATION_HINT))


def _sublines(entry: PresetEntry) -> tuple[str, ...]:
    """Under its name: what it is; how large, where it is, how fast it will be."""
    if entry.error:
        return (entry.error,)
    megabytes = f"{entry.num_bytes / 1e6:.1f} MB" if entry.num_bytes else ""
    speed = "... frames/s here" if entry.estimate is None else entry.estimate.text
    return entry.title or "...", "   ".join(filter(None, (entry.size, megabytes, entry.source, speed)))


def pause_page(entries: Iterable[tuple[str, Callable[[], None]]]) -> MenuPage:
    return MenuPage(
        title="Paused",
        items=tuple(MenuItem(label=label, on_select=do) for label, do in entries),
        notes=(NAVIGATION_HINT,),
    )


class SettingsPages:
    """The settings and the keys. `apply` is told every change, after it was kept."""

    def __init__(self, menus: MenuStack, file: SettingsFile, apply: Callable[[Settings, Settings], None]) -> None:
        """`apply` is given the settings before and after."""
        self._menus, self._file, self._apply = menus, file, apply

    def open(self) -> None:
        self._menus.open(self.settings_page)

    def settings_page(self) -> MenuPage:
        now = self._file.current
        steps = "the preset's own" if now.num_steps is None else str(now.num_steps)
        return MenuPage(
            title="Settings",
            items=(
                self._choice_item("Picture", "picture_filter", FILTERS, now.picture_filter),
                self._toggle_item("Whole-number scale", "is_whole_scale", now.is_whole_scale),
                self._choice_item("Between frames", "between", INTERPOLATION_MODES, _INTERPOLATION_LABELS[now.between]),
                self._toggle_item("Full screen", "is_full_screen", now.is_full_screen),
                self._choice_item(
                    "Mouse sensitivity",
                    "mouse_sensitivity",
                    SENSITIVITIES,
                    f"{now.mouse_sensitivity:g}",
                ),
                self._choice_item("Dead zone of sticks", "pad_dead_zone", DEAD_ZONES, f"{now.pad_dead_zone:.0%}"),
                self._choice_item("Denoising steps", "num_steps", NUM_STEPS, steps),
                self._toggle_item("Always record", "is_always_recorded", now.is_always_recorded),
                self._toggle_item("Record without loss", "is_lossless", now.is_lossless),
                MenuItem(label="Keys ...", on_select=partial(self._menus.open, self.keys_page)),
            ),
            notes=("Left and Right change, Esc goes back", f"kept in {self._file.path}"),
        )

    def keys_page(self) -> MenuPage:
        rows = [row for row in apply_overrides(self._file.current.own_keys) if not row.is_fixed]
        shared = binding_conflicts(apply_overrides(self._file.current.own_keys))
        items = tuple(
            MenuItem(
                label=row.label,
                value=_keys_text(row, shared.get(row.name, ())),
                on_select=partial(self._menus.open, partial(self.binding_page, row.name)),
                is_error=row.name in shared,
            )
            for row in rows
        )
        defaults = MenuItem(label="Reset all to the defaults", on_select=partial(self._change, own_keys=()))
        return MenuPage(title="Keys", items=(*items, defaults), notes=("Enter changes a row's keys, Esc goes back",))

    def binding_page(self, name: str) -> MenuPage:
        """The keys of one row of the table."""
        rows = apply_overrides(self._file.current.own_keys)
        row = next(row for row in rows if row.name == name)
        default = next(row for row in BINDINGS if row.name == name)
        changes = tuple(
            MenuItem(
                label=f"Another key for {key_label(key, row.ctrl)}", on_select=partial(self._capture_key, row, place)
            )
            for place, key in enumerate(row.keys)
        )
        deletions = tuple(
            MenuItem(
                label=f"Without {key_label(key, row.ctrl)}",
                on_select=partial(self._bind, name, tuple(k for k in row.keys if k != key)),
            )
            for key in row.keys
        )
        also = binding_conflicts(rows).get(name, ())
        return MenuPage(
            title=f"{row.label}:  {_keys_text(row, ())}",
            items=(
                *changes,
                MenuItem(label="One more key", on_select=partial(self._capture_key, row, len(row.keys))),
                *deletions,
                MenuItem(label=f"The default:  {_keys_text(default, ())}", on_select=partial(self._bind, name, None)),
            ),
            notes=(*(f"one of them is also: {what}" for what in also), "Esc goes back"),
        )

    def _capture_key(self, row: Binding, place: int) -> None:
        """For the key that shall be the one at `place` of the row's."""
        self._menus.wait_for_key(
            lambda key: self._bind(row.name, tuple(dict.fromkeys((*row.keys[:place], key, *row.keys[place + 1 :]))))
        )

    def _bind(self, name: str, keys: tuple[str, ...] | None) -> None:
        """None: the table's own."""
        others = tuple(own for own in self._file.current.own_keys if own.name != name)
        own = () if keys is None else (KeyOverride(name=name, keys=keys),)
        self._change(own_keys=(*others, *own))

    def _toggle_item(self, label: str, name: str, is_on: bool) -> MenuItem:
        def change(_: int) -> None:
            self._change(**{name: not is_on})

        return MenuItem(label=label, value="on" if is_on else "off", on_change=change)

    def _choice_item(self, label: str, name: str, choices: Sequence[T], value: str) -> MenuItem:
        def change(offset: int) -> None:
            now = getattr(self._file.current, name)
            place = choices.index(now) + offset if now in choices else 0
            self._change(**{name: choices[place % len(choices)]})

        return MenuItem(label=label, value=value, on_change=change)

    def _change(self, **values: object) -> None:
        before = self._file.current
        self._apply(before, self._file.change(**values))


def _keys_text(row: Binding, others: Iterable[str]) -> str:
    text = " / ".join(key_label(key, row.ctrl) for key in row.keys) or "no key"
    also = ", ".join(others)
    return f"{text}   also: {also}" if also else text
