"""The settings file: saved, migrated, damaged, unwritable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldsim.actions.bindings import BINDINGS, KeyOverride
from worldsim.app.settings import Settings, SettingsFile

SCHEMA_1 = {
    "picture_filter": "nearest",
    "is_whole_scale": True,
    "between": "motion",
    "is_full_screen": True,
    "mouse_sensitivity": 1.5,
    "pad_dead_zone": 0.25,
    "num_steps": 4,
    "is_always_recorded": True,
    "is_lossless": True,
    "own_keys": [
        {"name": "forward", "keys": ["z", "pad_a"]},
        {"name": "other start", "keys": ["f8"]},
        {"name": "worlds", "keys": ["f10"]},
        {"name": "anchor", "keys": []},
        {"name": "keys", "keys": ["k"]},
        {"name": "filter", "keys": ["j"]},
        {"name": "speed -1", "keys": ["kp_minus"]},
    ],
}
"""A file as version 1 wrote it, with every field and every renamed row changed."""


def test_changes_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "settings.json"
    first = SettingsFile(path)
    assert first.current == Settings()
    assert not path.exists(), "reading wrote a file"
    first.change(scaling_filter="nearest", denoising_steps=4)
    first.change(key_overrides=(KeyOverride(name="forward", keys=("z",)),), lossless_recording=True)
    assert SettingsFile(path).current == first.current
    assert first.current.scaling_filter == "nearest"
    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == 2
    assert [p.name for p in path.parent.iterdir()] == ["settings.json"]


def test_schema_1_file_keeps_every_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(SCHEMA_1), encoding="utf-8")
    migrated = SettingsFile(path)
    assert caplog.messages == []
    assert migrated.current == Settings(
        scaling_filter="nearest",
        integer_scale=True,
        frame_interpolation="motion",
        full_screen=True,
        mouse_sensitivity=1.5,
        stick_dead_zone=0.25,
        denoising_steps=4,
        always_record=True,
        lossless_recording=True,
        key_overrides=(
            KeyOverride(name="forward", keys=("z", "pad_a")),
            KeyOverride(name="next seed", keys=("f8",)),
            KeyOverride(name="view mode", keys=("f10",)),
            KeyOverride(name="reset context", keys=()),
            KeyOverride(name="key overlay", keys=("k",)),
            KeyOverride(name="scaling filter", keys=("j",)),
            KeyOverride(name="speed -1", keys=("kp_minus",)),
        ),
    )
    assert {override.name for override in migrated.current.key_overrides} <= {row.name for row in BINDINGS}
    migrated.change(mouse_sensitivity=2.0)
    assert SettingsFile(path).current == migrated.current, "a migrated file is not read back as it was saved"


def test_unknown_keys_are_reported_and_the_others_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"schema": 3, "denoising_steps": 4, "color": 1}', encoding="utf-8")
    assert SettingsFile(path).current == Settings(denoising_steps=4)
    (line,) = caplog.messages
    assert "color" in line and path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"num_steps": "many"}',
        b'{"own_keys": 1}',
        b'{"own_keys": [{"name": []}]}',
        b"\xff\xfe",
        b'{"mouse_sensitivity": 1e9}',
        b'{"pad_dead_zone": 1}',
        b'{"schema": 2, "stick_dead_zone": 1}',
        b'{"a":NaN}',
    ],
)
def test_damaged_file_is_moved_aside_and_reported_in_one_line(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    assert SettingsFile(path).current == Settings()
    (line,) = caplog.messages
    assert "settings.json.bad" in line and "\n" not in line
    assert (tmp_path / "settings.json.bad").read_bytes() == content
    assert not path.exists()


def test_unwritable_settings_apply_and_are_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("blocks the folder")
    file = SettingsFile(tmp_path / "file" / "settings.json")
    file.change(denoising_steps=2)
    assert file.change(full_screen=True).denoising_steps == 2
    assert len(caplog.messages) == 1 and "could not be saved" in caplog.messages[0]


def test_default_path_is_in_the_users_config_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platformdirs.user_config_path", lambda name: tmp_path / name)
    assert SettingsFile().path == tmp_path / "worldsim" / "settings.json"
