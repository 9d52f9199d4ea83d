"""`worldsim sessions` on recordings of synthetic frames."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.episodes.recordings import HEADER, record, synthetic_frame, synthetic_row
from worldsim.cli.main import main
from worldsim.episodes.format import JOURNAL_FILE, EpisodeStart
from worldsim.episodes.journal import JournalFile, WriterInfo


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions in a folder; read-only."""
    folder = tmp_path_factory.mktemp("recordings")
    record(folder / "a", 12, 3)
    record(folder / "b", 8, is_lossless=True)
    return folder


def sessions(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["sessions", *map(str, arguments), "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def unfinished(folder: Path, *, pid: int, process_started_s: float) -> Path:
    """A recording interrupted after 6 frames, by a process that may still exist."""
    path = folder / JOURNAL_FILE
    path.parent.mkdir(parents=True)
    journal = JournalFile(path.open("xb"))
    journal.write_header(HEADER, WriterInfo(pid=pid, process_started_s=process_started_s))
    journal.write_episode(EpisodeStart(seed=4))
    journal.write_rows(synthetic_row(index) for index in range(6))
    journal.close()
    return folder


def test_show_prints_metadata(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = sessions(capsys, "show", recorded / "a")
    expected = {"frames": 15, "episodes": 2, "preset": "synthetic", "seed": 0, "complete": True, "seeds": [0, 1]}
    assert found | expected == found


def test_list_shows_every_session_and_the_errors_of_damaged_ones(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(recorded, tmp_path / "r"))
    (folder / "b/meta/worldsim.json").write_text("{", encoding="utf-8")
    first, second = sessions(capsys, "list", folder)["sessions"]
    assert first["frames"] == 15
    assert "damaged" in second["error"]
    assert sessions(capsys, "list", tmp_path / "nothing")["sessions"] == []


def test_exports_contain_every_frame(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("x.mp4", "x.gif", "x.npz"):
        assert sessions(capsys, "export", recorded / "b", tmp_path / name)["frames"] == 8
    with np.load(tmp_path / "x.npz") as arrays:
        assert (arrays["frames"] == np.stack([synthetic_frame(index) for index in range(8)])).all()
        assert arrays["actions"].shape == (8, 3)
    with Image.open(tmp_path / "x.gif") as gif:
        assert (gif.n_frames, gif.size) == (8, (64 * 6, 48 * 6))  # type: ignore[attr-defined]  # of animations
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.gif", "x.mp4", "x.npz"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["export", "a"], 2),
        (["export", "a", "out.avi"], 2),
        (["export", "a", "out.mp4", "--episode", "9"], 2),
        (["show", "a", "out.mp4"], 2),
        (["show", "nowhere"], 15),
        (["rm", "nowhere"], 15),
    ],
)
def test_invalid_requests_are_errors(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    monkeypatch.chdir(recorded)
    try:
        result: object = main(["sessions", *arguments])
    except SystemExit as end:  # raised by tyro
        result = end.code
    assert result == code
    assert sorted(path.name for path in recorded.iterdir()) == ["a", "b"]


def test_repair_finishes_an_interrupted_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = unfinished(tmp_path / "s", pid=2**22 + 1, process_started_s=0.0)
    assert sessions(capsys, "show", folder)["complete"] is False
    found = sessions(capsys, "repair", folder)
    expected = {"repaired": True, "complete": True, "frames": 6, "seed": 4, "pictures_missing": 6}
    assert found | expected == found
    assert sessions(capsys, "repair", folder)["repaired"] is False


def test_a_session_being_recorded_is_neither_repaired_nor_removed(tmp_path: Path) -> None:
    import psutil

    folder = unfinished(tmp_path / "s", pid=os.getpid(), process_started_s=psutil.Process().create_time())
    assert main(["sessions", "repair", str(folder)]) == 15
    assert main(["sessions", "rm", str(folder)]) == 15
    assert (folder / JOURNAL_FILE).exists()


def test_rm_deletes_only_sessions(recorded: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(recorded / "a", tmp_path / "a"))
    assert main(["sessions", "rm", str(tmp_path)]) == 15
    assert main(["sessions", "rm", str(folder)]) == 0
    assert not folder.exists()


def test_open_starts_the_systems_video_player(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))
    opened = sessions(capsys, "open", recorded / "a", "--episode", "1")["opened"]
    assert opened.endswith("file-001.mp4")
    assert started[0][-1] == opened
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["sessions", "open", str(recorded / "a")]) == 8


def test_sessions_loads_no_torch(recorded: Path) -> None:
    code = f"import sys\nfrom worldsim.cli.main import main\nmain(['sessions', 'show', {str(recorded / 'a')!r}])\n"
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
