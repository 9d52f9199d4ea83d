"""Mazes as cells one can walk between: the question that every such world asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

Cell: TypeAlias = tuple[int, int]
"""(column, row), rows counted to the north."""

SIDES = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "south": (0, -1)}


def shortest_path(neighbors: Callable[[Cell], Iterable[Cell]], start: Cell, goal: Cell) -> list[Cell]:
    """A shortest walk from `start` to `goal`, both included."""
    came_from: dict[Cell, Cell] = {start: start}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        for other in neighbors(cell):
            if other not in came_from:
                came_from[other] = cell
                queue.append(other)
    assert goal in came_from, f"no way from {start} to {goal}: the maze is not connected"
    walk = [goal]
    while walk[-1] != start:
        walk.append(came_from[walk[-1]])
    return walk[::-1]
