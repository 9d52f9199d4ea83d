"""A map of a world never seen before: frames are written into the state, and latents are rendered from it along rays.

As in `fixed_map`, a column of the frame shows what its rays hit in a two-dimensional floor plan. There the floor
plan is in the weights; here it consists of sums over frames: of wall features and their weights, of evidence that a
cell is occupied or free, of features of floor and ceiling. Sums do not depend on the order of the frames and do not
grow with them. Poses come from `map_tracker`.

Letters: B maps, N frames, C H W channels, rows and columns of the latent, P pose size, R rays of all columns, S samples
along a ray, K slices of depth, F features, E embedding, G cells along a side of the map. Lengths are in map units, of
which a pose's unit has `UNITS_PER_POSE`.
Sources: Thrun et al. 2005, "Probabilistic Robotics", chapter 9 (occupancy grids); Mildenhall et al. 2020, "NeRF",
equation 3; Gortler et al. 1996, "The Lumigraph", section 3.4 (pull and push, to fill holes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.fp32 import full_precision
from worldsim.models.maps.networks import volume_weights
from worldsim.models.pose import heading_rad

SpatialMapState: TypeAlias = dict[str, Tensor]

UNITS_PER_POSE = 384.0
"""Map units per unit of a pose. A player in the mazes of Doom is then 56 high; the sizes below are for such rooms."""
WRITE_RAYS, READ_RAYS = 4, 2
"""Rays per column of the latent."""
CELLS, CELL_UNITS = 96, 12.5
"""The map is CELLS * CELL_UNITS wide, and the first frame is at its center."""
MAP_REACH = CELL_UNITS * (CELLS - 1) / 2
"""Distance from its center to the centers of its outermost cells."""
FLOOR_CELLS, FLOOR_CELL_UNITS = 48, 25.0
WALL_FEATURES, FLOOR_FEATURES = 24, 8
COLUMN_SIZE = 8
"""E: size of the embedding of a column's index."""
SLICES_UNITS = (65.0, 85.0, 110.0, 145.0, 190.0, 250.0, 330.0, 450.0)
"""Depths at which floor and ceiling are written and read. Below the first they are outside the frame."""
NEAREST_UNITS, FARTHEST_UNITS = 8.0, 760.0
FINEST_UNITS, COARSEST_UNITS, STEP_FRACTION = 6.0, 20.0, 0.08
"""Spacing of the samples of a ray: a fraction of their depth, within these limits."""
BEYOND_LOG_DEPTH = 6.6
"""Log depth assigned to a ray that hits nothing: about 735 units."""
LOG_DEPTHS = (1.5, 6.7)
"""Range of log depths predicted from a frame: 4.5 to 812 units."""
CLEAR_UNITS = 8.0
"""Free space begins this far in front of a wall, and counts fully from twice as far."""
EDGE_UNITS = 15.0
"""Width of the transition from floor and ceiling to a wall."""
WALL_UNITS = 17.0
"""A wall that is solid is opaque over this length."""
WALL_THICKNESS_UNITS = (0.0, 12.5)
"""Walls are written at their face and once more behind it; otherwise rays would pass between two samples."""
NUM_TOP_SAMPLES = 8
"""Number of samples of a ray, those with the largest weights, whose features are read."""
WALL_SIZES = (1, 2, 4)
"""Sides of the blocks of cells that share features and evidence: single cells, and coarser ones around them."""
EVIDENCE_CHANNELS, DENSITY_WIDTH = 3, 16
"""Inputs of the density per block size (evidence of a wall, of free space, and the fraction of walls), and hidden
channels of the network that predicts it."""
RAY_CHANNELS = 5
"""Geometry inputs per ray: depth, inverse depth, remaining transmittance, confidence, and the largest weight of a
sample."""
HOLE_WEIGHT = 0.02
"""Weight of the surrounding cells, which matters where a cell itself was never seen."""


@dataclass(frozen=True, kw_only=True)
class MapRead:
    """Shapes: latent [N, C, H, W]; log_error [N, W], the log of the expected squared error of each column (0: as
    good as unknown; -2: well known); log_depth [N, R]."""

    latent_NCHW: Tensor
    log_error_NW: Tensor
    log_depth_NR: Tensor


