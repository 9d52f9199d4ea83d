"""The plan of a Doom maze and its WAD; needs no engine."""

from __future__ import annotations

import hashlib
import itertools
import struct

import pytest

from worldsim.core.config import from_mapping, to_mapping
from worldsim.core.errors import ConfigError
from worldsim.worlds.base import SIDES
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.layout import edge, generate_maze
from worldsim.worlds.doom.wad import map_name, udmf_text, wad_bytes

SEEDS = range(60)


@pytest.mark.parametrize("grid", [(4, 4), (2, 1), (7, 3)])
def test_all_cells_are_connected(grid: tuple[int, int]) -> None:
    config = DoomConfig(grid=grid, openness=0.0, landmarks=1)
    for seed in SEEDS:
        layout = generate_maze(config, seed)
        assert len(layout.openings) == len(layout.cells) - 1, "openness 0 gives a tree"
        for cell in layout.cells:
            walk = layout.path((0, 0), cell)
            assert walk[0] == (0, 0) and walk[-1] == cell
            assert all(layout.opening(a, b) for a, b in itertools.pairwise(walk)), (seed, walk)


def test_openness_adds_loops() -> None:
    trees, loops = (generate_maze(DoomConfig(openness=o), 3) for o in (0.0, 1.0))
    assert len(loops.openings) == 24 > len(trees.openings)


def test_rooms_and_passages_have_a_floor_and_walls_do_not() -> None:
    layout = generate_maze(DoomConfig(), 3)
    half = (layout.cell_units - layout.wall_units) / 2
    for cell in layout.cells:
        x, y = layout.center(cell)
        assert layout.has_floor(x, y) and layout.has_floor(x - half, y + half)
        assert not layout.has_floor(x - half - 1, y + half + 1), "the post between four cells"
        for dx, dy in SIDES.values():
            width = layout.opening(cell, (cell[0] + dx, cell[1] + dy))
            ahead = half + 2
            assert layout.has_floor(x + dx * ahead, y + dy * ahead) == (width is not None)
            aside = (width or 0) / 2 + 1
            assert not layout.has_floor(x + dx * ahead + dy * aside, y + dy * ahead + dx * aside)
    assert not layout.has_floor(-1, 10) and not layout.has_floor(5000, 5000)


def test_neighboring_cells_never_share_a_wall_texture_or_a_floor() -> None:
    for seed in SEEDS:
        layout = generate_maze(DoomConfig(num_themes=4), seed)
        for cell in layout.cells:
            for dx, dy in SIDES.values():
                other = (cell[0] + dx, cell[1] + dy)
                if other in layout.walls:
                    assert layout.walls[cell] != layout.walls[other], (seed, cell)
                    assert layout.floors[cell] != layout.floors[other], (seed, cell)


def test_wall_and_floor_together_identify_a_cell() -> None:
    for seed in SEEDS:
        layout = generate_maze(DoomConfig(), seed)
        looks = [(layout.walls[cell], layout.floors[cell]) for cell in layout.cells]
        assert len(set(looks)) == len(looks), (seed, looks)


def test_landmarks_are_in_corners_clear_of_the_player() -> None:
    config = DoomConfig()
    for seed in SEEDS:
        layout = generate_maze(config, seed)
        assert len(layout.landmarks) == config.landmarks
        for mark in layout.landmarks:
            x, y = layout.center(mark.cell)
            assert layout.cell_at(mark.x, mark.y) == mark.cell
            assert min(abs(mark.x - x), abs(mark.y - y)) > 32 + 16, "player and landmark both have a radius of 16"


def test_layout_is_deterministic_by_seed() -> None:
    config = DoomConfig()
    assert generate_maze(config, 7) == generate_maze(config, 7)
    assert generate_maze(config, 7).openings != generate_maze(config, 8).openings


def test_wad_of_the_bundled_map_is_unchanged() -> None:
    """The bundled weights are trained on exactly this map: any change requires new weights."""
    wad = wad_bytes([generate_maze(DoomConfig(), 1)])
    assert hashlib.sha256(wad).hexdigest() == "76bce3b575ba37bfa7f8510ce6430a3d05478449f4c7963422a452b061d7bb8f"


def test_wad_directory_lists_the_maps_in_order() -> None:
    wad = wad_bytes([generate_maze(DoomConfig(), seed) for seed in (1, 2)])
    magic, num_lumps, directory = struct.unpack("<4sii", wad[:12])
    entries = [struct.unpack("<ii8s", wad[directory + 16 * i :][:16]) for i in range(num_lumps)]
    names = [name.rstrip(b"\0").decode() for _, _, name in entries]
    assert magic == b"PWAD" and directory + 16 * num_lumps == len(wad)
    assert names[-6:] == [map_name(0), "TEXTMAP", "ENDMAP", map_name(1), "TEXTMAP", "ENDMAP"]
    offset, size, _ = entries[-2]
    assert wad[offset : offset + size].decode() == udmf_text(generate_maze(DoomConfig(), 2))


def test_lines_close_every_sector() -> None:
    """The signed sum of the lines with a sector on their right is zero: no gap in its outline."""
    layout = generate_maze(DoomConfig(), 1)
    vertices, lines, sides = [], [], []
    for line in udmf_text(layout).splitlines():
        values = dict(part.split(" = ") for part in line.partition("{")[2].strip(" }").split("; ") if " = " in part)
        values = {key: value.rstrip("; ") for key, value in values.items()}
        if line.startswith("vertex"):
            vertices.append((float(values["x"]), float(values["y"])))
        elif line.startswith("linedef"):
            lines.append(values)
        elif line.startswith("sidedef"):
            sides.append(int(values["sector"]))
    sums: dict[int, list[float]] = {sector: [0.0, 0.0] for sector in sides}
    for values in lines:
        (x1, y1), (x2, y2) = (vertices[int(values[v])] for v in ("v1", "v2"))
        for key, sign in (("sidefront", 1), ("sideback", -1)):
            if key in values:
                total = sums[sides[int(values[key])]]
                total[0] += sign * (x2 - x1)
                total[1] += sign * (y2 - y1)
    assert all(total == [0.0, 0.0] for total in sums.values()), sums


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("grid", (0, 4)), ("openness", 1.5), ("cell_units", 100), ("num_themes", 99), ("landmarks", 17),
        ("light", 256), ("frame_width_px", 65), ("tics_per_step", 0), ("turn_deg", 0.0), ("maps", (3, 3)),
    ],
)  # fmt: skip
def test_invalid_config_is_rejected(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        DoomConfig(**{field: value})  # type: ignore[arg-type]  # invalid on purpose
    assert caught.value.hint.startswith("expected")


def test_config_round_trips_through_a_mapping() -> None:
    config = DoomConfig(maps=(1, 2), grid=(3, 5), frame_height_px=96, frame_width_px=128)
    assert from_mapping(DoomConfig, to_mapping(config)) == config
    assert config.engine_resolution_px == (256, 192) and config.frame_shape == (96, 128, 3)
    assert DoomConfig().engine_resolution_px == (256, 192)


def test_edge_does_not_depend_on_direction() -> None:
    assert edge((1, 2), (0, 2)) == edge((0, 2), (1, 2)) == ((0, 2), (1, 2))
