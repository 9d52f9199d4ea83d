"""Save files: their content, and the errors of damaged ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from worldsim.core.errors import NonFiniteError, StateError, StorageError, WorldsimError
from worldsim.core.types import Action
from worldsim.engine.preset_world import session_header
from worldsim.engine.save_files import SaveFiles
from worldsim.engine.saves import NUM_SLOTS, SaveRecord, list_slots, read_saved, slot_path
from worldsim.engine.simulator import Simulator
from worldsim.episodes.format import ActionRun
from worldsim.presets.store import Preset, load_preset


class Saving:
    """A tiny preset three frames into play, and a save of it."""

    def __init__(self, preset: Preset, path: Path) -> None:
        self.simulator = Simulator(preset)
        self.header = session_header(preset, self.simulator, ref=str(preset.folder), device="cpu")
        self.files = SaveFiles(preset, self.header)
        self.path = path
        self.simulator.reset(1)
        step = [self.simulator.step(Action.of("forward")) for _ in range(3)][-1]
        run = ActionRun(action=(1.0, 0.0, 0.0, 0.0, 0.0), num_steps=step.num_steps, count=3)
        self.saved = SaveRecord(header=self.header, seed=1, step=step, runs=(run,))
        self.files.write(path, self.saved, self.simulator.snapshot())

    def rewrite(self, change: Callable[[dict], None], metadata: dict[str, str] | None = None) -> None:  # type: ignore[type-arg]
        tensors = load_file(self.path)
        with safe_open(self.path, framework="numpy") as file:
            told = dict(file.metadata())
        change(tensors)
        save_file(tensors, self.path, metadata=told if metadata is None else metadata)


@pytest.fixture(scope="module")
def preset(tiny_preset_folder: Path) -> Preset:
    return load_preset(str(tiny_preset_folder))


@pytest.fixture
def saving(preset: Preset, tmp_path: Path) -> Saving:
    return Saving(preset, slot_path("tiny", 1, tmp_path))


def test_save_round_trip(saving: Saving) -> None:
    position = saving.files.read(saving.path)
    assert read_saved(saving.path).header == saving.header
    assert (position.seed, position.runs) == (1, saving.saved.runs)
    assert (position.step.index, position.step.action) == (3, Action.of("forward"))
    assert np.array_equal(position.step.frame, saving.saved.step.frame)
    before, after = saving.simulator.snapshot().state, position.snapshot.state
    assert (after.frame_index, after.seed, position.snapshot.index) == (before.frame_index, before.seed, 3)
    assert after.tensors.keys() == before.tensors.keys()
    assert all(after.tensors[name].equal(before.tensors[name]) for name in before.tensors)


def test_save_is_a_single_safetensors_file(saving: Saving) -> None:
    assert list(saving.path.parent.iterdir()) == [saving.path]
    assert {"frame", "run_actions", "run_counts", "state.counters"} <= load_file(saving.path).keys()


def test_truncated_file_is_a_one_line_error(saving: Saving) -> None:
    data = saving.path.read_bytes()
    for size in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        saving.path.write_bytes(data[:size])
        with pytest.raises(StateError) as caught:
            saving.files.read(saving.path)
        assert str(saving.path) in caught.value.message and "\n" not in caught.value.message, size
        assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("frame"), "frame"),
        (lambda t: t.update(frame=t["frame"][:4].clone()), "its frame is"),
        (lambda t: t.update(run_counts=t["run_counts"] * 2), "do not match the frame index"),
        (lambda t: t.update(run_actions=t["run_actions"] * 9), "outside"),
        (lambda t: t.update(run_actions=t["run_actions"][:, :2].clone()), "do not match the action spec"),
        (lambda t: t.pop("state.counters"), "counters"),
    ],
)
def test_inconsistent_save_is_reported(saving: Saving, change: Callable[[dict], None], said: str) -> None:  # type: ignore[type-arg]
    saving.rewrite(change)
    with pytest.raises(StateError) as caught:
        saving.files.read(saving.path)
    assert said in caught.value.message


@pytest.mark.parametrize("metadata", [{}, {"worldsim": "no json"}, {"worldsim": "[]"}, {"worldsim": '{"schema": 1}'}])
def test_a_file_of_something_else_is_refused(saving: Saving, metadata: dict[str, str]) -> None:
    saving.rewrite(lambda tensors: None, metadata)
    with pytest.raises(StateError) as caught:
        read_saved(saving.path)
    assert "damaged" in caught.value.message


def test_another_presets_weights_are_refused_with_the_command_that_fits(saving: Saving, preset: Preset) -> None:
    other = SaveFiles(replace(preset, sha256="f" * 64), replace(saving.header, preset="other", preset_sha256="f" * 64))
    with pytest.raises(StateError) as caught:
        other.read(saving.path)
    assert "this is other (weights ffffffffffff)" in caught.value.message
    assert caught.value.hint == f"worldsim play {saving.header.preset_ref} --load {saving.path}"


def test_a_state_with_nan_is_refused(saving: Saving) -> None:
    def spoil(tensors: dict) -> None:  # type: ignore[type-arg]
        next(t for n, t in tensors.items() if n.startswith("state.") and t.is_floating_point()).fill_(float("nan"))

    saving.rewrite(spoil)
    with pytest.raises(NonFiniteError):
        saving.files.read(saving.path)


def test_write_failure_keeps_the_old_save(saving: Saving) -> None:
    before = saving.path.read_bytes()
    (saving.path.parent / f".{saving.path.stem}.{os.getpid()}.part{saving.path.suffix}").mkdir()
    with pytest.raises(StorageError) as caught:
        saving.files.write(saving.path, saving.saved, saving.simulator.snapshot())
    assert isinstance(caught.value, WorldsimError) and "cannot write" in caught.value.message
    assert saving.path.read_bytes() == before


def test_slots_are_listed_full_empty_and_damaged(saving: Saving, tmp_path: Path) -> None:
    slot_path("tiny", 3, tmp_path).write_bytes(b"nonsense")
    slots = list_slots("tiny", tmp_path)
    assert [slot.number for slot in slots] == list(range(1, NUM_SLOTS + 1))
    assert slots[0].saved is not None and slots[0].saved.seed == 1
    assert [bool(slot.error) for slot in slots] == [False, False, True, False, False]
    assert slots[1].saved is None


def test_save_before_any_action_round_trips(saving: Saving, tmp_path: Path) -> None:
    step = saving.simulator.reset(0)
    saved = SaveRecord(header=saving.header, seed=0, step=step, runs=())
    saving.files.write(tmp_path / "first", saved, saving.simulator.snapshot())
    position = saving.files.read(tmp_path / "first")
    assert (position.runs, position.step.index, position.step.action) == ((), 0, Action())
