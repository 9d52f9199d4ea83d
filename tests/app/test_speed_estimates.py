"""Speeds for the title screen: asked of another process, kept, never in the way."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from worldsim.app.speed_estimates import Forecast, Forecasts

SHOW = """
import json, sys
if "bad" in sys.argv: sys.exit("error: no such preset\\nhint: none")
if "slow" in sys.argv: import time; time.sleep(60)
print(json.dumps({"title": "A maze", "picture": "64x48", "bytes": 5, "predicted_frames_per_s": 40.4, "ticks_per_s":
17.5, "predicted_reason": ""}))
"""


def forecasts_at(folder: Path, device: str = "cpu") -> Forecasts:
    return Forecasts(device=device, path=folder / "deep" / "forecasts.json", show=(sys.executable, "-c", SHOW))


def test_what_was_found_out_is_known_the_next_time_for_this_machine_and_config(tmp_path: Path) -> None:
    first = forecasts_at(tmp_path)
    assert first.known("a config") is None
    made = first.make("a config", "maze")
    assert made.text == "about 40 frames/s here"
    assert forecasts_at(tmp_path).known("a config") == made
    assert forecasts_at(tmp_path).known("another config") is None
    assert forecasts_at(tmp_path, device="cuda").known("a config") is None


def test_of_two_tries_the_better_one_is_kept(tmp_path: Path) -> None:
    """The machine had other work."""
    slow = Forecasts(device="cpu", path=tmp_path / "f.json", show=(sys.executable, "-c", SHOW.replace("40.4", "4")))
    fast = Forecasts(device="cpu", path=tmp_path / "f.json", show=(sys.executable, "-c", SHOW))
    assert slow.make("a config", "maze").is_slow
    assert fast.make("a config", "maze").frames_per_s == 40.4
    again = Forecasts(device="cpu", path=tmp_path / "f.json", show=(sys.executable, "-c", SHOW.replace("40.4", "4")))
    assert again.make("a config", "maze").frames_per_s == 40.4


def test_a_failure_is_told_and_not_kept(tmp_path: Path) -> None:
    assert forecasts_at(tmp_path).make("a config", "bad").text == "no such preset"
    assert forecasts_at(tmp_path).known("a config") is None


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": 1}', b'{"a": {"frames_per_s": "many"}}', b"\xff"])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "forecasts.json").write_bytes(content)
    forecasts = forecasts_at(tmp_path)
    forecasts.make("a config", "maze")
    assert forecasts_at(tmp_path).known("a config") is not None


def test_closing_ends_what_is_being_tried(tmp_path: Path) -> None:
    forecasts = forecasts_at(tmp_path)
    trying = threading.Thread(target=forecasts.make, args=("a config", "slow"))
    trying.start()
    time.sleep(0.2)
    begun_s = time.monotonic()
    forecasts.close()
    trying.join(10)
    assert not trying.is_alive() and time.monotonic() - begun_s < 5
    assert forecasts.make("a config", "maze") == Forecast(), "nothing is tried any more"


def test_a_preset_that_is_too_slow_or_was_not_tried_says_so() -> None:
    assert Forecast(frames_per_s=4.4, ticks_per_s=17.5).text == "about 4 frames/s here, its pace is 17.5"
    assert Forecast(trouble="too large to be tried").text == "too large to be tried"
