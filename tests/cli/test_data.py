"""`worldsim data`: import, export and check."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.episodes.importers.test_convert import cut, scramble, write_dmlab, write_memory_maze, write_table
from tests.episodes.recordings import HEADER, record
from worldsim.cli.main import main
from worldsim.core.errors import RecordingError, UsageError
from worldsim.episodes.format import JOURNAL_FILE, data_path, video_path
from worldsim.episodes.journal import JournalFile, WriterInfo
from worldsim.episodes.reader import open_session


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lossless sessions of synthetic frames. Shared by tests: read-only."""
    folder = tmp_path_factory.mktemp("recorded")
    record(folder / "a", 20, 12, is_lossless=True)
    record(folder / "b", 8, is_lossless=True)
    return folder


@pytest.fixture
def damaged(recorded: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(recorded, tmp_path / "damaged"))


def test_import_reports_the_result_for_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_table(source / "good.mp4", "jump,turn\n" + "1,0.5\n" * 6)
    write_table(source / "short.mp4", "jump,turn\n1,0.5\n")
    command = ["data", "import", "--format", "video-csv", str(source), str(target), "--size", "32x24"]
    command += ["--axis", "turn=10 deg per tick", "--json", str(tmp_path / "result.json")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert f"skipped {source / 'short.mp4'}: 6 frames, but 1 actions" in shown
    assert "1 imported (6 frames), 0 already there, 1 skipped" in shown
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["converted"] == {"good": 6} and list(result["skipped"]) == [str(source / "short.mp4")]
    header = open_session(target / "good").header
    assert header.frame_shape == (24, 32, 3) and header.action_spec.axis_units == (("turn", "10 deg per tick"),)
    assert main(command) == 0
    assert "0 imported (0 frames), 1 already there, 1 skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ([], RecordingError.exit_code, "none of 1 files"),
        (["--size", "64"], UsageError.exit_code, "--size is '64'"),
        (["--classes", "forward,turn=7"], UsageError.exit_code, "--classes forward,turn=7"),
    ],
)
def test_an_import_without_valid_files_or_options_fails(
    more: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dmlab(tmp_path / "one.npz")
    cut(tmp_path / "one.npz") if not more else None
    assert main(["data", "import", "--format", "teco-dmlab", str(tmp_path), str(tmp_path / "out"), *more]) == code
    assert message in capsys.readouterr().err


def test_check_prints_statistics_of_a_valid_data_set(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, result = tmp_path / "sheet.png", tmp_path / "result.json"
    options = ["--contact-sheet", str(sheet), "--num-frames", "12", "--json", str(result)]
    assert main(["data", "check", str(recorded), *options]) == 0
    assert "no problems found" in capsys.readouterr().out
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    assert (found["sessions"], found["episodes"], found["frames"]) == (2, 3, 40)
    assert (found["shortest_episode"], found["longest_episode"], found["hashes_compared"]) == (8, 20, 40)
    assert found["minutes"] == pytest.approx(40 / 17.5 / 60) and found["sound"]
    assert found["actions"]["forward"] == {"kind": "button", "held_share": pytest.approx(37 / 40)}
    assert sum(found["actions"]["turn"]["histogram"]) == 40
    assert found["idle_share"] == pytest.approx(3 / 40)
    pictures = [open_session(recorded / "a").frames(0), open_session(recorded / "a").frames(1)]
    first, last = next(pictures[0]), list(open_session(recorded / "b").frames(0))[-1]
    assert found["brightness"]["max"] == pytest.approx(first.mean() / 255, abs=0.05)
    image = np.asarray(Image.open(sheet))
    assert image.shape == (2 * 48, 8 * 64, 3)
    assert np.array_equal(image[:48, :64], first) and np.array_equal(image[48:, 192:256], last)
    assert not image[48:, 256:].any(), "the rest of the last row is black"


def rewrite(folder: Path, **changed: Any) -> None:
    path = data_path(folder / "a", 0)
    table = pq.read_table(path)
    for name, values in changed.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
    pq.write_table(table, path)


def other_size(folder: Path) -> None:
    path = folder / "a" / "meta" / "worldsim.json"
    path.write_text(path.read_text(encoding="utf-8").replace("48,\n", "24,\n", 1), encoding="utf-8")


def info(folder: Path) -> None:
    path = folder / "a" / "meta" / "info.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"total_frames": 32', '"total_frames": 33'), "utf-8")


def unfinished(folder: Path) -> None:
    """As left behind by a process that has exited."""
    shutil.rmtree(folder / "b")
    journal = folder / "b" / JOURNAL_FILE
    journal.parent.mkdir(parents=True)
    with journal.open("wb") as file:
        JournalFile(file).write_header(HEADER, WriterInfo(pid=1, process_started_s=0.0))


NO_ACTIONS = [[0.0, 0.0, 0.0]] * 20
DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (lambda f: scramble(video_path(f / "a", 0)), "a: episode 0: "),
    (lambda f: cut(video_path(f / "a", 1)), "a: episode 1: 0 frames decode, but there are 12 rows"),
    (lambda f: video_path(f / "b", 0).unlink(), "b: episode 0: video: not a valid video"),
    (lambda f: shutil.copy(video_path(f / "a", 1), video_path(f / "a", 0)), "12 frames decode, but there are 20 rows"),
    (lambda f: rewrite(f, **{"worldsim.frame_hash": ["0" * 16] * 20}), "a: episode 0: frame 0 differs"),
    (lambda f: rewrite(f, timestamp=np.arange(20) / 10), "timestamp is off by"),
    (lambda f: rewrite(f, frame_index=[0] * 20), "row numbers are not consecutive"),
    (lambda f: rewrite(f, **{"worldsim.t_ready_ns": list(range(20, 0, -1))}), "not monotonic"),
    (lambda f: rewrite(f, action=[[0.5, 0.0, 0.0], *NO_ACTIONS[1:]]), "an action is out of range"),
    (lambda f: rewrite(f, action=[[0.0, 0.0, float("nan")], *NO_ACTIONS[1:]]), "an action is out of range"),
    (lambda f: rewrite(f, action=[[0.0, 0.0, 7.0], *NO_ACTIONS[1:]]), "does not fit the action spec"),
    (other_size, "a: episode 0: frames are (48, 64, 3), expected (24, 64, 3)"),
    (info, "a: meta/info.json has"),
    (lambda f: data_path(f / "b", 0).write_bytes(b"PAR1"), "b is damaged"),
    (unfinished, "b: unfinished: worldsim sessions repair"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_check_reports_damage_and_fails(
    damage: Callable[[Path], None], message: str, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(damaged)
    assert main(["data", "check", str(damaged)]) == RecordingError.exit_code
    captured = capsys.readouterr()
    assert message in captured.out
    assert "no problems" not in captured.out and "problems in 1 sessions" in captured.err


def test_check_fails_for_a_folder_without_sessions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path)]) == RecordingError.exit_code
    assert "contains no session" in capsys.readouterr().err


def test_export_writes_npz_files(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    write_memory_maze(tmp_path / "in" / "one.npz")
    assert main(["data", "import", "--kind", "memory-maze", str(tmp_path / "in"), str(tmp_path / "sessions")]) == 0
    assert main(["data", "export", str(tmp_path / "sessions"), str(tmp_path / "out")]) == 0
    assert "1 exported (6 frames), 0 already there, 0 skipped" in capsys.readouterr().out
    assert (tmp_path / "out" / "one.npz").is_file()
    assert main(["data", "export", str(recorded), str(tmp_path / "none")]) == RecordingError.exit_code
    assert "it has no poses" in capsys.readouterr().out
