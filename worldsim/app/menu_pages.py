"""The menu pages: title, pause, settings, key bindings. Pure: from settings and presets to pages of items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from worldsim.actions.bindings import BINDINGS, Binding, KeyOverride, apply_overrides, binding_conflicts
from worldsim.app.hud import InlineImage, capitalized, wrap_line
from worldsim.app.key_labels import key_label
from worldsim.app.menu import MenuItem, MenuPage, MenuStack
from worldsim.app.preset_library import PresetEntry
from worldsim.app.settings import FILTERS, INTERPOLATION_MODES, Settings, SettingsFile

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
                label=_ROW_LABELS.get(row.name, row.label),
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
            title=f"{_ROW_LABELS.get(row.name, row.label)}:  {_keys_text(row, ())}",
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
