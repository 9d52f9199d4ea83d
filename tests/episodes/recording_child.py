"""Records some hundred frames per second until it is killed; says in a mapped file what it has handed over.

python recording_child.py FOLDER TOLD
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

from tests.episodes.recordings import HEADER, made_up_frame, made_up_row
from worldsim.episodes.format import EpisodeStart
from worldsim.episodes.writer import SessionWriter


def main() -> None:
    folder, told_path = map(Path, sys.argv[1:])
    with told_path.open("r+b") as file, mmap.mmap(file.fileno(), 16) as told:
        writer = SessionWriter(folder, HEADER)
        frames = [made_up_frame(index) for index in range(64)]
        for number in range(10**9):
            if number % 100 == 0:
                writer.begin_episode(EpisodeStart(seed=number // 100))
            now_ns = time.monotonic_ns()
            told[:] = struct.pack("<qq", number + 1, now_ns)  # before: what is lost is never counted too low
            writer.add_frame(made_up_row(number % 100, now_ns), frames[number % 64])
            time.sleep(0.002)


if __name__ == "__main__":
    main()