class ColumnBlock(nn.Module):
    """A residual block over each column and its two adjacent ones. Shapes: [N, W, D] -> [N, W, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project_in, self.project_out = nn.Linear(3 * width, width), nn.Linear(width, width)

    def forward(self, x_NWD: Tensor) -> Tensor:
        padded = F.pad(self.norm(x_NWD), (0, 0, 1, 1))
        around = torch.cat((padded[:, :-2], padded[:, 1:-1], padded[:, 2:]), -1)
        return x_NWD + self.project_out(F.silu(self.project_in(around)))


class SpatialMap(nn.Module):
    """No method changes a state in place. `view_rad` is the camera's horizontal field of view."""

    depth_S: Tensor
    gap_S: Tensor
    write_across_R: Tensor
    across_R: Tensor
    slice_K: Tensor

    def __init__(self, latent_shape: tuple[int, int, int], width: int, view_rad: float) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        width, read_width = width * 5 // 6, width  # reading is the harder part
        channels, rows, columns = latent_shape
        edges_S = _sample_edges()
        for name, fixed in {
            "depth_S": (edges_S[1:] + edges_S[:-1]) / 2,
            "gap_S": edges_S.diff() / CELL_UNITS,
            "write_across_R": math.tan(view_rad / 2) * _ray_offsets(columns * WRITE_RAYS),
            "across_R": math.tan(view_rad / 2) * _ray_offsets(columns * READ_RAYS),
            "slice_K": torch.tensor(SLICES_UNITS),
        }.items():
            self.register_buffer(name, fixed, persistent=False)
        slices = len(SLICES_UNITS)
        self.column_WE = nn.Parameter(torch.randn(columns, COLUMN_SIZE) * 0.3)
        self.write_in = nn.Linear(channels * rows + COLUMN_SIZE, width)
        self.write_blocks = nn.Sequential(ColumnBlock(width), ColumnBlock(width))
        self.write_geometry = nn.Linear(width, WRITE_RAYS * 2)
        self.write_walls = nn.Linear(width, WRITE_RAYS * (WALL_FEATURES + 1))
        self.write_floor = nn.Linear(width, slices * (FLOOR_FEATURES + 1))
        self.density_in = nn.Conv2d(EVIDENCE_CHANNELS * len(WALL_SIZES), DENSITY_WIDTH, 3, padding=1)
        self.density_out = nn.Conv2d(DENSITY_WIDTH, 2, 1)
        geometry = READ_RAYS * RAY_CHANNELS + slices + COLUMN_SIZE
        features = READ_RAYS * (WALL_FEATURES + 1) + slices * (FLOOR_FEATURES + 1)
        self.read_gate = nn.Linear(geometry, read_width)
        self.read_in = nn.Linear(features + geometry, read_width)
        self.read_blocks = nn.Sequential(ColumnBlock(read_width), ColumnBlock(read_width))
        self.read_out = nn.Linear(read_width, channels * rows + 1)
        with torch.no_grad():  # initially every wall is about 100 units away, and almost nothing is a wall
            self.write_geometry.weight.mul_(0.3)
            self.write_geometry.bias.view(WRITE_RAYS, 2)[:, 0] = 4.6
            self.density_out.state_dict()["bias"].copy_(torch.tensor([-3.0, 0.0]))

    def initial_state(self, batch: int) -> SpatialMapState:
        """Shapes: wall_n [B, G / n, G / n, F + 1] (features of blocks of n x n cells, and their weight), occupied and
        free [B, G, G], floor [B, G, G, F + 1]."""
        zeros = self.column_WE.detach().new_zeros
        return {
            **{f"wall_{n}": zeros(batch, CELLS // n, CELLS // n, WALL_FEATURES + 1) for n in WALL_SIZES},
            "occupied": zeros(batch, CELLS, CELLS),
            "free": zeros(batch, CELLS, CELLS),
            "floor": zeros(batch, FLOOR_CELLS, FLOOR_CELLS, FLOOR_FEATURES + 1),
        }

    @full_precision
    def write(
        self,
        state: SpatialMapState,
        latent_NCHW: Tensor,
        pose_NP: Tensor,
        weight_N: Tensor | None = None,
        depth_NR: Tensor | None = None,
    ) -> tuple[SpatialMapState, Tensor]:
        """Adds frames to the maps, the same number to each, those of a map adjacent. N = B * frames.

        `weight_N` weights the frames; `depth_NR` replaces the predicted depth. Returns: the state, and the predicted
        log depth [N, R].
        """
        num, maps = len(latent_NCHW), len(state["free"])
        map_N = torch.arange(maps, device=pose_NP.device).repeat_interleave(num // maps)
        weight_N11 = pose_NP.new_ones(num, 1, 1) if weight_N is None else weight_N[:, None, None]
        log_depth_NR, wall_NRF, floor_NWKF = self._encode_frames(latent_NCHW)
        # Features are learned through the rendering, depth by its own target only.
        if depth_NR is None:
            depth_NR = log_depth_NR.detach().clamp(*LOG_DEPTHS).exp()
        shallow_NR = depth_NR.unflatten(1, (-1, WRITE_RAYS // READ_RAYS)).amin(-1)
        written = {
            **self._add_walls(state, map_N, pose_NP, depth_NR, wall_NRF * weight_N11),
            "free": self._add_free_space(state["free"], map_N, pose_NP, shallow_NR, weight_N11),
            "floor": self._add_floor(state["floor"], map_N, pose_NP, shallow_NR, weight_N11, floor_NWKF),
        }
        return written, log_depth_NR

    def _add_walls(
        self, state: SpatialMapState, map_N: Tensor, pose_NP: Tensor, depth_NR: Tensor, wall_NRF: Tensor
    ) -> SpatialMapState:
        ahead_NRS = torch.stack([depth_NR + behind for behind in WALL_THICKNESS_UNITS], -1)
        index, share = _splat(self._points(pose_NP, ahead_NRS, self.write_across_R), CELLS, CELL_UNITS)
        rows_NRS4F = share[..., None] * wall_NRF[:, :, None, None]
        features, evidence = rows_NRS4F[..., :-1], rows_NRS4F[..., -1:]
        return {
            **{
                f"wall_{n}": _scatter_add(state[f"wall_{n}"], map_N, _coarse_index(index, n), features)
                for n in WALL_SIZES
            },
            "occupied": _scatter_add(state["occupied"][..., None], map_N, index, evidence)[..., 0],
        }

    def _add_free_space(
        self, free_BGG: Tensor, map_N: Tensor, pose_NP: Tensor, shallow_NR: Tensor, weight_N11: Tensor
    ) -> Tensor:
        """Free space in front of the walls; outside the map it goes to the outermost cells."""
        free_NRS = ((shallow_NR[..., None] - CLEAR_UNITS - self.depth_S) / CLEAR_UNITS).clamp(0, 1) * weight_N11
        points = self._points(pose_NP, self.depth_S.expand(*shallow_NR.shape, -1), self.across_R)
        cell = (points / CELL_UNITS + (CELLS - 1) / 2).round().long().clamp(0, CELLS - 1)
        index = (cell[..., 1] * CELLS + cell[..., 0])[..., None]
        return _scatter_add(free_BGG[..., None], map_N, index, free_NRS[..., None, None])[..., 0]

    def _add_floor(
        self,
        floor_BGGF: Tensor,
        map_N: Tensor,
        pose_NP: Tensor,
        shallow_NR: Tensor,
        weight_N11: Tensor,
        floor_NWKF: Tensor,
    ) -> Tensor:
        """Floor and ceiling, in the slices in front of the walls."""
        seen_NRK = ((shallow_NR[..., None] - self.slice_K) / EDGE_UNITS + 0.5).clamp(0, 1) * weight_N11
        points = self._points(pose_NP, self.slice_K.expand(*shallow_NR.shape, -1), self.across_R)
        index, share = _splat(points, FLOOR_CELLS, FLOOR_CELL_UNITS)
        floor_NRKF = floor_NWKF.repeat_interleave(READ_RAYS, 1)
        rows = (share * seen_NRK[..., None])[..., None] * floor_NRKF[..., None, :]
        return _scatter_add(floor_BGGF, map_N, index, rows)

    def _encode_frames(self, latent_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns: log depth [N, R], wall rows [N, R, F + 2], floor rows [N, W, K, F + 1]."""
        columns = len(self.column_WE)
        x_NWD = torch.cat(
            (latent_NCHW.permute(0, 3, 1, 2).flatten(2), self.column_WE.expand(len(latent_NCHW), -1, -1)), -1
        )
        x_NWD = self.write_blocks(self.write_in(x_NWD))
        log_depth, evidence = self.write_geometry(x_NWD).unflatten(2, (WRITE_RAYS, 2)).flatten(1, 2).unbind(-1)
        wall = self.write_walls(x_NWD).unflatten(2, (WRITE_RAYS, -1)).flatten(1, 2)
        floor = self.write_floor(x_NWD).reshape(-1, columns, len(SLICES_UNITS), FLOOR_FEATURES + 1)
        return log_depth, torch.cat((_weighted(wall), evidence.sigmoid()[..., None]), -1), _weighted(floor)

    @full_precision
    def finalize(self, state: SpatialMapState) -> SpatialMapState:
        """The tables for rendering: floor and ceiling as means with holes filled, and a density for every cell.

        Shapes: density [B, 2, G, G] (of walls, and its confidence), floor and wall_n as in the state.
        """
        floor = _normalize(_fill_holes(state["floor"].permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        evidence = torch.stack((state["occupied"], state["free"]), 1)
        features = []
        for size in WALL_SIZES:
            e = F.avg_pool2d(evidence, size) if size > 1 else evidence
            encoded = torch.cat((torch.log1p(4 * e), e[:, :1] / (e.sum(1, keepdim=True) + 0.05)), 1)
            features.append(F.interpolate(encoded, scale_factor=size, mode="nearest") if size > 1 else encoded)
        return {
            "density": self.density_out(F.silu(self.density_in(torch.cat(features, 1)))),
            "floor": floor,
            **{f"wall_{n}": state[f"wall_{n}"] for n in WALL_SIZES},
        }

    @full_precision
    def floor_plan(self, state: SpatialMapState) -> tuple[Tensor, Tensor]:
        """How opaque each cell is, and how well it is known, 0 to 1. Shapes: [B, G, G] each."""
        wall_BGG = _opacity(self.finalize(state)["density"][:, 0], CELL_UNITS)
        seen_B1GG = 1 - torch.exp(-(state["occupied"] + state["free"])[:, None])
        # Distant rays leave gaps of a few cells, and a wall is thicker than its face.
        known_B1GG = F.avg_pool2d(F.max_pool2d(seen_B1GG, 5, 1, 2), 3, 1, 1)
        return wall_BGG, known_B1GG[:, 0]

    def wall_at(self, tables: SpatialMapState, position_NK2: Tensor) -> Tensor:
        """How opaque the walls are over `WALL_UNITS`, 0 to 1. Shapes: positions [N, K, 2], in pose units -> [N, K]."""
        return _opacity(self.density(tables, position_NK2)[..., 0], WALL_UNITS)

    @full_precision
    def density(self, tables: SpatialMapState, position_NK2: Tensor) -> Tensor:
        """Wall density and its confidence, as raw outputs. Shapes: positions [N, K, 2], in pose units -> [N, K, 2]."""
        maps = len(tables["density"])
        grid = (position_NK2 * (UNITS_PER_POSE / MAP_REACH)).reshape(maps, -1, position_NK2.shape[1], 2)
        sampled_BFMK = F.grid_sample(tables["density"], grid, align_corners=True, padding_mode="border")
        return sampled_BFMK.permute(0, 2, 3, 1).reshape(position_NK2.shape)

    @full_precision
    def read(self, tables: SpatialMapState, pose_NP: Tensor) -> MapRead:
        """Renders poses, the same number in each map, those of a map adjacent."""
        num, maps = len(pose_NP), len(tables["density"])
        map_N = torch.arange(maps, device=pose_NP.device).repeat_interleave(num // maps)
        points = self._points(pose_NP, self.depth_S.expand(num, len(self.across_R), -1), self.across_R)
        grid = (points / MAP_REACH).reshape(maps, -1, len(self.depth_S), 2)
        sampled = F.grid_sample(tables["density"], grid, align_corners=True, padding_mode="border")
        density_NRS, confidence_NRS = sampled.transpose(0, 1).reshape(2, num, -1, len(self.depth_S))
        transmitted_NRS = torch.exp(-F.softplus(2 * density_NRS) * self.gap_S)
        reached_NRS, weight_NRS, remaining_NR = volume_weights(transmitted_NRS)
        log_depth_NR = (weight_NRS * self.depth_S.log()).sum(-1) + BEYOND_LOG_DEPTH * remaining_NR

        top_NRS, at_NRS = weight_NRS.topk(NUM_TOP_SAMPLES, -1)
        top_points = points.gather(2, at_NRS[..., None].expand(-1, -1, -1, 2))
        wall_NRF = self._wall_at(tables, map_N, top_points, top_NRS)

        columns = len(self.column_WE)
        reached_NWK = reached_NRS[..., torch.searchsorted(self.depth_S, self.slice_K)]
        reached_NWK = reached_NWK.unflatten(1, (columns, READ_RAYS)).mean(2)
        floor_NWKF = self._floor_along(tables, map_N, pose_NP) * reached_NWK[..., None]

        # Normalized inputs: log depths are about 5, and most walls are farther than 30 units.
        inverse_depth_NR = 30 * (weight_NRS / self.depth_S).sum(-1)
        confidence_NR = (weight_NRS * confidence_NRS.sigmoid()).sum(-1)
        ray = torch.stack((log_depth_NR - 5, inverse_depth_NR, remaining_NR, confidence_NR, top_NRS[..., 0]), -1)
        ray, emb = ray.reshape(num, columns, -1), self.column_WE.expand(num, -1, -1)
        x = torch.cat((wall_NRF.reshape(num, columns, -1), ray, floor_NWKF.flatten(2), reached_NWK, emb), -1)
        x = self.read_in(x) * (1 + self.read_gate(torch.cat((ray, reached_NWK, emb), -1)))
        x = self.read_out(self.read_blocks(x))
        latent = x[..., :-1].unflatten(2, self.latent_shape[:2]).permute(0, 2, 3, 1)
        return MapRead(latent_NCHW=latent, log_error_NW=x[..., -1], log_depth_NR=log_depth_NR)

    def _wall_at(self, tables: SpatialMapState, map_N: Tensor, points: Tensor, weight_NRS: Tensor) -> Tensor:
        """Weighted sum of wall features over points of a ray. Shapes: points [N, R, S, 2]; returns [N, R, F + 1]."""
        index, share = _splat(points, CELLS, CELL_UNITS)
        sums = [_gather(tables[f"wall_{n}"], map_N, _coarse_index(index, n)) for n in WALL_SIZES]
        rows = _normalize(sums[0] + HOLE_WEIGHT * (sums[1] / 4 + HOLE_WEIGHT * sums[2] / 16)).flatten(2, 3)
        return ((share * weight_NRS[..., None]).flatten(2)[..., None, :] @ rows)[..., 0, :]

    def _floor_along(self, tables: SpatialMapState, map_N: Tensor, pose_NP: Tensor) -> Tensor:
        """Shapes: returns [N, W, K, F + 1]."""
        points = self._points(pose_NP, self.slice_K.expand(len(pose_NP), len(self.across_R), -1), self.across_R)
        index, share = _splat(points, FLOOR_CELLS, FLOOR_CELL_UNITS)
        floor = (_gather(tables["floor"], map_N, index) * share[..., None]).sum(-2)
        return floor.unflatten(1, (-1, READ_RAYS)).mean(2)

    def _points(self, pose_NP: Tensor, depth_NRS: Tensor, across_R: Tensor) -> Tensor:
        """Sample points. Depth is along the camera's axis, as in `fixed_map`. Shapes: [N, R, S, 2]."""
        angle_N1 = heading_rad(pose_NP)[:, None]
        cos, sin = angle_N1.cos(), angle_N1.sin()
        along_NR2 = torch.stack((cos + across_R * sin, sin - across_R * cos), -1)
        return UNITS_PER_POSE * pose_NP[:, None, None, :2] + depth_NRS[..., None] * along_NR2[:, :, None]


def _opacity(density: Tensor, length_units: float) -> Tensor:
    return 1 - torch.exp(-F.softplus(2 * density) * (length_units / CELL_UNITS))


def _sample_edges() -> Tensor:
    """Depths between which a ray has its samples, nearest first. Shapes: [S + 1]."""
    depth, edges = NEAREST_UNITS, []
    while depth < FARTHEST_UNITS:
        edges.append(depth)
        depth += min(COARSEST_UNITS, max(FINEST_UNITS, STEP_FRACTION * depth))
    return torch.tensor(edges)


def _ray_offsets(num_rays: int) -> Tensor:
    """From the left edge of the frame (-1) to the right edge (1)."""
    return (torch.arange(num_rays) + 0.5) / num_rays * 2 - 1


def _splat(points: Tensor, cells: int, cell_units: float) -> tuple[Tensor, Tensor]:
    """Four cells around points and their bilinear weights, 0 outside the map. Shapes: [..., 2] -> [..., 4] twice."""
    place = points / cell_units + (cells - 1) / 2
    low = place.floor()
    (x, y), (x0, y0) = (place - low).unbind(-1), low.long().unbind(-1)
    inside = (x0 >= 0) & (x0 < cells - 1) & (y0 >= 0) & (y0 < cells - 1)
    base = y0.clamp(0, cells - 2) * cells + x0.clamp(0, cells - 2)
    index = torch.stack((base, base + 1, base + cells, base + cells + 1), -1)
    share = torch.stack(((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y), -1)
    return index, share * inside[..., None]


def _scatter_add(table_BGGF: Tensor, map_N: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Adds rows to cells of each frame's map. Shapes: index [N, ...], rows [N, ..., F].

    Deterministic, except with gradients on CUDA, where `index_add` sums in the order in which threads arrive.
    """
    cells = table_BGGF.shape[1] * table_BGGF.shape[2]
    index = index + cells * map_N.view(-1, *[1] * (index.dim() - 1))
    flat = table_BGGF.flatten(0, 2)
    rows = rows.reshape(-1, flat.shape[1])
    if flat.is_cuda and not torch.is_grad_enabled():
        return flat.index_put((index.flatten(),), rows, accumulate=True).view_as(table_BGGF)
    return flat.index_add(0, index.flatten(), rows).view_as(table_BGGF)


def _gather(table_BGGF: Tensor, map_N: Tensor, index: Tensor) -> Tensor:
    """Reads rows of each frame's map. Shapes: index [N, ...]; returns [N, ..., F]."""
    cells = table_BGGF.shape[1] * table_BGGF.shape[2]
    index = index + cells * map_N.view(-1, *[1] * (index.dim() - 1))
    return table_BGGF.flatten(0, 2).index_select(0, index.flatten()).view(*index.shape, -1)


def _weighted(encoded: Tensor) -> Tensor:
    """Weights features by the last one. Shapes: [..., F + 1] -> weighted features and weight, ready to be summed."""
    weight = F.softplus(encoded[..., -1:]) + 1e-3
    return torch.cat((encoded[..., :-1] * weight, weight), -1)


def _fill_holes(sums: Tensor) -> Tensor:
    """Adds a small part of the 2x2 block around each cell, and a smaller one of the 4x4 block. Shapes: [B, F, G, G]."""
    twice = F.avg_pool2d(sums, 2)
    twice = twice + HOLE_WEIGHT * F.interpolate(F.avg_pool2d(twice, 2), scale_factor=2, mode="nearest")
    return sums + HOLE_WEIGHT * F.interpolate(twice, scale_factor=2, mode="nearest")


def _normalize(sums: Tensor) -> Tensor:
    """Mean features and the log of their weight. Shapes: [..., F + 1]."""
    return torch.cat((sums[..., :-1] / (sums[..., -1:] + 1e-5), torch.log1p(10 * sums[..., -1:])), -1)


def _coarse_index(index: Tensor, size: int) -> Tensor:
    """Index of the block of size x size cells that contains a cell."""
    return index // (CELLS * size) * (CELLS // size) + index % CELLS // size
