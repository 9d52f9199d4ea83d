"""kill -9 at a random moment loses at most the last second of actions."""

from __future__ import annotations

import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worldsim.episodes.finalize import finalize
from worldsim.episodes.format import JOURNAL_FILE
from worldsim.episodes.journal import read_journal
from worldsim.episodes.reader import open_session

ROOT = Path(__file__).parents[2]


def kill_one(folder: Path, after_s: float) -> tuple[int, float]:
    """Returns: number of lost actions, and seconds from handing over the first of them to the kill."""
    folder.mkdir()
    progress = folder / "progress"
    progress.write_bytes(bytes(16))
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.episodes.recording_child", str(folder / "s"), str(progress)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        limit_s = time.monotonic() + 60
        while not any(progress.read_bytes()):
            assert child.poll() is None, f"the child exited early: {child.returncode}"
            assert time.monotonic() < limit_s, "the child did not start"
            time.sleep(0.01)
        time.sleep(after_s)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    num_added, last_ns = struct.unpack("<qq", progress.read_bytes())
    assert not read_journal(folder / "s").writer.is_alive
    result = finalize(folder / "s")
    session = open_session(folder / "s")
    assert session.is_complete
    assert session.num_frames == result.frames
    for index in {0, len(session.episodes) - 1}:
        assert len(list(session.frames(index))) == len(session.episodes[index].rows)
    lost = num_added - session.num_frames
    return lost, (last_ns - session.episodes[-1].rows[-1].t_ready_ns) / 1e9


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
@pytest.mark.parametrize("num_kills", [1, pytest.param(50, marks=pytest.mark.slow)], ids=["one kill", "fifty kills"])
def test_kill_loses_at_most_the_last_second_of_actions(tmp_path: Path, num_kills: int) -> None:
    rng = random.Random(num_kills)
    losses = [
        kill_one(tmp_path / str(number), rng.uniform(0.0, 0.4 if num_kills < 10 else 3.0))
        for number in range(num_kills)
    ]
    actions, seconds = zip(*losses, strict=True)
    print("lost actions, minimum, median, maximum:", min(actions), statistics.median(actions), max(actions))
    print("lost (actions, seconds):", losses)
    assert min(actions) >= 0, losses
    assert max(seconds) < 1.0, losses


def test_truncated_journal_gives_every_complete_row(tmp_path: Path) -> None:
    from tests.episodes.recordings import HEADER, synthetic_row
    from worldsim.episodes.format import EpisodeStart
    from worldsim.episodes.journal import JournalFile, current_writer_info

    path = tmp_path / JOURNAL_FILE
    path.parent.mkdir()
    journal = JournalFile(path.open("xb"))
    journal.write_header(HEADER, current_writer_info(is_lossless=False))
    journal.write_episode(EpisodeStart(seed=7))
    journal.write_rows(synthetic_row(index) for index in range(8))
    journal.close()
    content = path.read_bytes()
    begin = content.index(b"\n") + 1
    for end in range(begin, len(content) + 1, 7):
        path.write_bytes(content[:end])
        rows = [row for episode in read_journal(tmp_path).episodes for row in episode.rows]
        assert len(rows) == max(0, content[begin:end].count(b"\n") - 1)
        assert rows == [synthetic_row(index) for index in range(len(rows))]
