"""The menu pages: texts, and what their items change."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldsim.actions.bindings import BINDINGS
from worldsim.app.menu import MenuItem, MenuKey, MenuStack, SettingsPages, title_page
from worldsim.app.preset_library import PresetEntry
from worldsim.app.settings import Settings, SettingsFile


class Harness:
    def __init__(self, path: Path) -> None:
        self.menus, self.file = MenuStack(), SettingsFile(path)
        self.applied: list[tuple[Settings, Settings]] = []
        self.pages = SettingsPages(self.menus, self.file, lambda before, after: self.applied.append((before, after)))
        self.pages.open()

    def item(self, label: str) -> MenuItem:
        return next(item for item in self.menus.page.items if item.label == label)

    def change(self, label: str, offset: int = 1) -> str:
        change = self.item(label).on_change
        assert change is not None
        change(offset)
        return self.item(label).value

    def bind(self, label: str, key: str, deed: str = "Add key") -> MenuItem:
        """On the page of the row, and back."""
        self.item(label).on_select()
        self.item(deed).on_select()
        self.menus.take_key(key)
        self.menus.press(MenuKey.BACK)
        return self.item(label)


def test_denoising_steps_are_grayed_with_the_reason_where_they_have_no_effect(tmp_path: Path) -> None:
    menus = MenuStack()
    pages = SettingsPages(menus, SettingsFile(tmp_path / "s.json"), lambda *_: None, lambda: "it is a map")
    pages.open()
    item = next(item for item in menus.page.items if item.label == "Denoising steps")
    assert item.is_disabled and item.on_change is None
    assert item.value == "no effect: it is a map"


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path / "settings.json")


def test_every_setting_is_changed_shown_saved_and_applied(harness: Harness) -> None:
    assert harness.change("Scaling filter") == "smooth"
    assert harness.change("Scaling filter", -1) == "sharp"
    assert harness.change("Full screen") == "on"
    assert harness.change("Mouse sensitivity", -1) == "0.75"
    assert harness.change("Stick dead zone") == "20%"
    assert harness.change("Denoising steps") == "1"
    assert harness.change("Denoising steps", -1) == "preset default"
    assert harness.change("Denoising steps", -1) == "8"
    assert harness.change("Always record") == "on"
    assert harness.change("Lossless recording") == "on"
    assert SettingsFile(harness.file.path).current == harness.file.current == harness.applied[-1][1]
    assert len(harness.applied) == 10
    assert all(after == before for (_, after), (before, _) in zip(harness.applied, harness.applied[1:], strict=False))


def test_value_that_is_not_a_choice_changes_to_one(harness: Harness) -> None:
    harness.file.change(mouse_sensitivity=1.234)
    assert harness.change("Mouse sensitivity") == "0.25"


def test_keys_are_changed_added_and_removed(harness: Harness) -> None:
    harness.item("Key bindings ...").on_select()
    assert harness.item("Walk forward").value == "W / Up / Left stick up"
    assert harness.bind("Walk forward", "i", "Change W").value == "I / Up / Left stick up"
    assert harness.bind("Walk forward", "pad_a").value == "I / Up / Left stick up / Pad A"
    assert harness.bind("Walk forward", "up").value == "I / Up / Left stick up / Pad A", "already bound"
    for key in ("Up", "Left stick up", "Pad A"):
        harness.item("Walk forward").on_select()
        harness.item(f"Remove {key}").on_select()
        harness.menus.press(MenuKey.BACK)
    assert harness.item("Walk forward").value == "I"
    assert [own.keys for own in harness.file.current.key_overrides] == [("i",)]


def test_unbound_row_can_be_bound(harness: Harness) -> None:
    harness.item("Key bindings ...").on_select()
    harness.item("Restart with the next seed").on_select()
    harness.item("Remove T").on_select()
    assert harness.menus.page.title == "Restart with the next seed:  (unbound)"
    harness.menus.press(MenuKey.BACK)
    assert harness.item("Restart with the next seed").value == "(unbound)"
    assert harness.bind("Restart with the next seed", "y").value == "Y"


def test_one_row_or_all_reset_to_defaults(harness: Harness) -> None:
    harness.item("Key bindings ...").on_select()
    harness.bind("Walk forward", "i")
    harness.bind("Walk back", "k")
    harness.item("Walk forward").on_select()
    harness.item("Default:  W / Up / Left stick up").on_select()
    harness.menus.press(MenuKey.BACK)
    assert harness.item("Walk forward").value == "W / Up / Left stick up"
    assert [own.name for own in harness.file.current.key_overrides] == ["back"]
    harness.item("Reset all to defaults").on_select()
    assert harness.file.current.key_overrides == ()


def test_conflicting_key_is_shown_on_both_rows(harness: Harness) -> None:
    harness.item("Key bindings ...").on_select()
    assert not any(item.is_error for item in harness.menus.page.items)
    assert harness.bind("Walk forward", "s").is_error
    harness.item("Walk forward").on_select()
    assert "Also bound to: walk back" in harness.menus.page.notes
    harness.menus.press(MenuKey.BACK)
    assert "also bound to: walk back" in harness.item("Walk forward").value
    assert harness.item("Walk back").is_error and "also bound to: walk forward" in harness.item("Walk back").value
    assert harness.bind("Walk back", "x", "Change S").is_error is False
    assert not harness.item("Walk forward").is_error


def test_key_with_and_without_ctrl_do_not_conflict(harness: Harness) -> None:
    harness.item("Key bindings ...").on_select()
    assert harness.item("Quit").value == "Ctrl+Q" and not harness.item("Quit").is_error
    assert harness.bind("Quit", "w").value == "Ctrl+Q / Ctrl+W"
    assert not harness.item("Quit").is_error


def test_menu_key_and_mouse_cannot_be_rebound(harness: Harness) -> None:
    harness.item("Key bindings ...").on_select()
    *listed, reset = [item.label for item in harness.menus.page.items]
    fixed = {row.label for row in BINDINGS if row.is_fixed}
    assert len(fixed) == 2 and not fixed & set(listed)
    assert reset == "Reset all to defaults" and len(listed) == len(BINDINGS) - len(fixed)
    assert len(set(listed)) == len(listed), "two rows look the same"


def test_esc_returns_from_key_bindings_to_settings(harness: Harness) -> None:
    harness.item("Key bindings ...").on_select()
    harness.menus.press(MenuKey.BACK)
    assert harness.menus.page.title == "Settings"


def test_title_page_lists_presets_with_size_source_and_errors() -> None:
    chosen: list[str] = []
    entries = (
        PresetEntry(ref="maze", name="maze", title="A maze", size="64x48", num_bytes=13_800_000),
        PresetEntry(ref="bad", name="bad", error="its config is damaged"),
    )
    page = title_page(
        entries,
        play=lambda entry: chosen.append(entry.ref),
        settings=lambda: chosen.append("settings"),
        quit_=lambda: chosen.append("quit"),
        notes=("World stopped", ""),
    )
    assert page.items[0].sublines == ("A maze", "64x48   13.8 MB   bundled   measuring speed ...")
    assert page.items[1].is_error and page.items[1].sublines == ("its config is damaged",)
    for item in page.items:
        item.on_select()
    assert chosen == ["maze", "bad", "settings", "quit"]
    assert page.notes[0] == "World stopped"
