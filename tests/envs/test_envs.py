"""Gymnasium environments: Gymnasium's own checker, seeds, options, horizon, spaces and rendering."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import worldsim.envs  # noqa: F401  # registers
from worldsim.core.errors import PresetNotFoundError, UsageError
from worldsim.core.install import install_hint
from worldsim.core.types import Action
from worldsim.engine.simulator import Simulator
from worldsim.envs import MAX_EPISODE_STEPS
from worldsim.presets.config import read_config_json
from worldsim.presets.resolve import bundled_presets
from worldsim.presets.store import load_preset
from worldsim.worlds.trajectories import EVALUATION_SEED_START

ROOT = Path(__file__).parents[2]
LEARNED, TRUE = "worldsim/Preset-v0", "worldsim/World-v0"
FORWARD = np.asarray([1, 0, 0, 0, 0], np.float32)
TURN = np.asarray([0, 0, 0, 0, 1], np.float32)

Make = Callable[..., Any]


@pytest.fixture
def make(tiny_preset_folder: Path) -> Iterator[Make]:
    """Creates environments of the tiny preset, learned by default, and closes them at the end."""
    made = []

    def make(name: str = LEARNED, **more: Any) -> Any:
        made.append(gymnasium.make(name, preset=str(tiny_preset_folder), **more))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.fixture
def _no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows without a display."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.mark.usefixtures("_no_screen")
@pytest.mark.parametrize("name", [LEARNED, TRUE])
def test_gymnasium_env_checker_passes(name: str, make: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(make(name, disable_env_checker=True).unwrapped)


def test_learned_and_reference_world_have_the_same_spaces(make: Make) -> None:
    learned, true = make(), make(TRUE)
    assert learned.observation_space == true.observation_space
    assert learned.action_space == true.action_space
    assert learned.metadata["render_fps"] == true.metadata["render_fps"]


def test_spaces_come_from_the_action_spec(make: Make) -> None:
    env = make()
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (48, 64, 3), np.uint8)
    assert env.action_space.low.tolist() == [0, 0, 0, 0, -1]
    assert env.action_space.high.tolist() == [1] * 5


def test_frames_match_the_simulator_and_reward_is_zero(make: Make, tiny_preset_folder: Path) -> None:
    env, simulator = make(), Simulator(load_preset(tiny_preset_folder))
    frame, info = env.reset(seed=5)
    assert info == {"seed": 5}
    assert np.array_equal(frame, simulator.reset(5).frame)
    frame, reward, terminated, truncated, _ = env.step(FORWARD)
    assert np.array_equal(frame, simulator.step(Action.of("forward")).frame)
    assert (reward, terminated, truncated) == (0.0, False, False)
    frame, *_ = env.step(TURN)
    assert np.array_equal(frame, simulator.step(Action.of(turn=1.0)).frame)


def test_writing_into_a_frame_changes_nothing_else(make: Make, tiny_preset_folder: Path) -> None:
    env = make(render_mode="rgb_array")
    first, _ = env.reset(seed=5)
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(env.render(), kept)
    assert np.array_equal(env.reset(seed=5)[0], kept)


def test_sampled_seed_is_never_an_evaluation_seed(make: Make) -> None:
    def drawn(seed: int) -> list[int]:
        env.reset(seed=seed)
        return [env.reset()[1]["seed"] for _ in range(20)]

    env = make()
    seeds = drawn(1)
    assert len(set(seeds)) == 20
    assert max(seeds) < EVALUATION_SEED_START
    assert drawn(1) == seeds
    assert drawn(2) != seeds


def test_options_choose_the_start_and_the_steps_of_one_episode(make: Make, tiny_preset_folder: Path) -> None:
    env, starts = make(), load_preset(tiny_preset_folder).starts
    for start in (0, 1):
        frame, info = env.reset(seed=4, options={"start": start})
        assert np.array_equal(frame, starts[start].frames[-1])
        assert info["seed"] % 2 == start
    assert np.array_equal(env.reset(seed=info["seed"])[0], frame), "the seed in info determines the episode"

    def second(**options: int) -> Any:
        env.reset(seed=4, options=options)
        return env.step(FORWARD)[0]

    usual = second()
    assert not np.array_equal(second(steps=4), usual)
    assert np.array_equal(second(), usual), "the option applies to one episode"
    assert np.array_equal(make(steps=4).unwrapped.reset(seed=4)[0], env.reset(seed=4)[0])


def test_steps_of_the_factory_apply_to_every_episode(make: Make) -> None:
    usual, more = make(), make(steps=4)
    for env in (usual, more):
        env.reset(seed=4)
    four = more.step(FORWARD)[0]
    assert not np.array_equal(four, usual.step(FORWARD)[0])
    usual.reset(seed=4, options={"steps": 4})
    assert np.array_equal(usual.step(FORWARD)[0], four)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"stert": 1}, "did you mean 'start'?"),
        ({"start": 2}, "the preset has starts 0 to 1"),
        ({"steps": 0}, "must be at least 1"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, int], hint: str, make: Make) -> None:
    with pytest.raises(UsageError) as caught:
        make().reset(options=options)
    assert caught.value.hint == hint


def test_reference_world_has_no_recorded_starts(make: Make) -> None:
    with pytest.raises(UsageError, match="unknown option 'start'"):
        make(TRUE).reset(options={"start": 0})


@pytest.mark.parametrize("action", [[1, 0, 0, 0, 1.5], [1, 0, 0, 0, float("nan")], [-0.5, 0, 0, 0, 0], [1, 0, 0, 0]])
def test_out_of_bounds_actions_are_refused(action: list[float], make: Make) -> None:
    env = make().unwrapped
    env.reset(seed=0)
    with pytest.raises(UsageError):
        env.step(action)


def test_an_episode_is_truncated_at_the_horizon_and_never_terminated(make: Make) -> None:
    env = make(max_episode_steps=3)
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(FORWARD)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    assert make().spec.max_episode_steps == MAX_EPISODE_STEPS


def test_rendered_frames_are_upscaled_by_an_integer(make: Make) -> None:
    env = make(render_mode="rgb_array", render_scale=3)
    env.reset(seed=0)
    frame, *_ = env.step(FORWARD)
    picture = env.render()
    assert picture.shape == (144, 192, 3)
    assert all(np.array_equal(picture[i::3, j::3], frame) for i in range(3) for j in range(3))


@pytest.mark.usefixtures("_no_screen")
def test_a_window_is_large_enough_to_be_looked_at(make: Make) -> None:
    env = make(render_mode="human")
    env.reset(seed=0)
    assert env.render() is None
    assert env.get_wrapper_attr("window").get_size() == (640, 480)


@pytest.mark.parametrize("wrong", [{"render_mode": "ansi"}, {"render_scale": 0}, {"steps": 0}])
def test_factories_refuse_unknown_arguments(wrong: dict[str, Any], make: Make) -> None:
    with pytest.raises(UsageError):
        make(**wrong)


def test_reference_world_reports_the_pose_and_its_own_frames(make: Make) -> None:
    env = make(TRUE)
    first, info = env.reset(seed=3)
    assert info["seed"] == 3
    assert info["pose"].shape == (3,)
    for _ in range(3):
        frame, _, _, _, step_info = env.step(FORWARD)
    assert not np.array_equal(frame, first)
    assert np.abs(step_info["pose"][:2] - info["pose"][:2]).max() > 1, "walked"


def test_every_bundled_preset_is_registered_with_its_reference_world() -> None:
    assert bundled_presets()
    assert gymnasium.spec("worldsim/doom-maze-v0").kwargs == {"preset": "maze"}
    for name, folder in bundled_presets().items():
        kind = read_config_json(folder / "config.json")[0].world.kind
        for place in (f"worldsim/{name}-v0", f"worldsim/{kind}-{name}-v0"):
            assert gymnasium.spec(place).kwargs == {"preset": name}


def test_folder_with_only_a_preset_toml_is_a_reference_world() -> None:
    env = gymnasium.make(TRUE, preset=str(ROOT / "presets" / "maze-large-50m"))
    assert env.observation_space.shape == (192, 256, 3)
    env.close()


def test_the_documented_gymnasium_example_runs(tiny_preset_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "gymnasium.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"# Gymnasium\n\n```python\n(.+?)```\n", page, re.DOTALL)
    monkeypatch.setattr("worldsim.presets.resolve.bundled_presets", lambda: {"maze": tiny_preset_folder})
    names: dict[str, Any] = {}
    exec(compile(code.replace('"start": 2', '"start": 1'), "gymnasium.md", "exec"), names)  # the tiny preset has two
    assert names["info"] == {}
    assert names["envs"].num_envs == 32
    assert names["true"].action_space == names["env"].action_space
    for name in ("env", "envs", "true"):
        names[name].close()


def test_missing_preset_is_reported() -> None:
    with pytest.raises(PresetNotFoundError):
        gymnasium.make(LEARNED, preset="mase")


def test_import_registers_without_torch_or_pygame_and_reports_missing_packages() -> None:
    program = """
import sys
import worldsim.envs
print(sorted({"torch", "pygame", "vizdoom"} & set(sys.modules)))
for name in [name for name in sys.modules if name.partition(".")[0] in ("gymnasium", "worldsim")]:
    del sys.modules[name]
sys.modules["gymnasium"] = None
try:
    import worldsim.envs
except Exception as error:
    print(type(error).__name__, error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["[]", f"MissingPackageError {install_hint('gym')}"], done.stderr
