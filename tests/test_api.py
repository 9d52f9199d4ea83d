"""The Python API: the README's code runs, recordings are exact, bad input gets a clear error, and imports are lazy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import worldsim
from worldsim.cli.main import main
from worldsim.core.errors import ConfigError, PresetNotFoundError, StateError, UsageError
from worldsim.engine.preset_world import PresetWorld
from worldsim.engine.replay import check
from worldsim.engine.saves import SaveRecord
from worldsim.engine.simulator import Simulator
from worldsim.episodes.reader import open_session
from worldsim.presets.store import load_preset

ROOT = Path(__file__).parents[1]
FORWARD, TURN = worldsim.Action.of("forward"), worldsim.Action.of(turn=1.0)


@pytest.fixture
def world(tiny_preset_folder: Path) -> Iterator[PresetWorld]:
    with worldsim.open(tiny_preset_folder, seed=3) as world:
        yield world


def num_exact_frames(folder: Path, preset: Path) -> int:
    result = check(open_session(folder), Simulator(load_preset(preset)))
    assert result.is_exact, result
    return result.frames


def test_the_python_code_of_the_readme_runs(
    tiny_preset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- code: python -->\n```python\n(.+?)```\n", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("worldsim.presets.resolve.bundled_presets", lambda: {"maze": tiny_preset_folder})
    monkeypatch.setattr("worldsim.engine.preset_world.bundled_presets", lambda: {"maze": tiny_preset_folder})
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert not np.array_equal(names["left"], names["right"])
    assert num_exact_frames(tmp_path / "recordings" / "python", tiny_preset_folder) == 31
    assert main(["replay", "recordings/python", "--check"]) == 0
    assert capsys.readouterr().out.startswith("exact")
    with pytest.raises(UsageError, match="closed"):
        names["world"].step()


def test_an_open_world_gives_the_frames_of_the_simulator(tiny_preset_folder: Path, world: PresetWorld) -> None:
    simulator = Simulator(load_preset(tiny_preset_folder))
    assert np.array_equal(world.last_step.frame, simulator.reset(3).frame)
    for action in (FORWARD, TURN, FORWARD):
        assert np.array_equal(world.step(action).frame, simulator.step(action).frame)
    assert np.array_equal(world.reset(1).frame, simulator.reset(1).frame)
    assert (world.action_spec, world.frame_shape) == (simulator.action_spec, simulator.frame_shape)


def test_a_restored_snapshot_continues_bit_for_bit(world: PresetWorld) -> None:
    world.step(FORWARD)
    here = world.snapshot()
    first = [world.step(action).frame for action in (TURN, FORWARD)]
    world.reset(7)
    world.restore(here)
    assert world.last_step.index == 1
    assert np.array_equal(first, [world.step(action).frame for action in (TURN, FORWARD)])


def test_a_recording_holds_resets_and_restores_and_is_exact(
    tiny_preset_folder: Path, tmp_path: Path, world: PresetWorld
) -> None:
    world.step(TURN)
    before = world.snapshot()
    world.step(FORWARD)
    with worldsim.record(world, tmp_path / "s", lossless=True) as same:
        assert same is world
        world.step(FORWARD)
        world.restore(before)
        world.step(TURN)
        world.reset(5)
        world.step(FORWARD)
    world.step(FORWARD)
    session = open_session(tmp_path / "s")
    assert [(e.start.seed, e.start.first_index, len(e.rows)) for e in session.episodes] == [
        (3, 2, 2),
        (3, 1, 2),
        (5, 0, 2),
    ]
    assert num_exact_frames(tmp_path / "s", tiny_preset_folder) == 6


def test_a_recording_is_finished_after_an_exception(
    tiny_preset_folder: Path, tmp_path: Path, world: PresetWorld
) -> None:
    def fail() -> None:
        with worldsim.record(world, tmp_path / "s"):
            world.step(FORWARD)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert num_exact_frames(tmp_path / "s", tiny_preset_folder) == 2
    with worldsim.record(world, tmp_path / "second"):
        world.step(TURN)
    assert num_exact_frames(tmp_path / "second", tiny_preset_folder) == 2


def test_recording_a_preset_opens_and_closes_it(tiny_preset_folder: Path, tmp_path: Path) -> None:
    with worldsim.record(tiny_preset_folder, tmp_path / "s") as world:
        world.step(FORWARD)
    assert num_exact_frames(tmp_path / "s", tiny_preset_folder) == 2
    with pytest.raises(UsageError, match="closed"):
        world.reset()


def test_an_open_world_continues_from_a_save(tiny_preset_folder: Path, tmp_path: Path, world: PresetWorld) -> None:
    step = world.step(FORWARD)
    position = world.snapshot()
    opened = world._opened
    saved = SaveRecord(header=opened.header, seed=3, step=step, runs=position.runs)
    opened.saves.write(tmp_path / "save", saved, position.snapshot)
    expected = world.step(TURN).frame
    with worldsim.open(tiny_preset_folder) as other, worldsim.record(other, tmp_path / "s"):
        other.load(tmp_path / "save")
        assert np.array_equal(other.step(TURN).frame, expected)
        with pytest.raises(StateError, match="no saved state"):
            other.load(tmp_path / "nothing")
    assert num_exact_frames(tmp_path / "s", tiny_preset_folder) == 3


def test_keys_move_the_camera_of_a_preset_whose_inputs_are_poses(given_preset_folder: Path) -> None:
    with worldsim.open(given_preset_folder) as world:
        assert "forward" in world.action_spec.buttons
        start = world.last_step.action
        assert world.step(FORWARD).action != start
        pose = world.last_step.action
        assert world.step(pose).action == pose
        with pytest.raises(ConfigError, match="unknown input 'jump'"):
            world.step(worldsim.Action.of("jump"))


def test_bad_input_gets_one_clear_error_and_changes_nothing(tmp_path: Path, world: PresetWorld) -> None:
    with pytest.raises(PresetNotFoundError, match="mazze") as caught:
        worldsim.open("mazze")
    assert "maze" in caught.value.hint
    with pytest.raises(ConfigError, match="unknown input 'forwards'") as unknown:
        world.step(worldsim.Action.of("forwards"))
    assert unknown.value.hint == "did you mean 'forward'?"
    assert world.last_step.index == 0
    with pytest.raises(UsageError, match="0 denoising steps"):
        world.num_steps = 0
    with worldsim.record(world, tmp_path / "s"):
        with pytest.raises(UsageError, match="already"), worldsim.record(world, tmp_path / "t"):
            pass
        world.step(FORWARD)
    with pytest.raises(UsageError, match="already exists"), worldsim.record(world, tmp_path / "s"):
        pass
    world.close()
    world.close()
    for call in (world.step, world.reset, world.snapshot):
        with pytest.raises(UsageError, match="this world is closed"):
            call()


def test_every_public_name_exists() -> None:
    for name in worldsim.__all__:
        assert getattr(worldsim, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Simulater'"):
        _ = worldsim.Simulater


def test_importing_worldsim_loads_neither_torch_nor_numpy() -> None:
    program = "import sys, worldsim; print(sorted({'torch', 'numpy', 'pygame'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_recording_libraries_load_with_the_first_recording_and_not_in_its_thread(
    tiny_preset_folder: Path, tmp_path: Path
) -> None:
    program = f"""
import builtins, sys, threading
importing = {{}}
import_now = builtins.__import__
def note(name, *more, **also):
    if name.partition(".")[0] in ("av", "pyarrow"):
        importing.setdefault(name.partition(".")[0], threading.current_thread().name)
    return import_now(name, *more, **also)
builtins.__import__ = note
import worldsim, worldsim.app.application, worldsim.cli.bench, worldsim.cli.play
import worldsim.engine.bench
with worldsim.open({str(tiny_preset_folder)!r}) as world:
    world.step()
    print(sorted({{"av", "pyarrow"}} & set(sys.modules)))
    with worldsim.record(world, {str(tmp_path / "session")!r}):
        world.step()
print(importing)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("pygame")]
    assert lines == ["[]", "{'av': 'writer', 'pyarrow': 'writer'}"], done.stderr
    assert open_session(tmp_path / "session").is_complete
