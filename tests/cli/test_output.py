"""JSON results and progress files."""

from __future__ import annotations

import json
import math
import time
from itertools import pairwise
from pathlib import Path

import pytest

from worldsim.cli.output import Progress, write_json
from worldsim.core.errors import StorageError


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.json"
    write_json(path, {"psnr": math.inf, "rows": [{"ssim": math.nan, "horizon": 1}], "name": "maze"})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "psnr": None,
        "rows": [{"ssim": None, "horizon": 1}],
        "name": "maze",
    }
    assert list(path.parent.iterdir()) == [path], "no temporary file is left"


def test_a_dash_means_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_json("-", {"a": 1})
    assert json.loads(capsys.readouterr().out) == {"a": 1}


@pytest.mark.parametrize("make", [lambda path: write_json(path, {}), lambda path: Progress(1, "x", path)])
def test_a_file_that_cannot_be_written_is_a_storage_error(make: object, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*out\.json"):
        make(tmp_path / "file" / "out.json")  # type: ignore[operator]  # one of the two above


def test_the_progress_file_gets_a_line_at_least_twice_a_second(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    with Progress(10, "work", path) as progress:
        progress.update(3, psnr=20.0)
        time.sleep(1.2)
    rows = lines_of(path)
    times_s = [float(str(row["elapsed_s"])) for row in rows]
    assert len(rows) >= 4
    assert max(b - a for a, b in pairwise(times_s)) <= 0.5
    assert all(row["frame"] == 3 and row["psnr"] == 20.0 for row in rows[1:])


def test_the_first_progress_line_is_immediate_and_the_last_has_the_final_state(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    with Progress(2, "work", path, unit="second") as progress:
        assert lines_of(path)[0] == {
            "label": "work",
            "second": 0,
            "total": 2,
            "elapsed_s": pytest.approx(0, abs=0.3),
            "remaining_s": None,
            "state": "running",
        }
        progress.update(2)
    last = lines_of(path)[-1]
    assert (last["second"], last["state"], last["remaining_s"]) == (2, "done", 0.0)


def test_the_last_progress_line_of_failed_work_says_failed(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    with pytest.raises(RuntimeError), Progress(2, "work", path):
        raise RuntimeError
    assert lines_of(path)[-1]["state"] == "failed"


def test_there_is_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, "work") as progress:
        progress.update(1, "half")
    assert capsys.readouterr().err == ""
