"""tools/compare.py: architectures with equal training budgets, and results that the report reads."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from worldsim.evaluation.policies import spin_ticks
from worldsim.evaluation.report.results import read_results
from worldsim.models.sequence.architectures import ARCHITECTURES, match_parameters
from worldsim.presets.config import read_preset_toml

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "presets" / "comparison" / "preset.toml"


@pytest.fixture(scope="module")
def compare() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("compare", ROOT / "tools" / "compare.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["compare"] = importlib.util.module_from_spec(spec)  # where its dataclass looks for itself
    spec.loader.exec_module(module)
    yield module
    del sys.modules["compare"]


def test_the_control_model_cannot_look_back_one_turn(compare: ModuleType) -> None:
    """Through all its layers: each reaches a window less one further back."""
    preset, _ = read_preset_toml(RECIPE)
    turn = spin_ticks(preset.ground_truth_config.turn_deg)
    control = match_parameters(preset.model, "causal-window")
    windows = compare.WINDOWS
    assert set(windows) <= set(ARCHITECTURES)
    assert control.num_layers * (windows["causal-window"].window_frames - 1) < turn
    assert windows["bidirectional"].window_frames < turn


@pytest.mark.slow
def test_a_comparison_gives_results_for_the_report_and_can_be_scored_again(
    compare: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = tmp_path / "preset.toml"
    small = {"min_buffer_episodes = 2500": "min_buffer_episodes = 4", "batch_clips = 16": "batch_clips = 2"}
    text = RECIPE.read_text(encoding="utf-8")
    for old, new in {**small, "width = 96": "width = 48", "num_heads = 4": "num_heads = 2"}.items():
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text, encoding="utf-8")
    monkeypatch.setattr(compare, "NUM_EPISODES", 3)
    options = [str(recipe), "--autoencoder", str(ROOT / "presets" / "maze"), "--updates", "2"]
    options += ["--architectures", "full", "causal-window", "--out", str(tmp_path / "out")]
    compare.main(options)
    paths = sorted((tmp_path / "out").glob("*.json"))
    assert [path.stem for path in paths] == ["causal-window-1", "full-1"]
    before = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    assert {run["updates"] for run in before} == {2} and len({run["frames"] for run in before}) == 1
    assert all(5 < run["scores"]["second_turn"]["value"] < 40 for run in before)
    compare.main([*options, "--rescore", "--contact-sheet", str(tmp_path / "sheet.png")])
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert [json.loads(path.read_text(encoding="utf-8")) for path in paths] == before
    assert len(read_results(paths).runs) == 2
