"""The pages: what they say and what their items change."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldsim.actions.bindings import BINDINGS
from worldsim.app.menu import MenuItem, MenuKey, MenuStack
from worldsim.app.menu_pages import SettingsPages, title_page
from worldsim.app.preset_library import PresetEntry
from worldsim.app.settings import Settings, SettingsFile


class Desk:
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

    def bind(self, label: str, key: str, deed: str = "One more key") -> MenuItem:
        """On the page of the row, and back."""
        self.item(label).on_select()
        self.item(deed).on_select()
        self.menus.take_key(key)
        self.menus.press(MenuKey.BACK)
        return self.item(label)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "settings.json")


def test_every_setting_changes_is_shown_kept_and_applied(desk: Desk) -> None:
    assert desk.change("Picture") == "smooth"
    assert desk.change("Picture", -1) == "sharp"
    assert desk.change("Full screen") == "on"
    assert desk.change("Mouse sensitivity", -1) == "0.75"
    assert desk.change("Dead zone of sticks") == "20%"
    assert desk.change("Denoising steps") == "1"
    assert desk.change("Denoising steps", -1) == "the preset's own"
    assert desk.change("Denoising steps", -1) == "8"
    assert desk.change("Always record") == "on"
    assert desk.change("Record without loss") == "on"
    assert SettingsFile(desk.file.path).current == desk.file.current == desk.applied[-1][1]
    assert len(desk.applied) == 10
    assert all(after == before for (_, after), (before, _) in zip(desk.applied, desk.applied[1:], strict=False))


def test_a_sensitivity_from_the_file_that_is_no_choice_leads_to_one(desk: Desk) -> None:
    desk.file.change(mouse_sensitivity=1.234)
    assert desk.change("Mouse sensitivity") == "0.25"


def test_keys_are_changed_added_and_deleted_one_by_one(desk: Desk) -> None:
    desk.item("Keys ...").on_select()
    assert desk.item("walk forward").value == "W / Up / Left stick up"
    assert desk.bind("walk forward", "i", "Another key for W").value == "I / Up / Left stick up"
    assert desk.bind("walk forward", "pad_a").value == "I / Up / Left stick up / Pad A"
    assert desk.bind("walk forward", "up").value == "I / Up / Left stick up / Pad A", "it has that one"
    for key in ("Up", "Left stick up", "Pad A"):
        desk.item("walk forward").on_select()
        desk.item(f"Without {key}").on_select()
        desk.menus.press(MenuKey.BACK)
    assert desk.item("walk forward").value == "I"
    assert [own.keys for own in desk.file.current.own_keys] == [("i",)]


def test_a_row_without_keys_says_so_and_gets_new_ones(desk: Desk) -> None:
    desk.item("Keys ...").on_select()
    desk.item("another start").on_select()
    desk.item("Without T").on_select()
    assert desk.menus.page.title == "another start:  no key"
    desk.menus.press(MenuKey.BACK)
    assert desk.item("another start").value == "no key"
    assert desk.bind("another start", "y").value == "Y"


def test_one_row_or_all_go_back_to_the_defaults(desk: Desk) -> None:
    desk.item("Keys ...").on_select()
    desk.bind("walk forward", "i")
    desk.bind("walk back", "k")
    desk.item("walk forward").on_select()
    desk.item("The default:  W / Up / Left stick up").on_select()
    desk.menus.press(MenuKey.BACK)
    assert desk.item("walk forward").value == "W / Up / Left stick up"
    assert [own.name for own in desk.file.current.own_keys] == ["back"]
    desk.item("Reset all to the defaults").on_select()
    assert desk.file.current.own_keys == ()


def test_a_key_that_does_two_things_is_shown_at_both(desk: Desk) -> None:
    desk.item("Keys ...").on_select()
    assert not any(item.is_error for item in desk.menus.page.items)
    assert desk.bind("walk forward", "s").is_error
    desk.item("walk forward").on_select()
    assert "one of them is also: walk back" in desk.menus.page.notes
    desk.menus.press(MenuKey.BACK)
    assert "also: walk back" in desk.item("walk forward").value
    assert desk.item("walk back").is_error and "also: walk forward" in desk.item("walk back").value
    assert desk.bind("walk back", "x", "Another key for S").is_error is False
    assert not desk.item("walk forward").is_error


def test_a_key_with_and_one_without_ctrl_are_not_the_same(desk: Desk) -> None:
    desk.item("Keys ...").on_select()
    assert desk.item("quit").value == "Ctrl+Q" and not desk.item("quit").is_error
    assert desk.bind("quit", "w").value == "Ctrl+Q / Ctrl+W"
    assert not desk.item("quit").is_error


def test_the_way_to_the_menu_and_the_mouse_cannot_be_rebound(desk: Desk) -> None:
    desk.item("Keys ...").on_select()
    listed = {item.label for item in desk.menus.page.items}
    fixed = {row.label for row in BINDINGS if row.is_fixed}
    assert len(fixed) == 2 and not fixed & listed
    assert {row.label for row in BINDINGS} - fixed <= listed


def test_esc_leads_back_from_the_keys_to_the_settings(desk: Desk) -> None:
    desk.item("Keys ...").on_select()
    desk.menus.press(MenuKey.BACK)
    assert desk.menus.page.title == "Settings"


def test_the_title_lists_presets_with_size_and_place_and_says_what_is_wrong() -> None:
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
        notes=("the world has stopped", ""),
    )
    assert page.items[0].sublines == ("A maze", "64x48   13.8 MB   bundled   ... frames/s here")
    assert page.items[1].is_error and page.items[1].sublines == ("its config is damaged",)
    for item in page.items:
        item.on_select()
    assert chosen == ["maze", "bad", "settings", "quit"]
    assert page.notes[0] == "the world has stopped"
