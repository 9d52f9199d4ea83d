"""Sample sheets: made pictures beside the truth, for a person to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def write_sheet(path: Path, rows: list[npt.NDArray[np.uint8]], *, scale: int = 2) -> None:
    """One row of pictures per entry, top to bottom. Shapes: each row uint8 [T, H, W, 3], all of the same size."""
    lines = [np.concatenate(list(row), axis=1) for row in rows]
    image = Image.fromarray(np.concatenate(lines, axis=0))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(path)
