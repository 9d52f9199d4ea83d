"""The plan of a Memory Maze: its free cells. Coordinates are cells, x eastward, y northward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from worldsim.worlds.base import SIDES, Cell, shortest_path


@dataclass(frozen=True, kw_only=True)
class MemoryMazeLayout:
    """A maze without its outer wall. Shapes: free bool [rows, columns], southernmost row first."""

    seed: int
    free: npt.NDArray[np.bool_]
    targets: tuple[Cell, ...]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The free cells."""
        return tuple((int(column), int(row)) for row, column in np.argwhere(self.free))

    def center(self, cell: Cell) -> tuple[float, float]:
        return (cell[0] + 0.5, cell[1] + 0.5)

    def cell_at(self, x: float, y: float) -> Cell:
        """The free cell nearest to a point: the ball has a radius, so a pose can be slightly inside a wall."""
        here = (math.floor(x), math.floor(y))
        return here if here in self._free_cells else min(self.cells, key=lambda c: math.dist(self.center(c), (x, y)))

    def neighbors(self, cell: Cell) -> list[Cell]:
        """Cells that can be walked to directly."""
        around = [(cell[0] + dx, cell[1] + dy) for dx, dy in SIDES.values()]
        return [other for other in around if other in self._free_cells]

    def path(self, start: Cell, goal: Cell) -> list[Cell]:
        """A shortest path, both ends included."""
        return shortest_path(self.neighbors, start, goal)

    @cached_property
    def _free_cells(self) -> frozenset[Cell]:
        return frozenset(self.cells)
