"""Mazes as grids of cells: the questions that policies and evaluation ask of every maze world."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

Cell: TypeAlias = tuple[int, int]
"""(column, row); rows count northward."""

SIDES = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "south": (0, -1)}


class MazeLayout(Protocol):
    """The plan of a maze, in the units of the world's poses."""

    @property
    def cells(self) -> tuple[Cell, ...]: ...

    def center(self, cell: Cell) -> tuple[float, float]: ...

    def cell_at(self, x: float, y: float) -> Cell: ...

    def neighbors(self, cell: Cell) -> list[Cell]:
        """Cells that can be walked to directly."""
        ...

    def path(self, start: Cell, goal: Cell) -> list[Cell]:
        """A shortest path, both ends included."""
        ...


def shortest_path(neighbors: Callable[[Cell], Iterable[Cell]], start: Cell, goal: Cell) -> list[Cell]:
    """A shortest path from `start` to `goal`, both included."""
    came_from: dict[Cell, Cell] = {start: start}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        for other in neighbors(cell):
            if other not in came_from:
                came_from[other] = cell
                queue.append(other)
    assert goal in came_from, f"no path from {start} to {goal}: the maze is not connected"
    path = [goal]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]
