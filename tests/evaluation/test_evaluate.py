"""An evaluation on recordings, and errors when there is nothing to compare with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.episodes.recordings import record
from worldsim.core.errors import ConfigError, RecordingError
from worldsim.evaluation.config import EvalConfig
from worldsim.evaluation.episodes import TaskLengths
from worldsim.evaluation.evaluate import EvaluationReport, evaluate, num_progress_frames
from worldsim.presets.config import PresetConfig
from worldsim.presets.store import load_preset
from worldsim.worlds.recorded import RecordedWorldConfig

SHORT = EvalConfig(
    seeds=(900_000, 900_001),
    horizons=(1, 6),
    context_frames=4,
    one_step_frames=3,
    reasoning_context=8,
    reasoning_frames=6,
    drift_distances=(3, 6),
    drift_seeds=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval")
    record(folder / "s", 40, 9, is_lossless=True)
    return folder


@pytest.fixture(scope="module")
def progress() -> list[int]:
    return []


@pytest.fixture(scope="module")
def report(tiny_preset_folder: Path, folder: Path, progress: list[int]) -> EvaluationReport:
    return evaluate(load_preset(tiny_preset_folder), SHORT, data=str(folder), on_progress=progress.append)


def test_recordings_replace_the_reference_world_for_tasks_that_need_none(report: EvaluationReport) -> None:
    assert set(report.scores) == {"one_step", "rollout", "reasoning", "drift"}
    assert set(report.left_out) == {"retrieval", "reverse", "tour", "spin", "loop", "fidelity", "idle"}
    assert all("reference world" in reason for reason in report.left_out.values())
    assert [score.horizon for score in report.scores["rollout"]] == [1, 6]
    assert [score.distance for score in report.scores["drift"]] == [3, 6]
    assert report.scores["reasoning"].regions is None
    assert report.scores["one_step"].psnr_repeat < 40, "the recorded frames change"


def test_the_json_names_the_run_and_contains_no_local_path(report: EvaluationReport, folder: Path) -> None:
    result = report.to_json()
    assert result["config"]["horizons"] == (1, 6) and result["seeds"] == [900_000, 900_001]
    assert result["preset_sha256"] == report.preset_sha256 and len(result["versions"]) == 4
    assert set(result["seconds"]) == {"walks", "one_step", "rollout", "reasoning", "drift"}
    assert len(result["reasoning"]["psnr_by_seed"]) == len(result["reasoning"]["seeds"]) == 2
    assert str(folder) not in str(result)
    assert {"frechet_latent", "frechet_latent_low", "frechet_latent_autoencoder"} <= set(
        result["comparison"]["rollout"]
    )


def test_the_number_of_progress_frames_is_known_in_advance(
    report: EvaluationReport, progress: list[int], tiny_preset_folder: Path, tiny_config: PresetConfig
) -> None:
    config = replace(SHORT, tasks=tuple(report.scores))
    assert sum(progress) == num_progress_frames(config, tiny_config, "data")


def test_a_task_without_a_long_enough_recording_is_skipped_with_the_reason(
    tiny_preset_folder: Path, folder: Path
) -> None:
    long = replace(SHORT, tasks=("one_step", "reasoning"), reasoning_frames=200)
    report = evaluate(load_preset(tiny_preset_folder), long, data=str(folder))
    assert set(report.scores) == {"one_step"}
    assert "208 consecutive frames" in report.left_out["reasoning"]
    with pytest.raises(RecordingError):
        evaluate(load_preset(tiny_preset_folder), replace(long, tasks=("reasoning",)), data=str(folder))


def test_a_single_frame_has_no_distribution_scores(tiny_preset_folder: Path, folder: Path) -> None:
    config = replace(SHORT, tasks=("rollout",), horizons=(1,), seeds=SHORT.seeds[:1])
    report = evaluate(load_preset(tiny_preset_folder), config, data=str(folder))
    assert len(report.scores["rollout"]) == 1 and not report.comparison


def test_a_preset_trained_on_recordings_requires_recordings(tiny_config: PresetConfig) -> None:
    world = RecordedWorldConfig(buttons=("forward",), frame_height_px=48, frame_width_px=64)
    with pytest.raises(ConfigError) as caught:
        num_progress_frames(SHORT, replace(tiny_config, world=world))
    assert "--data" in caught.value.hint and "rollout" in caught.value.hint
    assert num_progress_frames(SHORT, replace(tiny_config, world=world), "data") > 0


def test_the_second_turn_follows_a_full_one_and_no_context_is_shorter_than_in_play(tiny_config: PresetConfig) -> None:
    lengths = TaskLengths.of(SHORT, replace(tiny_config, play=replace(tiny_config.play, context_frames=20)), 10.0)
    assert (lengths.context["spin"], lengths.total["spin"]) == (37, 73)
    assert {lengths.context[task] for task in ("one_step", "rollout", "fidelity", "drift")} == {20}
