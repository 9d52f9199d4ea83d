"""Speed and memory estimated from a preset's config match the measured ones."""

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
from worldsim.actions.scripted_actions import script_actions
from worldsim.cli.bench import measure, summary
from worldsim.cli.output import Progress
from worldsim.engine import estimate
from worldsim.engine.estimate import compute_model_size, estimate_play
from worldsim.engine.simulator import Simulator
from worldsim.models.config import AutoencoderConfig, SeparateDenoiserConfig, SequenceModelConfig
from worldsim.presets.config import PresetConfig
from worldsim.presets.resolve import bundled_presets
from worldsim.presets.store import load_preset

WITHIN = 0.3
ROUNDS, BENCH_FRAMES = 9, 40
LARGER_CONFIG = replace(
    TINY_CONFIG,
    name="larger",
    autoencoder=AutoencoderConfig(widths=(32, 64, 96)),
    model=SequenceModelConfig(width=240, num_layers=6, num_heads=8, denoiser=SeparateDenoiserConfig(width=96)),
)


def test_weight_count_matches_the_networks(tiny_preset_folder: Path, tiny_config: PresetConfig) -> None:
    preset, cost = load_preset(tiny_preset_folder), compute_model_size(tiny_config)
    tensors = [t for network in (preset.autoencoder, preset.model) for t in network.state_dict().values()]
    assert cost.num_weights == sum(t.numel() for t in tensors)
    assert cost.memory_bytes == 4 * cost.num_weights
    assert cost.max_multiply_adds > 2 * cost.num_weights


def test_estimate_runs_the_model_size_and_restores_torch_threads(
    tiny_config: PresetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "TIMING_S", 0.05)
    torch.manual_seed(3)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(3)
    prediction = estimate_play(tiny_config, num_steps=2)
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads
    assert prediction.frames_per_s
    assert (prediction.steps, prediction.ticks_per_s, prediction.reason) == (2, 17.5, "")


def test_oversized_model_is_counted_but_not_timed(tiny_config: PresetConfig) -> None:
    huge = replace(tiny_config, model=replace(tiny_config.model, width=8184, num_heads=1, num_layers=128))
    prediction = estimate_play(huge)
    assert prediction.frames_per_s is None and not prediction.full_speed
    assert "too large to benchmark" in prediction.reason
    assert prediction.memory_bytes > 10**11


@pytest.fixture(params=["tiny", "larger", *bundled_presets()])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Untrained presets of two sizes, and every bundled one."""
    made = {"tiny": TINY_CONFIG, "larger": LARGER_CONFIG}
    if request.param not in made:
        return bundled_presets()[request.param]
    write_tiny_preset(tmp_path / request.param, made[request.param])
    return tmp_path / request.param


@pytest.mark.slow
def test_speed_matches_the_estimate(folder: Path) -> None:
    """Estimates and measures in turn, so that a busy machine slows both."""
    preset = load_preset(folder)
    simulator = Simulator(preset)
    first = simulator.reset(0)
    actions = script_actions("explore", simulator.action_spec, 0, ROUNDS * BENCH_FRAMES)
    torch.set_num_threads(preset.config.play.cpu_threads)
    ratios = []
    for index in range(ROUNDS):
        predicted = estimate_play(preset.config).frames_per_s
        part = actions[index * BENCH_FRAMES :][:BENCH_FRAMES]
        costs = measure(simulator, first, part, Progress(BENCH_FRAMES, "bench"))
        assert predicted
        ratios.append(predicted * summary(costs)["ms_per_frame_p50"] / 1e3)
    print(f"\n{folder.name}: frames/s predicted over measured {median(ratios):.2f} of {[f'{r:.2f}' for r in ratios]}")
    assert median(ratios) == pytest.approx(1, abs=WITHIN)


PREDICT = """
import json, pathlib, sys
from worldsim.engine.estimate import estimate_play
from worldsim.presets.config import read_config_json
config, _ = read_config_json(pathlib.Path(sys.argv[1]) / "config.json")
print(json.dumps({"memory_bytes": estimate_play(config).memory_bytes}))
"""


@pytest.mark.slow
def test_memory_matches_the_estimate(folder: Path) -> None:
    """Each in its own process, so that neither affects the other's memory."""
    bench = ("-m", "worldsim", "bench", str(folder), "--device", "cpu", "--frames", "60", "--json", "-")
    predicted, measured = run_json("-c", PREDICT, str(folder)), run_json(*bench)
    ratio = predicted["memory_bytes"] / measured["rss_bytes"]
    print(f"\n{folder.name}: memory predicted over measured {ratio:.2f} of {measured['rss_bytes'] / 1e6:.0f} MB")
    assert ratio == pytest.approx(1, abs=WITHIN)


def run_json(*command: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
