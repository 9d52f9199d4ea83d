"""The preset library: bundled, cached and Hub presets, and how the list grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worldsim.app import preset_library
from worldsim.app.preset_library import PresetLibrary, SpeedEstimate
from worldsim.core.errors import HubError
from worldsim.presets import hub
from worldsim.presets.hub import CachedPreset

FAST = SpeedEstimate(title="A castle", frame_size="64x48", num_bytes=9, frames_per_s=50, ticks_per_s=20)


class FakeSpeedEstimates:
    """Records what was measured."""

    def __init__(self) -> None:
        self.made: dict[str, SpeedEstimate] = {}
        self.asked: list[str] = []
        self.is_closed = False

    def cached(self, preset: str) -> SpeedEstimate | None:
        return self.made.get(preset)

    def measure(self, preset: str, ref: str) -> SpeedEstimate:
        self.asked.append(ref)
        return self.made.setdefault(preset, FAST)

    def close(self) -> None:
        self.is_closed = True


class Harness:
    """A bundled preset, one in the cache, and whatever `search` finds."""

    def __init__(self, folder: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.estimates, self.wakes = FakeSpeedEstimates(), 0
        self.search: Callable[[], list[dict[str, Any]]] = list
        cached = [
            CachedPreset(repo=repo, commit="c0ffee", folder=source, num_bytes=1)
            for repo, source in (("someone/else", empty), ("me/tiny", folder))
        ]
        monkeypatch.setattr(preset_library, "bundled_presets", lambda: {"tiny": folder, "gone": empty})
        monkeypatch.setattr(hub, "cached_presets", lambda: cached)
        monkeypatch.setattr(hub, "is_offline", lambda: False)
        monkeypatch.setattr(hub, "search", lambda words, limit: self.search())

    def open(self) -> PresetLibrary:
        return PresetLibrary(self.estimates, self.wake)  # type: ignore[arg-type]  # stands in for the estimates

    def wake(self) -> None:
        self.wakes += 1


@pytest.fixture
def harness(tiny_preset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    return Harness(tiny_preset_folder, tmp_path, monkeypatch)


def wait_until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_bundled_presets_are_listed_immediately_with_image_size_and_source(
    harness: Harness, tiny_preset_folder: Path
) -> None:
    tiny, gone = harness.open().entries
    assert (tiny.ref, tiny.title, tiny.source, tiny.size) == (
        "tiny",
        "An untrained preset for tests",
        "bundled",
        "64x48",
    )
    assert tiny.num_bytes == (tiny_preset_folder / "model.safetensors").stat().st_size
    assert tiny.image is not None and tiny.estimate is None
    assert len(tiny.image.pixels) == tiny.image.width_px * tiny.image.height_px * 3
    assert gone.error and not gone.title
    assert harness.estimates.asked == [], "nothing is tried before it is started"


def test_cached_and_hub_presets_are_listed_and_measured(harness: Harness) -> None:
    row = {"ref": "you/castle", "updated": "2026-01-01"}
    harness.search = lambda: [row, row | {"ref": "me/tiny"}]
    listed = harness.open()
    listed.start()
    wait_until(lambda: len(listed.entries) == 4 and all(o.estimate for o in listed.entries if not o.error))
    listed.close()
    assert [o.name for o in listed.entries] == ["tiny", "gone", "me/tiny", "you/castle"], (
        "what is here is not found again"
    )
    _, _, cached, castle = listed.entries
    assert (cached.ref, cached.source) == ("me/tiny@c0ffee", "downloaded")
    assert (castle.source, castle.title, castle.size) == ("on the Hub", "A castle", "64x48")
    assert cached.title == "An untrained preset for tests", "its own config knows better"
    assert harness.wakes >= 4 and harness.estimates.is_closed
    assert len(harness.estimates.asked) == 2, "the same config is not tried twice, a damaged preset not at all"


def test_speeds_that_are_known_are_there_at_once(harness: Harness) -> None:
    first = harness.open()
    first.start()
    wait_until(lambda: first.entries[0].estimate)
    first.close()
    assert harness.open().entries[0].estimate == FAST


def test_slow_estimate_is_shown_and_measured_again(harness: Harness) -> None:
    slow = SpeedEstimate(frames_per_s=5, ticks_per_s=20)
    harness.estimates.made = {entry.identity: slow for entry in harness.open().entries if entry.identity}
    listed = harness.open()
    assert listed.entries[0].estimate == slow
    listed.start()
    wait_until(lambda: "tiny" in harness.estimates.asked)
    listed.close()


def test_unreachable_hub_is_one_line(harness: Harness) -> None:
    def search() -> list[dict[str, Any]]:
        raise HubError("it cannot be reached", hint="check the network")

    harness.search = search
    listed = harness.open()
    listed.start()
    wait_until(lambda: listed.note == "Hub unavailable: it cannot be reached")
    assert len(listed.entries) == 3
    listed.close()


def test_offline_the_hub_is_not_asked(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hub, "is_offline", lambda: True)
    monkeypatch.setattr(hub, "search", lambda words, limit: asked.append("search"))
    listed = harness.open()
    listed.start()
    wait_until(lambda: len(listed.entries) == 3)
    listed.close()
    assert asked == [] and listed.note == ""


def test_preset_without_a_readable_start_has_no_image(tiny_preset_copy: Path) -> None:
    for path in (tiny_preset_copy / "start").iterdir():
        path.write_bytes(b"nothing")
    assert preset_library._entry("x", "x", tiny_preset_copy, "bundled").image is None
