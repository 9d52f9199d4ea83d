"""Which true worlds there are: a config in, a world out. An engine's package is imported when its world is reset."""

from __future__ import annotations

from typing import TypeAlias

from worldsim.worlds.base import GroundTruthWorld
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.memory_maze.config import MemoryMazeConfig

GroundTruthConfig: TypeAlias = DoomConfig | MemoryMazeConfig


def open_world(config: GroundTruthConfig, *, with_depth: bool = False) -> GroundTruthWorld:
    """`with_depth`: ask for it now, where an engine has to know from the start."""
    if isinstance(config, MemoryMazeConfig):
        from worldsim.worlds.memory_maze.world import MemoryMazeWorld

        return MemoryMazeWorld(config)
    from worldsim.worlds.doom.world import DoomWorld

    return DoomWorld(config, with_depth=with_depth)


def check_installed(config: GroundTruthConfig) -> None:
    """Raises: MissingPackageError, with what to install; WorldError where there is nothing to draw with."""
    if isinstance(config, MemoryMazeConfig):
        from worldsim.worlds.memory_maze.engine import import_memory_maze

        import_memory_maze()
    else:
        from worldsim.worlds.doom.engine import import_vizdoom

        import_vizdoom()
