"""Opens a recorded session with third-party readers (datasets, lerobot, rerun) and prints what each of them read.

python tools/check_readers.py recordings/first

`datasets`, `lerobot` and `rerun-sdk` are large and pin their own versions of dependencies: install them in a temporary
environment, not in worldsim's, which this script does not need. Readers that are not installed are skipped. The exit
code is 0 if at least one reader is installed and all installed readers read every frame.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

VIDEO_KEY = "observation.images.main"

_CHUNK = r"^Chunk\(.*?\) with (\d+) rows .*? - (/\S*) .*?data columns: \[(\S+)\]"
"""A chunk as printed by rerun's command line: number of rows, entity, column."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="open a recorded session with datasets, lerobot and rerun")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    info = json.loads((folder / "meta/info.json").read_text(encoding="utf-8"))
    print(f"session: {info['total_frames']} frames, {info['total_episodes']} episodes, {info['fps']} per second")
    results = [_ask(name, folder, info) for name in READERS]
    return 0 if True in results and False not in results else 1


def _ask(name: str, folder: Path, info: dict[str, Any]) -> bool | None:
    """Whether the reader read all frames; None if it is not installed."""
    module, package, read = READERS[name]
    if find_spec(module) is None:
        print(f"{name}: not installed")
        return None
    try:
        num_frames, seen = read(folder, info)
    except Exception as error:  # any failure of a reader is a finding
        print(f"{name} {version(package)}: failed: {type(error).__name__}: {error}")
        return False
    is_complete = num_frames == info["total_frames"]
    print(f"{name} {version(package)}: {num_frames} frames{'' if is_complete else ', INCOMPLETE'}; {seen}")
    return is_complete


def with_datasets(folder: Path, info: dict[str, Any]) -> tuple[int, str]:
    """Reads the rows, as the Hub's viewer and `load_dataset` do for a pushed session."""
    from datasets import load_dataset

    with TemporaryDirectory() as cache:
        rows = load_dataset(
            "parquet", data_files=str(folder / "data/*/*.parquet"), split="train", cache_dir=cache
        ).with_format("numpy")
        last = rows[len(rows) - 1]
        seen = f"last row: action {last['action'].tolist()}, timestamp {last['timestamp']:.4f}, columns {len(last)}"
        return len(rows), seen


def with_lerobot(folder: Path, info: dict[str, Any]) -> tuple[int, str]:
    """Reads every item: the row, and the video frame at its timestamp."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("worldsim/session", root=folder)
    items = [dataset[index] for index in range(len(dataset))]
    assert [int(item["index"]) for item in items] == list(range(len(items)))
    image = items[-1][VIDEO_KEY]
    low, high = (float(image.min()), float(image.max()))
    episodes = {int(item["episode_index"]) for item in items}
    return len(items), f"{len(episodes)} episodes, image {tuple(image.shape)} from {low:.2f} to {high:.2f}"


def with_rerun(folder: Path, info: dict[str, Any]) -> tuple[int, str]:
    """Imports the dataset into a file, and inspects the file with rerun's command line."""
    import rerun

    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "session.rrd"
        rerun.init("worldsim_check_readers")
        rerun.save(str(path))
        rerun.log_file_from_path(str(folder))
        rerun.disconnect()
        command = [sys.executable, "-m", "rerun_cli", "rrd", "print", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows: Counter[str] = Counter()
    for count, entity, column in re.findall(_CHUNK, done.stdout, re.MULTILINE):
        rows[f"{entity} {column}"] += int(count)
    num_frames = min(rows["/action Scalars:scalars"], rows[f"/{VIDEO_KEY} VideoStream:sample"])
    return num_frames, ", ".join(f"{count} {name}" for name, count in sorted(rows.items()))


READERS: dict[str, tuple[str, str, Callable[[Path, dict[str, Any]], tuple[int, str]]]] = {
    "datasets": ("datasets", "datasets", with_datasets),
    "lerobot": ("lerobot", "lerobot", with_lerobot),
    "rerun": ("rerun", "rerun-sdk", with_rerun),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
