"""Sessions exported as Memory Maze npz files, and imported again bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.episodes.importers.test_convert import write_memory_maze
from tests.episodes.recordings import record
from worldsim.core.errors import RecordingError, UsageError
from worldsim.core.types import ActionSpec
from worldsim.episodes.importers.base import ImportOptions
from worldsim.episodes.importers.convert import FORMATS, export_folder, import_folder
from worldsim.episodes.importers.memory_maze import one_hot
from worldsim.episodes.reader import open_session

READING = ImportOptions(action_time=FORMATS["memory-maze"].action_time)


def arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    angle = np.array([0.0, 1.0, 3.1, -3.1, -1e-6, 2.5])
    direction = np.column_stack([np.cos(angle), np.sin(angle)])
    write_memory_maze(tmp_path / "in" / "one.npz", agent_dir=direction)
    import_folder("memory-maze", tmp_path / "in", tmp_path / "sessions", READING)
    assert export_folder(tmp_path / "sessions", tmp_path / "out").converted == {"one": 6}
    before, after = arrays(tmp_path / "in" / "one.npz"), arrays(tmp_path / "out" / "one.npz")
    for name in ("image", "action", "agent_pos"):
        np.testing.assert_array_equal(after[name], before[name])
    np.testing.assert_allclose(after["agent_dir"], direction, atol=3e-7)  # sessions keep angles as float32
    import_folder("memory-maze", tmp_path / "out", tmp_path / "again", READING)
    first, second = open_session(tmp_path / "sessions" / "one"), open_session(tmp_path / "again" / "one")
    assert first.episodes == second.episodes, "actions, poses and frame hashes"
    export_folder(tmp_path / "again", tmp_path / "third")
    assert (tmp_path / "third" / "one.npz").read_bytes() == (tmp_path / "out" / "one.npz").read_bytes()


def test_existing_files_are_not_written_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_memory_maze(tmp_path / "in" / "one.npz")
    import_folder("memory-maze", tmp_path / "in", tmp_path / "sessions", READING)
    export_folder(tmp_path / "sessions", tmp_path / "out")
    outcome = export_folder(tmp_path / "sessions", tmp_path / "out")
    assert not outcome.converted and outcome.there_already == ["one"]


def test_unsuitable_sessions_are_skipped_and_no_session_is_an_error(tmp_path: Path) -> None:
    record(tmp_path / "sessions" / "lossless", 5, is_lossless=True)
    record(tmp_path / "sessions" / "near-lossless", 5, is_lossless=False)
    outcome = export_folder(tmp_path / "sessions", tmp_path / "out")
    assert [(Path(p).name, fault) for p, fault in outcome.skipped.items()] == [
        ("lossless", "it has no poses"),
        ("near-lossless", "it is not complete and lossless"),
    ]
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="no session"):
        export_folder(tmp_path / "nothing", tmp_path / "out")


def test_actions_are_matched_by_name_and_others_rejected() -> None:
    spec = ActionSpec(buttons=("back", "forward"), axes=("turn",))
    rows = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1], [0, 1, 1], [0, 1, -1]], np.float32)
    np.testing.assert_array_equal(one_hot(rows, spec), np.eye(6))
    for wrong in ([1.0, 0.0, 0.0], [0.0, 0.0, 0.5]):
        with pytest.raises(RecordingError, match="none of noop, forward"):
            one_hot(np.array([wrong], np.float32), spec)
    with pytest.raises(RecordingError, match="lack forward or turn"):
        one_hot(rows, ActionSpec(buttons=("jump", "a", "b")))
