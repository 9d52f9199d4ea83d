"""`worldsim doctor`, also on a machine without a display."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from worldsim.cli import doctor
from worldsim.cli.main import main
from worldsim.engine import estimate


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_S", 0.01)
    monkeypatch.setattr(estimate, "TIMING_S", 0.05)


def test_doctor_reports_the_machine_and_the_speed_of_every_preset(
    tiny_preset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "bundled_presets", lambda: {"tiny": tiny_preset_folder, "broken": tmp_path})
    monkeypatch.setattr(doctor, "probe_graphics", lambda: {"error": "no display"})
    out = tmp_path / "doctor.json"
    assert main(["doctor", "--device", "cpu", "--json", str(out)]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["presets"]["tiny"]["frames_per_s"] > 0
    assert report["presets"]["tiny"]["ticks_per_s"] == 17.5
    assert report["presets"]["tiny"]["memory_bytes"] > 10**7
    assert len(report["presets"]["tiny"]["sha256"]) == 64
    assert report["presets"]["broken"] == {"error": f"{tmp_path} has no config.json"}
    assert {row["device"] for row in report["devices"]} >= {"cpu"}
    assert report["dtype_play"] in ("float32", "bfloat16")
    assert report["cores"] >= 1
    text = capsys.readouterr().out
    assert "preset tiny" in text
    assert "does not load" in text
    assert "none: no display" in text


def test_without_a_display_the_graphics_probe_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    answer = doctor.probe_graphics()
    assert "no display" in answer["error"]


def test_a_crash_of_the_graphics_probe_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_GRAPHICS_PROBE", "import os; os.abort()")
    assert "error" in doctor.probe_graphics()


def test_bfloat16_is_chosen_only_if_clearly_faster() -> None:
    assert doctor._faster({"float32": 100.0, "bfloat16": 110.0}) == "float32"
    assert doctor._faster({"float32": 100.0, "bfloat16": 300.0}) == "bfloat16"


@pytest.mark.display
def test_on_a_display_the_graphics_probe_names_the_renderer() -> None:
    assert os.environ.get("DISPLAY"), "run under xvfb-run"
    assert doctor.probe_graphics()["drawing"] in ("opengl", "sdl")


@pytest.mark.parametrize(("distribution", "module"), [("memory-maze", "memory_maze"), ("vizdoom", "vizdoom")])
def test_an_installed_reference_world_is_reported_as_installed(distribution: str, module: str) -> None:
    assert (doctor._version(distribution) is not None) == (find_spec(module) is not None)
