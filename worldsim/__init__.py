"""worldsim: play a neural world on your own computer.

    with worldsim.open("maze") as world:
        frame = world.step(worldsim.Action.of("forward")).frame

`import worldsim` loads no torch: everything is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from worldsim.core.types import Action
    from worldsim.engine.preset_world import PresetWorld, session_header
    from worldsim.engine.recorder import Recorder
    from worldsim.engine.simulator import Simulator
    from worldsim.presets.store import load_preset

__version__ = "0.1.0"
__all__ = ["Action", "Recorder", "Simulator", "load_preset", "open", "record", "session_header"]

_MODULES = {
    "Action": "worldsim.core.types",
    "Recorder": "worldsim.engine.recorder",
    "Simulator": "worldsim.engine.simulator",
    "load_preset": "worldsim.presets.store",
    "session_header": "worldsim.engine.preset_world",
}


def open(ref: str | Path, *, seed: int = 0, device: str = "cpu", steps: int | None = None) -> PresetWorld:
    """Opens a preset for play. `seed` selects the start and the noise. Use it in a `with` block, or call `close`.

    `ref`: a bundled name, a folder, or "user/repo[@revision]" on the Hub. `device`: "cpu", "cuda", "mps" or "auto".
    `steps`: denoising steps per frame; None is the preset's own number. Raises: WorldsimError, with a hint.
    """
    from worldsim.engine.preset_world import PresetWorld, open_preset

    return PresetWorld(open_preset(ref, device=device, num_steps=steps), seed=seed)


def record(
    world: PresetWorld | str | Path, folder: str | Path, *, lossless: bool = False
) -> AbstractContextManager[PresetWorld]:
    """Records a world to a new folder until the end of the `with` block, also when that ends with an exception.

    `world`: an open world, or a preset to open and close. `lossless`: store exact pixels, for training data. Afterwards
    `worldsim replay FOLDER --check` reproduces every frame. Raises: UsageError, StorageError.
    """
    from worldsim.engine import preset_world

    return preset_world.record(world, folder, lossless=lossless)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
