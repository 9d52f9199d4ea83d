"""Speed estimates: measured in another process and cached."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from worldsim.app.preset_library import SpeedEstimate, SpeedEstimates

SHOW = """
import json, sys
if "bad" in sys.argv: sys.exit("error: no such preset\\nhint: none")
if "slow" in sys.argv: import time; time.sleep(60)
print(json.dumps({"title": "A maze", "picture": "64x48", "bytes": 5, "predicted_frames_per_s": 40.4, "ticks_per_s":
17.5, "predicted_reason": ""}))
"""


def estimates_at(folder: Path, device: str = "cpu") -> SpeedEstimates:
    return SpeedEstimates(
        device=device, path=folder / "deep" / "speed_estimates.json", show=(sys.executable, "-c", SHOW)
    )


def test_estimates_are_cached_per_machine_and_config(tmp_path: Path) -> None:
    first = estimates_at(tmp_path)
    assert first.cached("a config") is None
    made = first.measure("a config", "maze")
    assert made.text == "~40 fps"
    assert estimates_at(tmp_path).cached("a config") == made
    assert estimates_at(tmp_path).cached("another config") is None
    assert estimates_at(tmp_path, device="cuda").cached("a config") is None


def test_fastest_estimate_is_kept(tmp_path: Path) -> None:
    """Reports a low speed, as on a busy machine."""
    slow = SpeedEstimates(
        device="cpu", path=tmp_path / "f.json", show=(sys.executable, "-c", SHOW.replace("40.4", "4"))
    )
    fast = SpeedEstimates(device="cpu", path=tmp_path / "f.json", show=(sys.executable, "-c", SHOW))
    assert slow.measure("a config", "maze").is_slow
    assert fast.measure("a config", "maze").frames_per_s == 40.4
    again = SpeedEstimates(
        device="cpu", path=tmp_path / "f.json", show=(sys.executable, "-c", SHOW.replace("40.4", "4"))
    )
    assert again.measure("a config", "maze").frames_per_s == 40.4


def test_failed_measurement_is_reported_and_not_cached(tmp_path: Path) -> None:
    assert estimates_at(tmp_path).measure("a config", "bad").text == "no such preset"
    assert estimates_at(tmp_path).cached("a config") is None


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": 1}', b'{"a": {"frames_per_s": "many"}}', b"\xff"])
def test_damaged_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "speed_estimates.json").write_bytes(content)
    estimates = estimates_at(tmp_path)
    estimates.measure("a config", "maze")
    assert estimates_at(tmp_path).cached("a config") is not None


def test_close_kills_a_running_measurement(tmp_path: Path) -> None:
    estimates = estimates_at(tmp_path)
    trying = threading.Thread(target=estimates.measure, args=("a config", "slow"))
    trying.start()
    time.sleep(0.2)
    begun_s = time.monotonic()
    estimates.close()
    trying.join(10)
    assert not trying.is_alive() and time.monotonic() - begun_s < 5
    assert estimates.measure("a config", "maze") == SpeedEstimate(), "measures after close"


def test_text_of_slow_and_unmeasured_estimates() -> None:
    assert SpeedEstimate(frames_per_s=4.4, ticks_per_s=17.5).text == "~4 fps (target 17.5)"
    assert SpeedEstimate(unavailable_reason="too large to be tried").text == "too large to be tried"
