"""`worldsim eval`: JSON keys, exit codes, a small evaluation from end to end."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console

from tests.conftest import write_tiny_preset
from worldsim.cli.eval import tables
from worldsim.cli.main import main
from worldsim.core.install import install_hint
from worldsim.evaluation.config import POSE_TASKS, TASKS
from worldsim.presets.config import PresetConfig
from worldsim.worlds.recorded import RecordedWorldConfig

SHORT_LENGTHS = (
    *("context_frames=4", "one_step_frames=2", "retrieval_frames=40", "reasoning_context=30", "reasoning_frames=8"),
    *("loop_context=20", "loop_frames=6", "fidelity_frames=24", "idle_settle=16", "idle_frames=6"),
    *("drift_distances=[4, 8]", "drift_seeds=1", "probe_seeds=2", "probe_frames=24", "probe_updates=3"),
    "training_seeds=2",
)


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
    lengths = [f"--set={line}" for line in SHORT_LENGTHS]
    assert main([*command, *options, *lengths, "--sheet", str(files["sheet.png"]), "--device", "cpu"]) == 0
    lines = files["progress.jsonl"].read_text().splitlines()
    return Evaluated(
        json.loads(files["scores.json"].read_text()), [json.loads(line) for line in lines], files["sheet.png"]
    )


def test_the_json_has_every_task_and_the_settings_to_reproduce_it(evaluated: Evaluated) -> None:
    result = evaluated.result
    tasks = set(TASKS) - set(POSE_TASKS)
    assert set(result["left_out"]) == set(POSE_TASKS), "the model is conditioned on actions"
    assert tasks < set(result)
    about = {"seeds", "steps", "preset_sha256", "preset", "context_frames", "world", "command", "device", "threads"}
    about |= {"comparison", "left_out", "config", "seconds", "versions", "torch", "elapsed_s"}
    assert set(result) == tasks | about
    assert set(result["seconds"]) == {"walks", *tasks}
    for task in ("retrieval", "reasoning", "spin", "loop"):
        regions = result[task]["regions"]
        shares = [regions[name]["share"] if regions[name] else 0.0 for name in ("seen", "never_seen")]
        assert sum(shares) == pytest.approx(1.0), "every pixel was seen before or was not"


def test_the_json_describes_the_preset(evaluated: Evaluated) -> None:
    result = evaluated.result
    assert [score["horizon"] for score in result["rollout"]] == [1, 3]
    assert [score["distance"] for score in result["drift"]] == [4, 8]
    assert result["seeds"] == result["spin"]["seeds"] == [900000, 900001]
    assert result["drift"][0]["seeds"] == [900000]
    assert result["steps"] == 2
    assert result["world"]["maps"] == [1]
    assert len(result["preset_sha256"]) == 64
    assert (result["retrieval"]["frames"], result["spin"]["frames"]) == (20, 8)


def test_the_stored_command_names_no_absolute_path(evaluated: Evaluated) -> None:
    command = evaluated.result["command"]
    assert command.startswith("worldsim eval tiny ") and "--horizons 1 3" in command
    assert str(evaluated.sheet.parent) not in json.dumps(evaluated.result)


def test_idle_is_compared_with_a_still_reference_world(evaluated: Evaluated) -> None:
    idle = evaluated.result["idle"]
    assert idle["change_true"] < 0.5 and idle["psnr_first_true"] > 40


def test_the_probe_scores_every_input(evaluated: Evaluated) -> None:
    fidelity = evaluated.result["fidelity"]
    assert list(fidelity["by_input"]) == ["forward", "back", "left", "right", "turn"]
    assert fidelity["probe_frames"] == 48 and 0.0 <= fidelity["accuracy_true"] <= 1.0


def test_baselines_are_computed_from_the_reference_world(evaluated: Evaluated) -> None:
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


def test_the_tables_show_every_task_within_80_columns(evaluated: Evaluated) -> None:
    text = shown(evaluated.result)
    for name in (
        "next-frame",
        "rollout@1 ",
        "rollout@3 ",
        "retrieval",
        "reasoning",
        "revisit",
        "loop closure",
        "AE",
        "turn",
    ):
        assert name in text, text
    for name in ("seen before", "best match", "actions", "chance", "drift", "frame 8", "idle, 6 frames", "Frechet"):
        assert name in text, text
    assert f"{evaluated.result['spin']['psnr']:.1f}" in text
    assert "…" not in text and "nan" not in text


def test_skipped_tasks_are_shown_with_the_reason(evaluated: Evaluated) -> None:
    few = {name: value for name, value in evaluated.result.items() if name not in TASKS}
    text = shown({**few, "comparison": {}, "left_out": {"loop": "no loop"}, "spin": evaluated.result["spin"]})
    assert "loop closure skipped: no loop" in text and "revisit" in text
    assert "retrieval" not in text and "drift" not in text and "actions" not in text


def shown(result: dict[str, Any]) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    for table in tables(result):
        console.print(table)
    return console.export_text()


def test_a_preset_trained_on_recordings_needs_data_to_compare_with(
    tiny_config: PresetConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = RecordedWorldConfig(buttons=("forward",), frame_height_px=48, frame_width_px=64)
    write_tiny_preset(tmp_path / "own", replace(tiny_config, world=world))
    assert main(["eval", str(tmp_path / "own")]) == 3
    error = capsys.readouterr().err
    assert "no reference world" in error and "--data" in error


def test_a_training_seed_is_an_error(tiny_preset_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tiny_preset_folder), "--seeds", "5:7"]) == 2
    error = capsys.readouterr().err
    assert "error: seed 5 is not held out" in error and "hint: " in error


@pytest.mark.parametrize(
    "options",
    [
        ["--seeds", "7:7"],
        ["--steps", "0"],
        ["--horizons", "10", "1"],
        ["--threads", "0"],
        ["--tasks", "rollout,walk"],
        ["--lpips", "no.pt"],
    ],
)
def test_invalid_arguments_exit_with_2(tiny_preset_folder: Path, options: list[str]) -> None:
    assert main(["eval", str(tiny_preset_folder), *options]) == 2


def test_without_vizdoom_the_hint_says_what_to_install(
    tiny_preset_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    assert main(["eval", str(tiny_preset_folder)]) == 8
    assert f"hint: {install_hint('doom')}" in capsys.readouterr().err


def test_an_unknown_preset_exits_with_4() -> None:
    assert main(["eval", "no-such-preset"]) == 4
