"""Layer 1: reference worlds (engines with ground truth), scripted policies that play them, worlds known from data.

`open_world` opens the reference world that a config describes. An engine's package is imported when its world is first
reset.
"""

from __future__ import annotations

from typing import TypeAlias

from worldsim.worlds.base import GroundTruthWorld
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.memory_maze.config import MemoryMazeConfig

GroundTruthConfig: TypeAlias = DoomConfig | MemoryMazeConfig


def open_world(config: GroundTruthConfig, *, with_depth: bool = False) -> GroundTruthWorld:
    """`with_depth`: needed for `depth` where the engine has to know at its start (Doom)."""
    if isinstance(config, MemoryMazeConfig):
        from worldsim.worlds.memory_maze.world import MemoryMazeWorld

        return MemoryMazeWorld(config)
    from worldsim.worlds.doom.world import DoomWorld

    return DoomWorld(config, with_depth=with_depth)


def check_installed(config: GroundTruthConfig) -> None:
    """Raises: MissingPackageError with the install command; WorldError without a way to render."""
    if isinstance(config, MemoryMazeConfig):
        from worldsim.worlds.memory_maze.engine import import_memory_maze

        import_memory_maze()
    else:
        from worldsim.worlds.doom.engine import import_vizdoom

        import_vizdoom()
