"""Plans a maze from a seed: cells, openings, themes, landmarks. Pure Python, no engine; same seed, same maze.

Owns: the plan and questions about it (neighbors, paths, the cell of a point). Does not own: lines and sectors (`wad`).
Coordinates are map units, x eastward, y northward; the center of cell (0, 0) is at half a cell.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from worldsim.worlds.base import SIDES, Cell, shortest_path
from worldsim.worlds.doom.config import LANDMARK_KINDS, DoomConfig

Edge: TypeAlias = tuple[Cell, Cell]
"""Two neighboring cells, the lower one first."""

THEME_ATTEMPTS = 50
DOOR_UNITS = 80
LANDMARK_INSET_UNITS = 26


@dataclass(frozen=True, kw_only=True)
class Landmark:
    """A thing in the corner of a cell."""

    cell: Cell
    kind: int
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class DoomMazeLayout:
    """A maze. `openings` maps an edge to the width of its passage in map units; edges without entry are walls."""

    seed: int
    columns: int
    rows: int
    cell_units: int
    wall_units: int
    light: int
    openings: dict[Edge, int]
    walls: dict[Cell, int]
    """Theme of a cell's walls."""
    floors: dict[Cell, int]
    """Theme of a cell's floor and ceiling."""
    accents: dict[tuple[Cell, str], int]
    """Theme of a closed wall (cell, side) that differs from its cell's."""
    landmarks: tuple[Landmark, ...]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        return tuple((column, row) for row in range(self.rows) for column in range(self.columns))

    def center(self, cell: Cell) -> tuple[float, float]:
        return ((cell[0] + 0.5) * self.cell_units, (cell[1] + 0.5) * self.cell_units)

    def cell_at(self, x: float, y: float) -> Cell:
        """The cell of a point; points in a passage belong to the nearer cell."""
        column = min(max(int(x // self.cell_units), 0), self.columns - 1)
        row = min(max(int(y // self.cell_units), 0), self.rows - 1)
        return (column, row)

    def has_floor(self, x: float, y: float) -> bool:
        """Whether a point is in a room or passage rather than inside a wall."""
        cell = self.cell_at(x, y)
        aside, ahead = (here - middle for here, middle in zip((x, y), self.center(cell), strict=True))
        half = (self.cell_units - self.wall_units) / 2
        if max(abs(aside), abs(ahead)) <= half:
            return True
        step = (round(math.copysign(1, aside)), 0) if abs(aside) > half else (0, round(math.copysign(1, ahead)))
        width = self.opening(cell, (cell[0] + step[0], cell[1] + step[1]))
        return width is not None and min(abs(aside), abs(ahead)) <= width / 2

    def opening(self, a: Cell, b: Cell) -> int | None:
        """Width of the passage between two cells, None for a wall."""
        return self.openings.get(edge(a, b))

    def opening_center(self, a: Cell, b: Cell) -> tuple[float, float]:
        (ax, ay), (bx, by) = self.center(a), self.center(b)
        return ((ax + bx) / 2, (ay + by) / 2)

    def neighbors(self, cell: Cell) -> list[Cell]:
        """Cells that can be walked to directly."""
        around = [(cell[0] + dx, cell[1] + dy) for dx, dy in SIDES.values()]
        return [other for other in around if edge(cell, other) in self.openings]

    def path(self, start: Cell, goal: Cell) -> list[Cell]:
        """A shortest path, both ends included."""
        return shortest_path(self.neighbors, start, goal)


def edge(a: Cell, b: Cell) -> Edge:
    return (a, b) if a <= b else (b, a)


def generate_maze(config: DoomConfig, seed: int) -> DoomMazeLayout:
    """The maze of a seed: connected, with cells that can be told apart by their themes."""
    columns, rows = config.grid
    cells = [(column, row) for row in range(rows) for column in range(columns)]
    edges = [edge(c, (c[0] + dx, c[1] + dy)) for c in cells for dx, dy in ((1, 0), (0, 1))]
    edges = [e for e in edges if e[1] in set(cells)]
    openings = _generate_openings(config, cells, edges, random.Random(f"openings:{seed}"))
    rng = random.Random(f"themes:{seed}")
    walls, floors = _assign_themes(config, cells, rng)
    accents: dict[tuple[Cell, str], int] = {}
    for cell in cells:
        for side, (dx, dy) in SIDES.items():
            if edge(cell, (cell[0] + dx, cell[1] + dy)) not in openings and rng.random() < config.accent_share:
                accents[cell, side] = rng.choice([t for t in range(config.num_themes) if t != walls[cell]])
    return DoomMazeLayout(
        seed=seed,
        columns=columns,
        rows=rows,
        cell_units=config.cell_units,
        wall_units=config.wall_units,
        light=config.light,
        openings=openings,
        walls=walls,
        floors=floors,
        accents=accents,
        landmarks=_place_landmarks(config, cells, random.Random(f"landmarks:{seed}")),
    )


def _generate_openings(config: DoomConfig, cells: list[Cell], edges: list[Edge], rng: random.Random) -> dict[Edge, int]:
    """A random spanning tree (Kruskal) of doors and wide passages, then the fraction `openness` of the other edges."""
    group = {cell: cell for cell in cells}

    def root(cell: Cell) -> Cell:
        while group[cell] != cell:
            cell = group[cell]
        return cell

    wide = config.cell_units - config.wall_units
    shuffled = rng.sample(edges, len(edges))
    openings: dict[Edge, int] = {}
    closed: list[Edge] = []
    for a, b in shuffled:
        if root(a) == root(b):
            closed.append((a, b))
        else:
            group[root(a)] = root(b)
            openings[a, b] = wide if rng.random() < config.openness else DOOR_UNITS
    for pair in closed[: round(config.openness * len(closed))]:
        openings[pair] = wide if rng.random() < 0.5 else DOOR_UNITS
    return dict(sorted(openings.items()))


def _assign_themes(
    config: DoomConfig, cells: list[Cell], rng: random.Random
) -> tuple[dict[Cell, int], dict[Cell, int]]:
    """Themes of walls and floors; resampled a limited number of times while two cells look alike."""
    for _ in range(THEME_ATTEMPTS):
        walls = _color_cells(cells, config.num_themes, rng)
        floors = _color_cells(cells, config.num_themes, rng, avoid=walls)
        if len({(walls[cell], floors[cell]) for cell in cells}) == len(cells):
            break
    return walls, floors


def _color_cells(
    cells: list[Cell], num_themes: int, rng: random.Random, avoid: dict[Cell, int] | None = None
) -> dict[Cell, int]:
    """A theme per cell: different from its neighbors' and `avoid`, and among those the least used so far."""
    chosen: dict[Cell, int] = {}
    for cell in cells:
        around = {chosen.get((cell[0] + dx, cell[1] + dy)) for dx, dy in SIDES.values()}
        around |= {avoid[cell]} if avoid else set()
        uses = list(chosen.values())
        free = [theme for theme in range(num_themes) if theme not in around]
        least = min(uses.count(theme) for theme in free)
        chosen[cell] = rng.choice([theme for theme in free if uses.count(theme) == least])
    return chosen


def _place_landmarks(config: DoomConfig, cells: list[Cell], rng: random.Random) -> tuple[Landmark, ...]:
    reach = (config.cell_units - config.wall_units) / 2 - LANDMARK_INSET_UNITS
    kinds = rng.sample(range(len(LANDMARK_KINDS)), len(LANDMARK_KINDS))
    landmarks = []
    for number, (column, row) in enumerate(rng.sample(cells, config.landmarks)):
        x = (column + 0.5) * config.cell_units + rng.choice((-1, 1)) * reach
        y = (row + 0.5) * config.cell_units + rng.choice((-1, 1)) * reach
        landmarks.append(Landmark(cell=(column, row), kind=kinds[number % len(kinds)], x=x, y=y))
    return tuple(landmarks)
