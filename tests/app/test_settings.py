"""The settings file: kept, damaged, not to be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldsim.actions.bindings import KeyOverride
from worldsim.app.settings import Settings, SettingsFile


def test_what_was_changed_is_there_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "settings.json"
    first = SettingsFile(path)
    assert first.current == Settings()
    assert not path.exists(), "reading wrote a file"
    first.change(picture_filter="nearest", num_steps=4)
    first.change(own_keys=(KeyOverride(name="forward", keys=("z",)),), is_lossless=True)
    assert SettingsFile(path).current == first.current
    assert first.current.picture_filter == "nearest"
    assert [p.name for p in path.parent.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"num_steps": "many"}',
        b'{"colour": 1}',
        b"\xff\xfe",
        b'{"mouse_sensitivity": 1e9}',
        b'{"pad_dead_zone": 1}',
        b'{"a":NaN}',
    ],
)
def test_a_damaged_file_is_put_aside_and_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    said: list[str] = []
    assert SettingsFile(path, said.append).current == Settings()
    (line,) = said
    assert "settings.json.bad" in line and "\n" not in line
    assert (tmp_path / "settings.json.bad").read_bytes() == content
    assert not path.exists()


def test_settings_that_cannot_be_kept_count_and_are_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    said: list[str] = []
    file = SettingsFile(tmp_path / "file" / "settings.json", said.append)
    file.change(num_steps=2)
    assert file.change(is_full_screen=True).num_steps == 2
    assert len(said) == 1 and "not kept" in said[0]


def test_its_place_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platformdirs.user_config_path", lambda name: tmp_path / name)
    assert SettingsFile().path == tmp_path / "worldsim" / "settings.json"
