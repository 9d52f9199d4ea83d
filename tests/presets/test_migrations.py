"""Presets of every schema version that was ever shipped load, and play as they did."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.presets.stored import FRAME_FILE, missing_versions, second_frame, stored_preset
from worldsim.presets import config as preset_config
from worldsim.presets.config import SCHEMA_VERSION
from worldsim.presets.migrations import MIGRATIONS, migrate
from worldsim.presets.store import load_preset, verify

LEVELS = 3
"""Other machines round differently; more than this many of 255 levels is another meaning of the weights."""


def test_every_schema_version_has_a_stored_preset_and_a_way_to_the_next() -> None:
    assert missing_versions(SCHEMA_VERSION) == []
    assert missing_versions(SCHEMA_VERSION + 1) == [SCHEMA_VERSION + 1], "a new version is missed until it is stored"
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_a_stored_preset_of_every_version_loads_and_plays_as_it_did(version: int) -> None:
    folder = stored_preset(version)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 200_000
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["schema_version"] == version
    assert verify(folder).hashes[:1] == ("config",)
    played, expected = second_frame(folder).astype(int), np.load(folder / FRAME_FILE).astype(int)
    assert np.abs(played - expected).max() <= LEVELS, "the weights mean something else: that is a new schema version"


def test_steps_are_taken_in_order_and_the_mapping_as_stored_stays() -> None:
    data = {"schema_version": 1, "path": []}
    steps = {step: lambda m, step=step: {**m, "path": [*m["path"], step]} for step in (1, 2, 3)}
    assert migrate(data, 1, 3, steps) == {"schema_version": 3, "path": [1, 2]}
    assert migrate(data, 3, 3, steps) == {"schema_version": 3, "path": []}
    assert data == {"schema_version": 1, "path": []}


def test_a_preset_of_an_older_schema_is_migrated_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(mapping: dict[str, Any]) -> dict[str, Any]:
        return {**mapping, "title": mapping["title"].upper()}

    monkeypatch.setattr(preset_config, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setitem(MIGRATIONS, SCHEMA_VERSION, rename)
    config = load_preset(stored_preset(SCHEMA_VERSION)).config
    assert config.title == "AN UNTRAINED PRESET FOR TESTS"
    assert config.schema_version == SCHEMA_VERSION + 1
