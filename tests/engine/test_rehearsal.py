"""What a preset will take is known from its config, and is what it then takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from tests.conftest import TINY_CONFIG, write_tiny_preset
from worldsim.engine import rehearsal
from worldsim.engine.rehearsal import predict
from worldsim.models.config import AutoencoderConfig, WorldModelConfig
from worldsim.presets.config import PresetConfig
from worldsim.presets.cost import cost_of
from worldsim.presets.resolve import bundled_presets
from worldsim.presets.store import load_preset

WITHIN = 0.3
ROUNDS, BENCH_FRAMES = 3, 150
LARGER_CONFIG = replace(
    TINY_CONFIG,
    name="larger",
    autoencoder=AutoencoderConfig(widths=(32, 64, 96)),
    model=WorldModelConfig(width=240, num_layers=6, num_heads=8, blocks=((1, 1), (0, 0)), denoiser_width=96),
)


def test_the_count_of_weights_is_that_of_the_networks(tiny_preset_folder: Path, tiny_config: PresetConfig) -> None:
    preset, cost = load_preset(tiny_preset_folder), cost_of(tiny_config)
    tensors = [t for network in (preset.autoencoder, preset.model) for t in network.state_dict().values()]
    assert cost.num_weights == sum(t.numel() for t in tensors)
    assert cost.memory_bytes == 4 * cost.num_weights
    assert 0.5 * cost.memory_bytes <= cost.file_bytes < 0.65 * cost.memory_bytes
    assert cost.max_multiply_adds > 2 * cost.num_weights


def test_a_prediction_plays_the_sizes_and_leaves_torch_as_it_was(
    tiny_config: PresetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "REHEARSAL_S", 0.05)
    torch.manual_seed(3)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(3)
    prediction = predict(tiny_config, num_steps=2)
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads
    assert prediction.frames_per_s and prediction.stages and prediction.state_bytes
    assert 1e3 / prediction.frames_per_s == pytest.approx(prediction.stages.ms_total, rel=0.3)
    assert (prediction.steps, prediction.ticks_per_s, prediction.reason) == (2, 17.5, "")


def test_what_is_too_large_is_counted_and_not_tried(tiny_config: PresetConfig) -> None:
    huge = replace(tiny_config, model=replace(tiny_config.model, width=8184, num_heads=1, num_layers=128))
    prediction = predict(huge)
    assert prediction.frames_per_s is None and not prediction.full_speed
    assert "too large to be tried" in prediction.reason
    assert prediction.memory_bytes > 10**11


def run_json(*command: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


PREDICT = """
import dataclasses, json, pathlib, sys
from worldsim.engine.rehearsal import predict
from worldsim.presets.config import read_config_json
config, _ = read_config_json(pathlib.Path(sys.argv[1]) / "config.json")
print(json.dumps(dataclasses.asdict(predict(config))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "larger", *bundled_presets()])
def test_speed_and_memory_are_as_predicted(name: str, tmp_path: Path) -> None:
    """Predicted and measured in turn, each in a process of its own, so that a busy machine slows both."""
    folder = bundled_presets().get(name, tmp_path / name)
    if name in ("tiny", "larger"):
        write_tiny_preset(folder, TINY_CONFIG if name == "tiny" else LARGER_CONFIG)
    bench = ("-m", "worldsim", "bench", str(folder), "--device", "cpu", "--frames", str(BENCH_FRAMES), "--json", "-")
    rounds = [(run_json("-c", PREDICT, str(folder)), run_json(*bench)) for _ in range(ROUNDS)]
    speed = median(p["frames_per_s"] * m["ms_per_frame_p50"] / 1e3 for p, m in rounds)
    memory = median(p["memory_bytes"] / m["rss_bytes"] for p, m in rounds)
    print(f"\n{name}: predicted over measured: frames/s {speed:.2f}, memory {memory:.2f}")
    assert 1 - WITHIN < speed < 1 / (1 - WITHIN)
    assert 1 - WITHIN < memory < 1 / (1 - WITHIN)
