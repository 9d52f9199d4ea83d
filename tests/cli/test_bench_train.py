"""`worldsim bench train`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldsim.cli import bench_train
from worldsim.cli.bench_train import BenchTrain, read_recipe
from worldsim.cli.main import main

RECIPE = """
name = "tiny"
title = "A tiny maze"
[world]
maps = [1]
[autoencoder]
latent_channels = 4
widths = [4, 4, 8]
[model]
width = 24
num_layers = 1
num_heads = 2
scan = { state_dim = 4 }
attention = { window_frames = 2 }
denoiser = { width = 16, num_blocks = 1 }
[training.compute]
compile = true
[training.sequence]
clip_frames = 4
batch_clips = 8
"""
PROMISED_KEYS = {
    "parameters",
    "frames_per_update",
    "update_ms",
    "frames_per_s",
    "flop_per_frame",
    "flop_per_s",
    "product_flop_per_s",
    "utilisation",
    "utilisation_of_peak",
    "peak_bytes",
    "dtype",
    "device",
    "threads",
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(bench_train, "PRODUCT_S", 0.01)
    monkeypatch.setattr(bench_train, "CPU_PRODUCT_SIZE", 64)
    (tmp_path / "preset.toml").write_text(RECIPE, encoding="utf-8")
    return str(tmp_path / "preset.toml")


def test_results_are_printed_and_written_as_json(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    options = ["--steps", "1", "--batch-clips", "4", "--no-compile", "--device", "cpu", "--json", str(out)]
    more = ["--peak-tflops", "0.5", "--link-gb-per-s", "1e-6", "--frames-to-train", "1e6"]
    assert main(["bench", "train", recipe, *options, *more]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result.keys() >= PROMISED_KEYS
    assert (result["frames_per_update"], result["dtype"], result["compiled"]) == (16, "float32", False)
    assert result["frames_per_s"] == pytest.approx(16e3 / result["update_ms"])
    assert result["flop_per_s"] == pytest.approx(result["flop_per_frame"] * result["frames_per_s"])
    assert result["utilisation"] == pytest.approx(result["flop_per_s"] / result["product_flop_per_s"])
    assert result["utilisation_of_peak"] == pytest.approx(result["flop_per_s"] / 0.5e12)
    assert [p["devices"] for p in result["predicted"]] == [1, 8, 64]
    assert result["predicted"][0]["hours"] == pytest.approx(1e6 / result["frames_per_s"] / 3600)
    assert result["predicted"][2]["efficiency"] < result["predicted"][1]["efficiency"] < 1, "a link as slow as that"
    shown = capsys.readouterr().out
    assert "tiny (dynamics)" in shown and "4 clips of 4" in shown and "eager" in shown
    assert "predicted, not measured: 1 million frames" in shown and "of --peak-tflops" in shown


def test_options_override_the_recipe(recipe: str) -> None:
    _, training = read_recipe(BenchTrain(recipe=recipe))
    assert training.compute.compile and training.sequence.batch_clips == 8
    _, other = read_recipe(BenchTrain(recipe=recipe, no_compile=True, batch_clips=3, stage="autoencoder"))
    assert not other.compute.compile
    assert (other.autoencoder.batch_frames, other.sequence.batch_clips) == (3, 8)


@pytest.mark.parametrize("name", ["maze", "maze-random", "maze-large-50m", "maze-large-200m"])
def test_bundled_recipes_are_found_by_name_even_if_untrained(name: str) -> None:
    preset, _ = read_recipe(BenchTrain(recipe=name))
    assert preset.name == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "--steps is 0"),
        (["--updates", "0"], "--steps is 0"),
        (["--batch-clips", "0"], "--batch-clips is 0"),
        (["--link-gb-per-s", "0"], "--link-gb-per-s is 0"),
        (["--train", "--play", "2"], "--train and --play cannot be combined"),
    ],
)
def test_invalid_options_are_errors(
    recipe: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", recipe] if "--train" in options else ["bench", "train", recipe]
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_recipe_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", "maze-larg"]) == 4
    assert "no recipe maze-larg" in capsys.readouterr().err
