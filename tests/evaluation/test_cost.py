"""Measurements of each architecture, and detection of growing costs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from worldsim.core.errors import ConfigError, UsageError
from worldsim.evaluation import cost
from worldsim.evaluation.cost import ArchitectureCosts, CostConfig, TrainingSample, measure_costs, sampled_frames
from worldsim.models.build import build_world_model
from worldsim.models.sequence.architectures import ARCHITECTURES
from worldsim.models.world_model import FrameContext, WorldModel

TINY = CostConfig(architectures=("full", "mamba2"), width=12, frames=30, contexts=(3, 4), rounds=1)


def growing_model(*arguments: Any) -> WorldModel:
    """A model whose state also keeps a copy of every frame, one kB each."""
    model = build_world_model(*arguments)
    commit = model.commit

    def keep(context: FrameContext, latent_BCHW: torch.Tensor, *rest: Any, **options: Any) -> Any:
        kept = context.state.tensors.get("kept", torch.empty(0))
        state = commit(context, latent_BCHW, *rest, **options)
        return replace(state, tensors={**state.tensors, "kept": torch.cat((kept, torch.ones(250)))})

    model.commit = keep
    return model


def test_every_architecture_is_measured_at_the_same_clips_and_frames() -> None:
    progress = []
    result = measure_costs(TINY, on_progress=progress.append)
    assert sum(progress) == TINY.num_progress_frames
    assert list(result["architectures"]) == ["full", "mamba2"]
    for costs in result["architectures"].values():
        assert [sample["context_frames"] for sample in costs["training"]] == [3, 4]
        assert [sample["frame"] for sample in costs["generation"]] == [3, 5, 10, 20, 30]
        assert min(sample["ms"] for sample in costs["training"] + costs["generation"]) > 0
        assert len({sample["state_bytes"] for sample in costs["generation"]}) == 1, "a scan's state has one size"
        assert costs["stopped"] is None


def test_every_architecture_can_be_built_at_the_measured_size() -> None:
    names = tuple(ARCHITECTURES)
    result = measure_costs(CostConfig(architectures=names, frames=2, contexts=(5,), rounds=1))
    sizes = [costs["parameters"] for costs in result["architectures"].values()]
    assert list(result["architectures"]) == list(names)
    assert max(sizes) / min(sizes) < 1.05, "matched in parameters"
    measured = [costs for costs in result["architectures"].values() if costs["same_as"] is None]
    assert len(measured) >= 5 and all(len(costs["generation"]) == 2 for costs in measured)


def test_the_same_network_is_measured_once() -> None:
    result = measure_costs(replace(TINY, architectures=("full", "no-clean-prefix"), frames=2, contexts=()))
    twin = result["architectures"]["no-clean-prefix"]
    assert (twin["same_as"], twin["generation"]) == ("full", [])
    assert twin["parameters"] == result["architectures"]["full"]["parameters"]


def test_a_growing_state_shows_in_the_samples_and_stops_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "build_world_model", growing_model)
    plan = replace(TINY, architectures=("mamba2",), frames=200, contexts=(), limit_mb=0.08)
    costs = measure_costs(plan)["architectures"]["mamba2"]
    sizes = [sample["state_bytes"] for sample in costs["generation"]]
    assert [b - a for a, b in pairwise(sizes)] == [30_000, 50_000]
    assert [sample["frame"] for sample in costs["generation"]] == [20, 50, 100]
    assert costs["stopped"].startswith("stopped at frame 100: its state grew to 0.1 MB")


def test_a_late_frame_is_compared_with_the_early_one_of_the_same_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost._ArchitectureRun, "generate_ms", lambda _, state: 0.5 * state.frame_index)
    costs = measure_costs(replace(TINY, architectures=("full",), frames=100, contexts=()))["architectures"]["full"]
    found = [(sample["frame"], sample["ms"], sample["ms_ratio"]) for sample in costs["generation"]]
    assert found == [(10, 5, 1), (20, 10, 2), (50, 25, 5), (100, 50, 10)]


def test_the_exponent_is_that_of_the_longest_two_clips() -> None:
    samples = [TrainingSample(context_frames=n, ms=ms) for n, ms in ((8, 9.0), (16, 10.0), (32, 40.0))]
    assert ArchitectureCosts(summary="", parameters=1, training=samples).training_exponent == pytest.approx(2)
    assert ArchitectureCosts(summary="", parameters=1, training=samples[:1]).training_exponent is None


def test_samples_follow_a_1_2_5_series() -> None:
    assert sampled_frames(100_000) == [100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000]
    assert sampled_frames(300) == [30, 50, 100, 200, 300]
    assert sampled_frames(2) == [1, 2]


def test_invalid_cost_configs_are_rejected() -> None:
    with pytest.raises(UsageError, match="contexts are"):
        replace(TINY, contexts=(4, 4))
    with pytest.raises(UsageError, match="must be positive"):
        replace(TINY, frames=1)
    with pytest.raises(ConfigError, match="no architecture 'mamba'"):
        replace(TINY, architectures=("mamba",))
