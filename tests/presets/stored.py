"""The tiny presets of every schema version, stored for good under data/.

`PYTHONPATH=. python tests/presets/stored.py` stores that of the present version, when there is none yet. Old ones are
never made again: that they still load is what they are for.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tests.conftest import TINY_CONFIG, write_tiny_preset
from worldsim.core.types import Action
from worldsim.engine.simulator import Simulator
from worldsim.presets.config import SCHEMA_VERSION, PlayConfig
from worldsim.presets.store import load_preset, save_preset

DATA = Path(__file__).parent / "data"
FRAME_FILE = "second_frame.npy"


def stored_preset(version: int) -> Path:
    return DATA / f"v{version}"


def missing_versions(schema_version: int) -> list[int]:
    return [v for v in range(1, schema_version + 1) if not (stored_preset(v) / "config.json").is_file()]


def second_frame(folder: Path) -> npt.NDArray[np.uint8]:
    """What is seen after two ticks of play."""
    simulator = Simulator(load_preset(folder))
    simulator.reset(0)
    simulator.step(Action.of("forward"))
    return simulator.step(Action.of("left", turn=0.5)).frame


def main() -> int:
    folder = stored_preset(SCHEMA_VERSION)
    if folder.exists():
        print(f"{folder} is there already", file=sys.stderr)
        return 1
    write_tiny_preset(folder, replace(TINY_CONFIG, play=PlayConfig(context_frames=2)), num_starts=1)
    full = load_preset(folder)
    save_preset(folder, full.config, full.autoencoder, full.model, full.starts, full.metadata, dtype=torch.bfloat16)
    np.save(folder / FRAME_FILE, second_frame(folder))
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
