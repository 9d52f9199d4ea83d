"""The list of presets on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldsim.app import shelf
from worldsim.presets import hub
from worldsim.presets.hub import CachedPreset


def test_bundled_and_cached_presets_are_listed_with_picture_size_and_place(
    tiny_preset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cached(repo: str, folder: Path) -> CachedPreset:
        return CachedPreset(repo=repo, commit="c0ffee", folder=folder, num_bytes=1)

    monkeypatch.setattr(shelf, "bundled_presets", lambda: {"tiny": tiny_preset_folder, "gone": tmp_path})
    found_in_cache = [cached("someone/else", tmp_path), cached("me/tiny", tiny_preset_folder)]
    monkeypatch.setattr(hub, "cached_presets", lambda: found_in_cache)
    tiny, gone, from_hub = shelf.offers()
    assert (tiny.ref, tiny.title, tiny.place) == ("tiny", "An untrained preset for tests", "bundled")
    assert tiny.num_bytes == (tiny_preset_folder / "model.safetensors").stat().st_size
    assert tiny.picture is not None
    assert len(tiny.picture.pixels) == tiny.picture.width_px * tiny.picture.height_px * 3
    assert gone.trouble and not gone.title
    assert (from_hub.ref, from_hub.place) == ("me/tiny@c0ffee", "from the Hub")


def test_a_preset_without_a_readable_start_has_no_picture(tiny_preset_copy: Path) -> None:
    for path in (tiny_preset_copy / "start").iterdir():
        path.write_bytes(b"nothing")
    assert shelf._offer("x", "x", tiny_preset_copy, "bundled").picture is None
