"""What menus there are: title, pause, settings, keys. Pure: from settings and presets to pages of items.

Owns: the words and the order. Does not own: what an item does to play (it is given as a function), focus and keys
(`app.menu`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from worldsim.actions.bindings import Binding, OwnKeys, conflicts, key_label, rebound
from worldsim.app.menu import Item, Menus, Page
from worldsim.app.settings import FILTERS, Settings, SettingsFile
from worldsim.app.shelf import Offer

T = TypeVar("T")

NUM_STEPS = (None, 1, 2, 4, 8)
SENSITIVITIES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
BASIC_NOTE = "Up, Down, Enter, Esc; or the mouse"


def title_page(
    offers: Sequence[Offer],
    *,
    play: Callable[[Offer], None],
    settings: Callable[[], None],
    quit_: Callable[[], None],
    trouble: str = "",
) -> Page:
    """`trouble`: why the last one ended."""
    presets = tuple(
        Item(
            label=offer.name,
            value=offer.trouble or f"{offer.title}   {offer.num_bytes / 1e6:.1f} MB, {offer.place}",
            choose=partial(play, offer),
            picture=offer.picture,
            is_bad=bool(offer.trouble),
        )
        for offer in offers
    )
    more = (Item(label="Settings", choose=settings), Item(label="Quit", choose=quit_))
    return Page(title="worldsim", items=presets + more, notes=tuple(filter(None, (trouble, BASIC_NOTE))))


def pause_page(deeds: Iterable[tuple[str, Callable[[], None]]]) -> Page:
    return Page(
        title="Paused",
        items=tuple(Item(label=label, choose=do) for label, do in deeds),
        notes=(BASIC_NOTE,),
    )


class SettingsPages:
    """The settings and the keys. `apply` is told every change, after it was kept."""

    def __init__(self, menus: Menus, file: SettingsFile, apply: Callable[[Settings, Settings], None]) -> None:
        """`apply` is given the settings before and after."""
        self._menus, self._file, self._apply = menus, file, apply

    def open(self) -> None:
        self._menus.open(self.settings_page)

    def settings_page(self) -> Page:
        now = self._file.current
        steps = "the preset's own" if now.num_steps is None else str(now.num_steps)
        return Page(
            title="Settings",
            items=(
                self._choice("Picture", "picture_filter", FILTERS, now.picture_filter),
                self._switch("Full screen", "is_full_screen", now.is_full_screen),
                self._choice(
                    "Mouse sensitivity",
                    "mouse_sensitivity",
                    SENSITIVITIES,
                    f"{now.mouse_sensitivity:g}",
                ),
                self._choice("Denoising steps", "num_steps", NUM_STEPS, steps),
                self._switch("Always record", "is_always_recorded", now.is_always_recorded),
                self._switch("Record without loss", "is_lossless", now.is_lossless),
                Item(label="Keys ...", choose=partial(self._menus.open, self.keys_page)),
            ),
            notes=("Left and Right change, Esc goes back", f"kept in {self._file.path}"),
        )

    def keys_page(self) -> Page:
        rows = [row for row in rebound(self._file.current.own_keys) if not row.is_fixed]
        shared = conflicts(rebound(self._file.current.own_keys))
        items = tuple(
            Item(
                label=row.what,
                value=_keys_text(row, shared.get(row.name, ())),
                choose=partial(self._menus.wait_for_key, partial(self._bind, row)),
                is_bad=row.name in shared,
            )
            for row in rows
        )
        defaults = Item(label="Reset all to the defaults", choose=partial(self._change, own_keys=()))
        return Page(title="Keys", items=(*items, defaults), notes=("Enter waits for the new key, Esc goes back",))

    def _bind(self, row: Binding, key: str) -> None:
        others = tuple(own for own in self._file.current.own_keys if own.name != row.name)
        self._change(own_keys=(*others, OwnKeys(name=row.name, keys=(key,))))

    def _switch(self, label: str, name: str, is_on: bool) -> Item:
        def change(_: int) -> None:
            self._change(**{name: not is_on})

        return Item(label=label, value="on" if is_on else "off", change=change)

    def _choice(self, label: str, name: str, choices: Sequence[T], value: str) -> Item:
        def change(offset: int) -> None:
            now = getattr(self._file.current, name)
            place = choices.index(now) + offset if now in choices else 0
            self._change(**{name: choices[place % len(choices)]})

        return Item(label=label, value=value, change=change)

    def _change(self, **values: object) -> None:
        before = self._file.current
        self._apply(before, self._file.change(**values))


def _keys_text(row: Binding, others: Iterable[str]) -> str:
    text = " / ".join(key_label(key, row.ctrl) for key in row.keys)
    also = ", ".join(others)
    return f"{text}   also: {also}" if also else text
