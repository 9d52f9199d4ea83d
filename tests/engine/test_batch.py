"""A row of a batch equals a Simulator: same frames except for rounding, independent of other rows and resets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.conftest import TINY_CONFIG, mapped, write_tiny_preset
from worldsim.actions.scripted_actions import script_actions
from worldsim.core.errors import NonFiniteError
from worldsim.core.types import NO_ACTION, Action
from worldsim.engine.batch import BatchSimulator
from worldsim.engine.simulator import Simulator
from worldsim.models.config import FixedMapConfig, MapModelConfig, SharedDenoiserConfig, SpatialMapConfig
from worldsim.presets.resolve import bundled_presets
from worldsim.presets.store import Preset, load_preset

FORWARD, TURN = Action.of("forward"), Action.of("left", turn=1.0)
WALKS = [[FORWARD, TURN, FORWARD, NO_ACTION] * 5, [TURN, TURN, NO_ACTION, FORWARD] * 5, [NO_ACTION] * 20]
"""One list per row, one action per tick."""
SEEDS = (7, 4, 4)
MAX_LEVELS = 1
"""Levels of 255 by which another order of summation may change a frame."""


@pytest.fixture(scope="module")
def preset(tiny_preset_folder: Path) -> Preset:
    return load_preset(tiny_preset_folder)


@pytest.fixture
def batch(preset: Preset) -> BatchSimulator:
    batch = BatchSimulator(preset, 3)
    batch.reset(dict(enumerate(SEEDS)))
    return batch


def played(batch: BatchSimulator, walks: list[list[Action]]) -> list[npt.NDArray[np.uint8]]:
    return [batch.step(actions) for actions in zip(*walks, strict=True)]


def max_levels(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b).max())


MODELS = {
    "trunk": TINY_CONFIG.model,
    "two-stream": replace(TINY_CONFIG.model, denoiser=SharedDenoiserConfig()),
    "mapped-fixed": mapped(TINY_CONFIG, FixedMapConfig(width=16)).model,
    "mapped-spatial": mapped(TINY_CONFIG, SpatialMapConfig(width=16)).model,
    "map-fixed": MapModelConfig(map=FixedMapConfig(width=16)),
    "map-spatial": MapModelConfig(map=SpatialMapConfig(width=16)),
}


@pytest.mark.parametrize("form", MODELS)
def test_batch_row_matches_the_simulator(form: str, tmp_path: Path) -> None:
    write_tiny_preset(tmp_path, replace(TINY_CONFIG, model=MODELS[form]))
    preset = load_preset(tmp_path)
    batch, one = BatchSimulator(preset, 3, num_steps=2), Simulator(preset, num_steps=2)
    first = batch.reset(dict(enumerate(SEEDS)))
    frames = played(batch, WALKS)
    for row, (seed, walk) in enumerate(zip(SEEDS, WALKS, strict=True)):
        assert np.array_equal(one.reset(seed).frame, first[row])
        found = max(max_levels(one.step(a).frame, f[row]) for a, f in zip(walk, frames, strict=True))
        assert found <= MAX_LEVELS, f"row {row} differs by {found} levels"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(bundled_presets()))
def test_batch_row_of_a_bundled_preset_matches_the_simulator(name: str) -> None:
    preset = load_preset(name)
    batch, one = BatchSimulator(preset, 4), Simulator(preset)
    walks = [script_actions("explore", batch.action_spec, row, 40) for row in range(4)]
    batch.reset({row: 100 + row for row in range(4)})
    frames = played(batch, walks)
    one.reset(102)
    found = max(max_levels(one.step(a).frame, f[2]) for a, f in zip(walks[2], frames, strict=True))
    assert found <= MAX_LEVELS, f"differs by {found} levels"


def test_comparison_detects_a_different_action_or_seed(batch: BatchSimulator) -> None:
    frames = played(batch, WALKS)[-1]
    assert max_levels(frames[0], frames[1]) > MAX_LEVELS
    assert max_levels(frames[1], frames[2]) > MAX_LEVELS, "the same seed, other actions"


def test_rows_are_independent(batch: BatchSimulator) -> None:
    frames = played(batch, WALKS)
    batch.reset(dict(enumerate((SEEDS[0], 100, 101))))
    others = played(batch, [WALKS[0], WALKS[2], WALKS[1]])
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(frames, others, strict=True))


def test_resetting_one_row_leaves_the_others_unchanged(batch: BatchSimulator) -> None:
    whole = played(batch, WALKS)
    batch.reset(dict(enumerate(SEEDS)))
    played(batch, [walk[:5] for walk in WALKS])
    again = batch.reset({1: SEEDS[1]})
    assert again.shape == (1, *batch.frame_shape)
    rest = played(batch, [WALKS[0][5:10], WALKS[1][:5], WALKS[2][5:10]])
    for tick, frames in enumerate(rest):
        assert np.array_equal(frames[1], whole[tick][1])
        assert np.array_equal(frames[[0, 2]], whole[5 + tick][[0, 2]])


def test_seeds_with_the_same_start_share_its_replay_but_not_noise(preset: Preset) -> None:
    batch = BatchSimulator(preset, 2)
    first = batch.reset({0: 1, 1: 3})  # with two starts, both seeds begin at the second
    assert np.array_equal(first[0], first[1])
    frames = batch.step([FORWARD, FORWARD])
    assert not np.array_equal(frames[0], frames[1])


def test_nan_in_one_row_is_reported_and_no_row_advances(tiny_preset_folder: Path) -> None:
    preset = load_preset(tiny_preset_folder)
    starts = tuple(replace(start, actions=np.zeros_like(start.actions)) for start in preset.starts)
    with torch.no_grad():  # turning overflows, other actions do not
        preset.model.embed_action[0].weight[:, preset.config.action_spec.buttons.index("left")] = 3e38
    batch = BatchSimulator(replace(preset, starts=starts), 3)
    batch.reset(dict(enumerate(SEEDS)))
    expected = batch.step([FORWARD] * 3)
    batch.reset(dict(enumerate(SEEDS)))
    with pytest.raises(NonFiniteError) as caught:
        batch.step([FORWARD, TURN, FORWARD])
    assert "[1]" in caught.value.message
    assert np.array_equal(batch.step([FORWARD] * 3), expected)
