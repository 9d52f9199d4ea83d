"""Writes mazes as a WAD for the engine: one UDMF map per maze, and textures of our own. Same mazes, same bytes.

A map is three lumps: a marker MAPnn (empty), TEXTMAP (UDMF text) and ENDMAP; the engine builds its own nodes.
Every cell is a sector, every passage between two cells is a sector with its own trim, and walls are one-sided lines.

The painted textures have colors that Freedoom lacks, as patches in the engine's picture format: a wall of 128x128 with
a dark wainscot, a light field above it and one broad stripe. The shapes are large and free of noise, and sufficient to
tell the viewing angle. Colors are indices into the engine's palette.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from worldsim.worlds.base import SIDES, Cell
from worldsim.worlds.doom.config import LANDMARK_KINDS, THEMES, TRIM_CEILING, TRIM_FLOOR, TRIM_WALL
from worldsim.worlds.doom.layout import DoomMazeLayout

CEILING_UNITS = 128
DOOR_CEILING_UNITS = 104
PLAYER_START_THING = 1

TEXTURE_SIZE_PX = 128
WAINSCOT_TOP_PX = 84
STRIPE_PX = (48, 80)

Vertex = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PaintedTexture:
    """Three palette indices."""

    field: int
    stripe: int
    wainscot: int


PAINTED_TEXTURES = {
    "WSYELLOW": PaintedTexture(field=162, stripe=161, wainscot=164),
    "WSLILAC": PaintedTexture(field=194, stripe=193, wainscot=196),
}


def map_name(number: int) -> str:
    """The lump name of the n-th map of a WAD, from 0."""
    return f"MAP{number + 1:02d}"


def wad_bytes(layouts: Sequence[DoomMazeLayout]) -> bytes:
    """A PWAD: 12-byte header, lumps, directory of (offset, size, name). Includes the painted textures."""
    lumps = [
        ("TX_START", b""),
        *((name, _patch_bytes(texture)) for name, texture in PAINTED_TEXTURES.items()),
        ("TX_END", b""),
    ]
    for number, layout in enumerate(layouts):
        lumps += [(map_name(number), b""), ("TEXTMAP", udmf_text(layout).encode()), ("ENDMAP", b"")]
    body, directory = bytearray(), bytearray()
    for name, lump in lumps:
        directory += struct.pack("<ii8s", 12 + len(body), len(lump), name.encode())
        body += lump
    return struct.pack("<4sii", b"PWAD", len(lumps), 12 + len(body)) + bytes(body) + bytes(directory)


def udmf_text(layout: DoomMazeLayout) -> str:
    writer = _MapWriter(layout)
    for cell in layout.cells:
        writer.add_cell(cell)
    for a, b in layout.openings:
        writer.add_passage(a, b)
    start_x, start_y = layout.center((0, 0))
    writer.add_thing(start_x, start_y, PLAYER_START_THING)
    for landmark in layout.landmarks:
        writer.add_thing(landmark.x, landmark.y, LANDMARK_KINDS[landmark.kind].thing)
    return writer.text()


class _MapWriter:
    """Collects UDMF blocks. A line's front side, the sector, is to its right."""

    def __init__(self, layout: DoomMazeLayout) -> None:
        self._layout = layout
        self._vertices: dict[Vertex, int] = {}
        self._sectors: list[str] = []
        self._sides: list[str] = []
        self._lines: list[str] = []
        self._things: list[str] = []
        self._cell_sectors: dict[Cell, int] = {}

    def add_cell(self, cell: Cell) -> None:
        """The cell's sector and its walls, with gaps for passages."""
        layout = self._layout
        theme = THEMES[layout.floors[cell]]
        sector = self._add_sector(theme.floor, theme.ceiling, CEILING_UNITS)
        self._cell_sectors[cell] = sector
        half = (layout.cell_units - layout.wall_units) / 2
        for side, (dx, dy) in SIDES.items():
            texture = THEMES[layout.accents.get((cell, side), layout.walls[cell])].wall
            gap = layout.opening(cell, (cell[0] + dx, cell[1] + dy))
            if gap is None:
                spans: list[tuple[float, float]] = [(-half, half)]
            else:
                spans = [(-half, -gap / 2), (gap / 2, half)] if gap < 2 * half else []
            for begin, end in spans:
                self._add_wall(
                    self._on_side(cell, side, begin, half),
                    self._on_side(cell, side, end, half),
                    sector,
                    texture,
                    offset=round(begin + half),
                )

    def add_passage(self, a: Cell, b: Cell) -> None:
        """The sector between two cells: two jambs, and a lintel on each side."""
        width = self._layout.openings[a, b]
        half = (self._layout.cell_units - self._layout.wall_units) / 2
        near = "east" if b[0] > a[0] else "north"
        far = "west" if near == "east" else "south"
        is_door = width < 2 * half
        height = DOOR_CEILING_UNITS if is_door else CEILING_UNITS
        sector = self._add_sector(TRIM_FLOOR, TRIM_CEILING, height)
        for cell, side in ((a, near), (b, far)):
            begin, end = (self._on_side(cell, side, s * width / 2, half) for s in (-1, 1))
            front = self._add_side(self._cell_sectors[cell], top=TRIM_WALL)
            self._add_line(begin, end, front, self._add_side(sector))
        a_begin, a_end = (self._on_side(a, near, s * width / 2, half) for s in (-1, 1))
        b_begin, b_end = (self._on_side(b, far, s * width / 2, half) for s in (-1, 1))
        self._add_wall(a_begin, b_end, sector, TRIM_WALL)
        self._add_wall(b_begin, a_end, sector, TRIM_WALL)

    def add_thing(self, x: float, y: float, thing: int) -> None:
        skills = " ".join(f"skill{n} = true;" for n in range(1, 6))
        self._things.append(f"thing {{ x = {x:.1f}; y = {y:.1f}; type = {thing}; angle = 0; {skills} single = true; }}")

    def text(self) -> str:
        vertices = [f"vertex {{ x = {x:.1f}; y = {y:.1f}; }}" for x, y in self._vertices]
        blocks = [*self._things, *vertices, *self._lines, *self._sides, *self._sectors]
        return 'namespace = "zdoom";\n' + "\n".join(blocks) + "\n"

    def _on_side(self, cell: Cell, side: str, along: float, half: float) -> Vertex:
        """A point on a cell's wall; `along` increases clockwise, so that the inside of the cell is to the right."""
        x, y = self._layout.center(cell)
        dx, dy = SIDES[side]
        return (x + dx * half + dy * along, y + dy * half - dx * along)

    def _add_sector(self, floor: str, ceiling: str, height: int) -> int:
        self._sectors.append(
            f'sector {{ heightfloor = 0; heightceiling = {height}; texturefloor = "{floor}"; '
            f'textureceiling = "{ceiling}"; lightlevel = {self._layout.light}; }}'
        )
        return len(self._sectors) - 1

    def _add_side(self, sector: int, *, middle: str = "-", top: str = "-", offset: int = 0) -> int:
        self._sides.append(
            f'sidedef {{ sector = {sector}; texturemiddle = "{middle}"; texturetop = "{top}"; offsetx = {offset}; }}'
        )
        return len(self._sides) - 1

    def _add_wall(self, begin: Vertex, end: Vertex, sector: int, texture: str, *, offset: int = 0) -> None:
        self._add_line(begin, end, self._add_side(sector, middle=texture, offset=offset), None)

    def _add_line(self, begin: Vertex, end: Vertex, front: int, back: int | None) -> None:
        v1, v2 = (self._vertices.setdefault(p, len(self._vertices)) for p in (begin, end))
        kind = "blocking = true;" if back is None else f"sideback = {back}; twosided = true;"
        self._lines.append(f"linedef {{ v1 = {v1}; v2 = {v2}; sidefront = {front}; {kind} }}")


def _patch_bytes(texture: PaintedTexture) -> bytes:
    """Picture format: width, height, offsets; the start of each column; columns of one post each."""
    columns = []
    for x in range(TEXTURE_SIZE_PX):
        upper = texture.stripe if STRIPE_PX[0] <= x < STRIPE_PX[1] else texture.field
        pixels = bytes([upper] * WAINSCOT_TOP_PX + [texture.wainscot] * (TEXTURE_SIZE_PX - WAINSCOT_TOP_PX))
        # A post: first row, length, a byte of padding on either side of the pixels; 255 ends the column.
        columns.append(bytes([0, TEXTURE_SIZE_PX, 0]) + pixels + bytes([0, 255]))
    first = 8 + 4 * TEXTURE_SIZE_PX
    offsets = [first + x * len(columns[0]) for x in range(TEXTURE_SIZE_PX)]
    header = struct.pack("<4h", TEXTURE_SIZE_PX, TEXTURE_SIZE_PX, 0, 0)
    return header + struct.pack(f"<{TEXTURE_SIZE_PX}i", *offsets) + b"".join(columns)
