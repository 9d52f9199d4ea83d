"""A batch equals single environments: same seeds, resets and horizon, and same frames except for rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import worldsim.envs  # noqa: F401  # registers
from worldsim.core.errors import UsageError
from worldsim.envs.batched import BatchedEnv
from worldsim.presets.store import load_preset

LEARNED = "worldsim/Preset-v0"
MAX_LEVELS = 1
"""Levels of 255 by which another order of summation may change a frame."""

Make = Callable[..., BatchedEnv]


@pytest.fixture
def make(tiny_preset_folder: Path) -> Iterator[Make]:
    made = []

    def make(num_envs: int = 3, **more: Any) -> Any:
        made.append(gymnasium.make_vec(LEARNED, num_envs=num_envs, preset=str(tiny_preset_folder), **more))
        return made[-1]

    yield make
    for envs in made:
        envs.close()


def actions(num_envs: int = 3, num: int = 8) -> list[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return [rng.random((num_envs, 5), np.float32) for _ in range(num)]


def max_levels(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b).max())


def test_batch_matches_gymnasiums_vector_of_single_environments(make: Make) -> None:
    batch, single = make(max_episode_steps=3), make(max_episode_steps=3, vectorization_mode="sync")
    assert isinstance(batch, BatchedEnv)
    assert isinstance(single, SyncVectorEnv)
    assert batch.metadata["autoreset_mode"] is single.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(batch, space) == getattr(single, space)
    (frames, infos), (expected, expected_infos) = (envs.reset(seed=[7, 4, 4]) for envs in (batch, single))
    assert np.array_equal(frames, expected)
    assert infos["seed"].tolist() == expected_infos["seed"].tolist() == [7, 4, 4]
    for action in actions(num=10):
        mine, other = batch.step(action), single.step(action)
        assert mine[0].dtype == other[0].dtype
        assert max_levels(mine[0], other[0]) <= MAX_LEVELS
        for a, b in zip(mine[1:4], other[1:4], strict=True):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
        assert set(mine[4]) == set(other[4])
        for name, value in mine[4].items():
            assert np.array_equal(value, other[4][name])


def test_only_the_truncated_row_is_reset(make: Make) -> None:
    envs = make(max_episode_steps=4)
    envs.reset(seed=0)
    walk = actions(num=4)
    for action in walk[:2]:
        envs.step(action)
    mask = np.asarray([False, True, False])
    before = envs.step(walk[2])[0]
    frames, infos = envs.reset(seed=9, options={"reset_mask": mask})
    assert np.array_equal(frames[[0, 2]], before[[0, 2]])
    assert (infos["seed"][1], infos["_seed"].tolist()) == (10, [False, True, False])
    assert envs.step(walk[3])[3].tolist() == [True, False, True]
    frames, _, _, truncated, infos = envs.step(walk[0])
    assert infos["_seed"].tolist() == [True, False, True]
    assert not truncated.any()
    fresh, _ = make(1).reset(seed=int(infos["seed"][0]))
    assert np.array_equal(frames[0], fresh[0])


def test_one_seed_gives_every_row_its_own(make: Make) -> None:
    envs = make()
    assert envs.reset(seed=5)[1]["seed"].tolist() == [5, 6, 7]
    later = envs.reset()[1]["seed"].tolist()
    assert len(set(later)) == 3
    envs.reset(seed=5)
    assert envs.reset()[1]["seed"].tolist() == later
    drawn = np.random.default_rng(0).integers(100, size=3)
    assert envs.reset(seed=drawn)[1]["seed"].tolist() == drawn.tolist()
    assert envs.reset(seed=[1, None, 2])[1]["seed"][[0, 2]].tolist() == [1, 2]


def test_without_max_episode_steps_no_episode_ends(make: Make) -> None:
    envs = make(max_episode_steps=-1)
    envs.reset(seed=0)
    assert not any(envs.step(action)[3].any() for action in actions(num=5))


def test_starts_are_for_all_or_row_by_row_and_steps_for_all(make: Make, tiny_preset_folder: Path) -> None:
    envs, starts = make(), load_preset(tiny_preset_folder).starts
    frames, infos = envs.reset(seed=0, options={"start": [1, 0, 1]})
    assert all(np.array_equal(frames[row], starts[start].frames[-1]) for row, start in enumerate([1, 0, 1]))
    assert (infos["seed"] % 2).tolist() == [1, 0, 1]
    (action,) = actions(num=1)
    envs.reset(seed=0, options={"start": 1})
    usual = envs.step(action)[0]
    envs.reset(seed=0, options={"start": 1, "steps": 4})
    assert max_levels(envs.step(action)[0], usual) > MAX_LEVELS
    envs.reset(seed=0, options={"start": 1})
    assert np.array_equal(envs.step(action)[0], usual)


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        ([1, 2], None),
        (0, {"start": [0, 1]}),
        (0, {"start": 2}),
        (0, {"mask": 1}),
        (0, {"reset_mask": np.zeros(3, bool)}),
        (0, {"reset_mask": np.ones(2, bool)}),
        (0, {"reset_mask": np.asarray([True, False, False]), "steps": 2}),
    ],
)
def test_invalid_resets_are_refused(seed: Any, options: Any, make: Make) -> None:
    envs = make()
    envs.reset(seed=0)
    with pytest.raises(UsageError):
        envs.reset(seed=seed, options=options)


@pytest.mark.parametrize("wrong", [{"num_envs": 0}, {"render_mode": "human"}, {"render_scale": 0}])
def test_factories_refuse_unknown_arguments(wrong: dict[str, Any], make: Make) -> None:
    with pytest.raises(UsageError):
        make(**wrong)


def test_step_before_reset_is_refused(make: Make) -> None:
    with pytest.raises(ResetNeeded):
        make().step(np.zeros((3, 5), np.float32))


def test_actions_have_one_row_for_each_environment(make: Make) -> None:
    envs = make()
    envs.reset(seed=0)
    for wrong in (np.zeros((2, 5)), np.full((3, 5), 2.0)):
        with pytest.raises(UsageError):
            envs.step(wrong)


def test_writing_into_an_observation_changes_nothing_else(make: Make) -> None:
    envs = make(render_mode="rgb_array", render_scale=2)
    frames, _ = envs.reset(seed=0)
    kept = frames.copy()
    frames[:] = 0
    pictures = envs.render()
    assert pictures is not None
    assert [picture.shape for picture in pictures] == [(96, 128, 3)] * 3
    assert all(np.array_equal(picture[::2, ::2], frame) for picture, frame in zip(pictures, kept, strict=True))
