"""The title screen's list against a local Hub server, and playing a preset from it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.hub

LISTING = """
import json, sys, time
from dataclasses import asdict
from pathlib import Path
from worldsim.app.preset_library import SpeedEstimates
from worldsim.app.preset_library import PresetLibrary

library = PresetLibrary(SpeedEstimates(device="cpu", path=Path(sys.argv[1])))
library.start()
deadline = time.monotonic() + 100
names = set(sys.argv[2:])
while time.monotonic() < deadline:
    done = {o.name for o in library.entries if o.estimate is not None or o.error}
    if names <= done or library.note.startswith("Hub unavailable"):
        break
    time.sleep(0.02)
time.sleep(0.3)
library.close()
rows = [{"name": o.name, "title": o.title, "source": o.source, "text": o.estimate.text if o.estimate else None}
        for o in library.entries]
print(json.dumps({"note": library.note, "entries": rows}))
"""


def listed(hub: Any, folder: Path, *names: str, **environment: str) -> Any:
    """In its own process: the Hub client reads its settings at import."""
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", LISTING, str(folder / "speed_estimates.json"), *names],
        env=os.environ | settings | environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_presets_of_the_hub_are_listed_with_their_speed_before_anything_of_their_weights_comes(
    hub: Any, tmp_path: Path
) -> None:
    hub.put("someone/model", {"README.md": b"---\nlibrary_name: another\n---\n"})
    found = listed(hub, tmp_path, "someone/tiny")
    rows = {row["name"]: row for row in found["entries"]}
    assert rows["someone/tiny"]["source"] == "on the Hub" and "someone/model" not in rows
    assert rows["someone/tiny"]["title"] == "An untrained preset for tests"
    assert re.match(r"~\d+ fps", rows["someone/tiny"]["text"])
    assert next(iter(rows)) == "maze", "bundled presets come first"
    assert found["note"] == ""
    assert not [line for line in hub.log if "model.safetensors" in line or "/store/" in line]


def test_a_hub_that_is_not_there_is_one_line_below_the_others(hub: Any, tmp_path: Path) -> None:
    found = listed(hub, tmp_path, "someone/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    assert found["note"].startswith("Hub unavailable: http://127.0.0.1:9 cannot be reached")
    assert "maze" in {row["name"] for row in found["entries"]}


def test_offline_it_is_not_asked(hub: Any, tmp_path: Path) -> None:
    found = listed(hub, tmp_path, "maze", HF_HUB_OFFLINE="1")
    assert found["note"] == "" and not hub.log
    assert not [row for row in found["entries"] if row["source"] == "on the Hub"]


def test_a_preset_that_is_chosen_comes_in_stages_and_is_played(hub: Any, run: Any, server: Any, tmp_path: Path) -> None:
    weights = hub.repos["someone/tiny"].commits[hub.repos["someone/tiny"].refs["main"]]["model.safetensors"]
    hub.faults.append(server.Fault(where=f"GET /store/{hashlib.sha256(weights).hexdigest()}", delay_s=1.5))
    out = tmp_path / "out.json"
    play = ("play", "someone/tiny", "--frames", "2", "--fps", "200", "--device", "cpu", "--json", str(out))
    done = run(*play, SDL_VIDEODRIVER="dummy")
    assert done.returncode == 0, done.stderr
    stages = [line.removeprefix("worldsim: ") for line in done.stderr.splitlines() if line.startswith("worldsim: ")]
    wanted = (
        "loading torch",
        "requesting someone/tiny",
        "downloading someone/tiny at",
        "loading the weights",
        "playing",
    )
    places = [next(n for n, stage in enumerate(stages) if stage.startswith(begin)) for begin in wanted]
    assert places == sorted(places), stages
    assert any("%" in stage and stage.endswith("MB") for stage in stages), stages
    assert json.loads(out.read_text(encoding="utf-8"))["frames_shown"] >= 2
