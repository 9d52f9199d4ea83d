"""Records several hundred frames per second until killed; a mapped file holds how many were handed over, and when.

python recording_child.py FOLDER PROGRESS
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

from tests.episodes.recordings import HEADER, synthetic_frame, synthetic_row
from worldsim.episodes.format import EpisodeStart
from worldsim.episodes.writer import SessionWriter


def main() -> None:
    folder, progress_path = map(Path, sys.argv[1:])
    with progress_path.open("r+b") as file, mmap.mmap(file.fileno(), 16) as progress:
        writer = SessionWriter(folder, HEADER)
        frames = [synthetic_frame(index) for index in range(64)]
        for number in range(10**9):
            if number % 100 == 0:
                writer.begin_episode(EpisodeStart(seed=number // 100))
            now_ns = time.monotonic_ns()
            progress[:] = struct.pack("<qq", number + 1, now_ns)  # written first, so that losses are never undercounted
            writer.add_frame(synthetic_row(number % 100, now_ns), frames[number % 64])
            time.sleep(0.002)


if __name__ == "__main__":
    main()
