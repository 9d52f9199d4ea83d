"""`worldsim eval`: keys, exit codes, one small evaluation from end to end."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console

from tests.conftest import write_tiny_preset
from worldsim.cli.eval import table
from worldsim.cli.main import main
from worldsim.evaluation.config import EvalConfig
from worldsim.presets.config import PresetConfig

SCORE_KEYS = {
    "psnr", "psnr_low", "psnr_high", "ssim", "psnr_repeat", "psnr_mean_image", "psnr_autoencoder", "psnr_no_state",
    "sharpness", "sharpness_autoencoder",
}  # fmt: skip


class Evaluated(NamedTuple):
    result: dict[str, Any]
    progress: list[dict[str, Any]]
    sheet: Path


@pytest.fixture(scope="module")
def evaluated(tiny_config: PresetConfig, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """One run of the command, with short episodes and a full turn of eight ticks."""
    folder = tmp_path_factory.mktemp("eval")
    preset_folder = folder / "tiny"
    write_tiny_preset(preset_folder, replace(tiny_config, world=replace(tiny_config.world, turn_deg=45.0)))
    files = {name: folder / name for name in ("scores.json", "progress.jsonl", "sheet.png")}
    command = ["eval", str(preset_folder), "--seeds", "900000:900002", "--steps", "2", "--horizons", "1", "3"]
    options = ["--json", str(files["scores.json"]), "--progress", str(files["progress.jsonl"])]
    short = partial(EvalConfig, context_frames=4, one_step_frames=2, retrieval_frames=40, training_seeds=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worldsim.cli.eval.EvalConfig", short)
        assert main([*command, *options, "--sheet", str(files["sheet.png"]), "--device", "cpu"]) == 0
    lines = files["progress.jsonl"].read_text().splitlines()
    return Evaluated(
        json.loads(files["scores.json"].read_text()), [json.loads(line) for line in lines], files["sheet.png"]
    )


def test_the_json_has_the_promised_keys(evaluated: Evaluated) -> None:
    result = evaluated.result
    assert [set(score) for score in result["rollout"]] == [SCORE_KEYS | {"horizon", "psnr_window"}] * 2
    assert set(result["one_step"]) == SCORE_KEYS | {"horizon", "psnr_window"}
    assert set(result["retrieval"]) == set(result["spin"]) == SCORE_KEYS | {"frames", "psnr_copy"}
    about = {"seeds", "steps", "preset_sha256", "preset", "context_frames", "world", "command", "device", "threads"}
    assert set(result) == {"rollout", "one_step", "retrieval", "spin", "torch", "elapsed_s"} | about


def test_the_json_says_what_was_evaluated(evaluated: Evaluated) -> None:
    result = evaluated.result
    assert [score["horizon"] for score in result["rollout"]] == [1, 3]
    assert result["seeds"] == [900000, 900001]
    assert result["steps"] == 2
    assert result["world"]["maps"] == [1]
    assert len(result["preset_sha256"]) == 64
    assert result["command"].startswith("worldsim eval ") and "--horizons 1 3" in result["command"]
    assert (result["retrieval"]["frames"], result["spin"]["frames"]) == (20, 8)


def test_references_are_those_of_the_true_world(evaluated: Evaluated) -> None:
    result = evaluated.result
    assert result["spin"]["psnr_copy"] > 35, "a turn ago the same was to be seen"
    assert result["one_step"]["psnr_repeat"] > result["rollout"][-1]["psnr_repeat"]
    assert result["one_step"]["psnr_repeat"] > result["one_step"]["psnr_mean_image"]


def test_progress_ends_at_its_total(evaluated: Evaluated) -> None:
    last = evaluated.progress[-1]
    assert last["state"] == "done"
    assert last["frame"] == last["total"] > 0


def test_the_sheet_is_written(evaluated: Evaluated) -> None:
    assert evaluated.sheet.read_bytes().startswith(b"\x89PNG")


def test_the_table_shows_every_task_within_80_columns(evaluated: Evaluated) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(evaluated.result))
    text = console.export_text()
    for name in ("next frame", "frame 1 ", "frame 3 ", "retrieval", "spin", "AE", "a turn"):
        assert name in text, text
    assert f"{evaluated.result['spin']['psnr']:.1f}" in text
    assert "…" not in text


def test_a_training_seed_is_refused(tiny_preset_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tiny_preset_folder), "--seeds", "5:7"]) == 2
    error = capsys.readouterr().err
    assert "error: seed 5 is not held out" in error and "hint: " in error


@pytest.mark.parametrize("options", [["--seeds", "7"], ["--steps", "0"], ["--horizons", "10", "1"], ["--threads", "0"]])
def test_arguments_that_do_not_fit_exit_with_2(tiny_preset_folder: Path, options: list[str]) -> None:
    assert main(["eval", str(tiny_preset_folder), *options]) == 2


def test_without_vizdoom_the_error_says_what_to_install(
    tiny_preset_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    assert main(["eval", str(tiny_preset_folder)]) == 8
    assert "hint: pip install vizdoom" in capsys.readouterr().err


def test_an_unknown_preset_exits_with_4() -> None:
    assert main(["eval", "no-such-preset"]) == 4
