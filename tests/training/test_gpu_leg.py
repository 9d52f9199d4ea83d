"""A leg on a lent machine, dry: from a recipe to shards before its deadline, and back to a preset."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file

from tests.training.test_run import TINY, train
from worldsim.presets.store import load_preset

TOOL = Path(__file__).parents[2] / "tools" / "gpu_leg.py"
MAZE = Path(__file__).parents[2] / "presets" / "maze"


@pytest.fixture
def leg() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_leg", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_checkpoint_comes_back_from_its_shards_byte_for_byte(
    leg: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worldsim.training.checkpoint.SHARD_BYTES", 2**18)
    stage, out = tmp_path / "dynamics", tmp_path / "out"
    shutil.copytree(MAZE, stage / "last")
    out.mkdir()
    count = leg.write_shards(stage, out)
    assert count > 1
    (out / leg.SUMMARY).write_text(json.dumps({"shards": count}))
    assert leg.join(out, tmp_path / "joined") == 0
    names = {path.relative_to(MAZE) for path in MAZE.rglob("*") if path.is_file()}
    assert {name for name in names if (MAZE / name).read_bytes() != (tmp_path / "joined" / name).read_bytes()} == set()
    assert leg.join(out, tmp_path / "joined") == 1, "the folder exists"
    next(out.glob("weights-*")).unlink()
    assert leg.join(out, tmp_path / "again") == 1 and not (tmp_path / "again").exists()


@pytest.mark.slow
def test_a_leg_without_a_display_stops_in_time_and_leaves_a_preset(tmp_path: Path) -> None:
    preset_toml, out = tmp_path / "preset.toml", tmp_path / "out"
    preset_toml.write_text(TINY)
    assert train(preset_toml, "autoencoder", updates=1).returncode == 0
    command = [sys.executable, str(TOOL), "train", str(preset_toml), "--out", str(out), "--run", str(tmp_path / "run")]
    started_s = time.monotonic()
    result = subprocess.run(
        [*command, "--minutes", "1.5", "--reserve", "30", "--workers", "2", "--", "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=150,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert time.monotonic() - started_s < 1.5 * 60 + 4
    assert json.loads((out / "leg.json").read_text())["exit_code"] == 0
    assert {path.name for path in out.iterdir()} >= {"leg.log", "log.jsonl", "preset.zip", "samples.png"}
    assert all(path.stat().st_size < 16 * 2**20 for path in out.iterdir())
    joined = tmp_path / "joined"
    assert subprocess.run([sys.executable, str(TOOL), "join", str(out), str(joined)], check=False).returncode == 0
    trained = load_file(tmp_path / "run" / "dynamics" / "last" / "model.safetensors")
    assert load_file(joined / "model.safetensors").keys() == trained.keys()
    assert load_preset(joined).config.name == "tiny"
