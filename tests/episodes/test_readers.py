"""Sessions open in the packages that read such datasets, if installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.episodes.recordings import record, synthetic_row

PROGRAM = Path(__file__).parents[2] / "tools/check_readers.py"


def test_datasets_reads_every_row(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    record(tmp_path / "s", 12, 5)
    files = str(tmp_path / "s/data/*/*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["index"][:] == list(range(17))
    assert rows["episode_index"][:] == [0] * 12 + [1] * 5
    assert np.allclose(rows["timestamp"][:12], np.arange(12) / 17.5)
    assert rows[4]["action"] == list(synthetic_row(4).action)
    assert rows[4]["worldsim.frame_hash"] == synthetic_row(4).frame_hash


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["lerobot", "rerun"])
@pytest.mark.parametrize("is_lossless", [False, True])
def test_other_readers_see_every_row_and_frame(reader: str, is_lossless: bool, tmp_path: Path) -> None:
    """They need other package versions: run this test in an environment that has them."""
    pytest.importorskip(reader)
    record(tmp_path / "s", 40, 15, is_lossless=is_lossless)
    command = [sys.executable, str(PROGRAM), str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"{reader} "))
    assert ": 55 frames;" in line
