"""What menus there are: title, pause, settings, keys. Pure: from settings and presets to pages of items.

Owns: the words and the order. Does not own: what an item does to play (it is given as a function), focus and keys
(`app.menu`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from worldsim.actions.bindings import BINDINGS, Binding, OwnKeys, conflicts, key_label, rebound
from worldsim.app.hud import Picture, wrapped
from worldsim.app.menu import Item, Menus, Page
from worldsim.app.preset_library import Offer
from worldsim.app.settings import FILTERS, IN_BETWEEN, Settings, SettingsFile

T = TypeVar("T")

NUM_STEPS = (None, 1, 2, 4, 8)
SENSITIVITIES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
DEAD_ZONES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
NO_PICTURE = Picture(4, 3, bytes((44, 49, 58)) * 12)
_BETWEEN = {"off": "nothing", "blend": "blended; one tick later", "motion": "moved along; one tick later"}
BASIC_NOTE = "Up, Down, Enter, Esc; the mouse; or a gamepad: stick, A, B"


def title_page(
    offers: Sequence[Offer],
    *,
    play: Callable[[Offer], None],
    settings: Callable[[], None],
    quit_: Callable[[], None],
    notes: Sequence[str] = (),
) -> Page:
    """`notes`: why the last one ended, what is being looked for."""
    presets = tuple(
        Item(
            label=offer.name,
            below=_facts(offer),
            choose=partial(play, offer),
            picture=offer.picture or NO_PICTURE,
            is_bad=bool(offer.trouble),
        )
        for offer in offers
    )
    more = (Item(label="Settings", choose=settings), Item(label="Quit", choose=quit_))
    said = tuple(row for note in notes for row in wrapped(note))
    return Page(title="worldsim", items=presets + more, notes=(*said, BASIC_NOTE))


def _facts(offer: Offer) -> tuple[str, ...]:
    """Under its name: what it is; how large, where it is, how fast it will be."""
    if offer.trouble:
        return (offer.trouble,)
    megabytes = f"{offer.num_bytes / 1e6:.1f} MB" if offer.num_bytes else ""
    speed = "... frames/s here" if offer.forecast is None else offer.forecast.text
    return offer.title or "...", "   ".join(filter(None, (offer.size, megabytes, offer.place, speed)))


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
                self._switch("Whole-number scale", "is_whole_scale", now.is_whole_scale),
                self._choice("Between frames", "between", IN_BETWEEN, _BETWEEN[now.between]),
                self._switch("Full screen", "is_full_screen", now.is_full_screen),
                self._choice(
                    "Mouse sensitivity",
                    "mouse_sensitivity",
                    SENSITIVITIES,
                    f"{now.mouse_sensitivity:g}",
                ),
                self._choice("Dead zone of sticks", "pad_dead_zone", DEAD_ZONES, f"{now.pad_dead_zone:.0%}"),
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
                choose=partial(self._menus.open, partial(self.row_page, row.name)),
                is_bad=row.name in shared,
            )
            for row in rows
        )
        defaults = Item(label="Reset all to the defaults", choose=partial(self._change, own_keys=()))
        return Page(title="Keys", items=(*items, defaults), notes=("Enter changes a row's keys, Esc goes back",))

    def row_page(self, name: str) -> Page:
        """The keys of one row of the table."""
        rows = rebound(self._file.current.own_keys)
        row = next(row for row in rows if row.name == name)
        default = next(row for row in BINDINGS if row.name == name)
        changes = tuple(
            Item(label=f"Another key for {key_label(key, row.ctrl)}", choose=partial(self._wait, row, place))
            for place, key in enumerate(row.keys)
        )
        deletions = tuple(
            Item(
                label=f"Without {key_label(key, row.ctrl)}",
                choose=partial(self._bind, name, tuple(k for k in row.keys if k != key)),
            )
            for key in row.keys
        )
        also = conflicts(rows).get(name, ())
        return Page(
            title=f"{row.what}:  {_keys_text(row, ())}",
            items=(
                *changes,
                Item(label="One more key", choose=partial(self._wait, row, len(row.keys))),
                *deletions,
                Item(label=f"The default:  {_keys_text(default, ())}", choose=partial(self._bind, name, None)),
            ),
            notes=(*(f"one of them is also: {what}" for what in also), "Esc goes back"),
        )

    def _wait(self, row: Binding, place: int) -> None:
        """For the key that shall be the one at `place` of the row's."""
        self._menus.wait_for_key(
            lambda key: self._bind(row.name, tuple(dict.fromkeys((*row.keys[:place], key, *row.keys[place + 1 :]))))
        )

    def _bind(self, name: str, keys: tuple[str, ...] | None) -> None:
        """None: the table's own."""
        others = tuple(own for own in self._file.current.own_keys if own.name != name)
        own = () if keys is None else (OwnKeys(name=name, keys=keys),)
        self._change(own_keys=(*others, *own))

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
    text = " / ".join(key_label(key, row.ctrl) for key in row.keys) or "no key"
    also = ", ".join(others)
    return f"{text}   also: {also}" if also else text
