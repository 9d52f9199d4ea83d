"""worldsim: play a neural world on your own computer.

What the README's dozen lines use is here by name, and imported when it is first asked for: `import worldsim` alone
loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldsim.core.types import Action
    from worldsim.engine.recorder import Recorder
    from worldsim.engine.replay import session_header
    from worldsim.engine.simulator import Simulator
    from worldsim.presets.store import load_preset

__version__ = "0.1.0"
__all__ = ["Action", "Recorder", "Simulator", "load_preset", "session_header"]

_PLACES = {
    "Action": "worldsim.core.types",
    "Recorder": "worldsim.engine.recorder",
    "Simulator": "worldsim.engine.simulator",
    "load_preset": "worldsim.presets.store",
    "session_header": "worldsim.engine.replay",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
