"""Screenshots: the frame without overlays as a PNG with text chunks that identify how it was made.

Every pixel is enlarged to a square, so that the frame can be recovered bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import platformdirs
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import worldsim
from worldsim.core.errors import StorageError
from worldsim.core.files import atomic_path
from worldsim.core.types import Step
from worldsim.engine.history import PlayHistory
from worldsim.engine.session import Session
from worldsim.episodes.format import ActionRun, SessionHeader

WIDTH_PX = 960
"""Target width; the frame is enlarged by the largest integer factor that fits."""


def take_screenshot(session: Session, step: Step, title: str) -> str:
    """Saves the frame of `step`. Returns: the notification."""
    folder = platformdirs.user_pictures_path() / "worldsim"
    runs = runs_to(session.history, step)
    try:
        path = write_screenshot(folder, step, title=title, seed=session.seed, header=session.header, runs=runs)
    except StorageError as error:
        return f"{error.message}: {error.hint}"
    return f"screenshot saved: {path}"


def write_screenshot(
    folder: Path, step: Step, *, title: str, seed: int, header: SessionHeader | None, runs: Iterable[ActionRun] | None
) -> Path:
    """`header` and `runs` are None if unknown. Returns: the new file. Raises: StorageError."""
    scale = max(1, WIDTH_PX // step.frame.shape[1])
    text = {"Software": f"worldsim {worldsim.__version__}", "Title": title, "worldsim:seed": str(seed)}
    text |= {"worldsim:frame": str(step.index), "worldsim:pixels-per-pixel": str(scale)}
    if header is not None:
        text |= {"worldsim:preset": header.preset_ref, "worldsim:preset-sha256": header.preset_sha256}
    if runs is not None:
        text["worldsim:actions-sha256"] = actions_hash(runs)
    chunks = PngInfo()
    for key, value in text.items():
        chunks.add_itxt(key, value)
    path = _free_path(folder, header.preset if header is not None else "world")
    with atomic_path(path) as part:
        image = Image.fromarray(np.ascontiguousarray(step.frame))
        image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(
            part, format="PNG", pnginfo=chunks, compress_level=1
        )
    return path


def actions_hash(runs: Iterable[ActionRun]) -> str:
    """SHA-256 of all actions since the reset. Same preset, seed and hash: same frame."""
    return hashlib.sha256(json.dumps([astuple(run) for run in runs]).encode()).hexdigest()


def runs_to(history: PlayHistory | None, step: Step) -> tuple[ActionRun, ...] | None:
    """The actions that led to `step` on the current branch; None if they are no longer in the history."""
    node = history.head if history is not None else None
    while node is not None and node.step is not step:
        node = node.parent
    return node.runs() if node is not None else None


def _free_path(folder: Path, preset: str) -> Path:
    stem = f"{Path(preset).name}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (f"{stem}.png", *(f"{stem}-{number}.png" for number in range(2, 1000)))
    return next(folder / name for name in names if not (folder / name).exists())
