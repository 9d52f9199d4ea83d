"""`worldsim train --data`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.episodes.recordings import record
from tests.training.test_data import OWN
from worldsim.cli.main import main
from worldsim.core.errors import ConfigError, RecordingError, UsageError
from worldsim.presets.config import read_config_json
from worldsim.training.distributed import DistributedContext

OWN_PRESET = Path(__file__).parents[2] / "presets" / "own" / "preset.toml"


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "preset.toml").write_text(OWN, encoding="utf-8")
    options = ["--minutes", "2", "--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    return ["train", str(tmp_path / "preset.toml"), *options, "--json", str(tmp_path / "result.json")]


def test_stage_all_trains_each_stage_and_resumes(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "a", 60, is_lossless=True)
    record(tmp_path / "b", 60, is_lossless=True)
    command += ["--data", f"{tmp_path / 'a'}=3", "--data", str(tmp_path / "b"), "--stage", "all"]
    assert main(command) == 0
    log = capsys.readouterr().err
    assert "worldsim: data: a, share 0.75, 60 frames" in log and "data: b, share 0.25, 60 frames" in log
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert list(result["stages"]) == ["autoencoder", "dynamics", "decoder"]
    config, _ = read_config_json(tmp_path / "run" / "decoder" / "last" / "config.json")
    assert config.world.kind == "recorded" and config.action_spec.axes == ("turn",)
    assert main(command) == 0
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert {stage: summary["updates"] for stage, summary in result["stages"].items()} == {"dynamics": 2, "decoder": 2}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ([], ConfigError.exit_code, "hint: add --data"),
        (["--data", "/nowhere/at/all"], RecordingError.exit_code, "no folder /nowhere/at/all"),
        (["--data", "/nowhere=0"], UsageError.exit_code, "has the weight 0"),
        (["--world-fraction", "0.5"], UsageError.exit_code, "--world-fraction is 0.5 without --data"),
    ],
)
def test_invalid_data_options_are_errors(
    more: list[str], code: int, message: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--stage", "autoencoder", *more]) == code
    assert message in capsys.readouterr().err


def test_the_custom_game_recipe_takes_frame_size_and_rate_from_recordings(tmp_path: Path) -> None:
    from worldsim.training.recordings import DataSource
    from worldsim.training.run import TrainingRun

    record(tmp_path / "a", 60, is_lossless=True)
    sources = [DataSource(ref=str(tmp_path / "a"))]
    run = TrainingRun.open(OWN_PRESET, folder=tmp_path, distributed=DistributedContext(device="cpu"), data=sources)
    assert run.preset.frame_shape == (48, 64, 3) and run.preset.play.ticks_per_s == 17.5
    assert run.training_data("dynamics").describe() == ["a, share 1.00, 60 frames, 0 held out"]
