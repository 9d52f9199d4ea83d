"""Pose tracking for a map of a world never seen before, which is built from the frames of the session.

See `spatial_map` for the map itself. The pose is relative to the first frame and known by dead reckoning, from the
actions and the walls seen so far. A generated world has no other truth, so a pose error distorts the world's shape but
contradicts nothing. Where poses are given, the action is the pose, relative to the origin that the world defines.

Letters as in `spatial_map`; T frames of a clip, A action.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from worldsim.models.fp32 import full_precision
from worldsim.models.maps.map_model import MapMemory, MapState
from worldsim.models.maps.pose_tracking import (
    Motion,
    ego_motion,
    fit_pose,
    motion_gate,
    shift_previous,
    stop_at_walls,
)
from worldsim.models.maps.spatial_map import MAP_REACH, UNITS_PER_POSE, SpatialMap, SpatialMapState
from worldsim.models.pose import POSE_SIZE, heading_rad, rotate, unit_heading
from worldsim.models.world_model import FloorPlan

GENERATED_WEIGHT = 0.05
"""Weight of a generated frame relative to a true one. Where nothing else was seen, the weight has no effect."""
PROBE_RADII_UNITS, NUM_PROBE_DIRECTIONS = (0.0, 12.0, 24.0, 36.0, 52.0), 8
"""Distances and number of directions at which the motion model reads the map's walls."""
CAMERA_RADIUS_UNITS = 12.0
"""Distance that a camera moved by poses keeps from the walls ahead."""
PRIOR_PRECISION = (1 / 0.006**2, 1 / 0.006**2, 1 / 0.006**2)
"""Precision (one over the variance) of the estimated (x, y, heading), relative to a true frame."""
MAX_EXPECTED_ERROR, CORRELATED_VALUES = 0.6, 4.0
"""Columns with a larger expected squared error do not correct the pose; the errors of this many values of a column are
counted as one independent error."""
ERROR_FLOOR = 0.25
"""Added to the expected squared error of a column before dividing by it: limits a column's weight to four."""


class MapAwareMotion(Motion):
    """Motion among the walls of the map, read as densities at points around the camera, in its own frame."""

    probe_K2: Tensor

    def __init__(self, action_size: int, width: int) -> None:
        angles = torch.arange(NUM_PROBE_DIRECTIONS) / NUM_PROBE_DIRECTIONS * 2 * math.pi
        points = [
            (r * angle.cos(), r * angle.sin())
            for r in PROBE_RADII_UNITS
            for angle in angles[: NUM_PROBE_DIRECTIONS if r else 1]
        ]
        super().__init__(2 * len(points) + 2, action_size, width)
        self.register_buffer("probe_K2", torch.tensor(points) / UNITS_PER_POSE, persistent=False)

    def forward(
        self, spatial_map: SpatialMap, tables: SpatialMapState, pose_NP: Tensor, previous_NP: Tensor, action_NA: Tensor
    ) -> Tensor:
        probes_NK2 = rotate(self.probe_K2, heading_rad(pose_NP)[:, None])
        density_NKF = spatial_map.density(tables, pose_NP[:, None, :2] + probes_NK2)
        around = torch.cat((density_NKF.flatten(1), ego_motion(pose_NP, previous_NP)[:, :2]), -1)
        return self.step(pose_NP, previous_NP, action_NA, around)


class SpatialMapMemory(MapMemory):
    """Predicts the pose, renders, and writes frames. With `pose_is_action` an action begins with the pose: x, y, cos,
    sin."""

    num_extra_channels = 1
    """The log of the expected error."""

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        action_size: int,
        width: int,
        *,
        view_rad: float,
        pose_is_action: bool = False,
        solid_walls: bool = False,
    ) -> None:
        super().__init__()
        self._solid_walls = solid_walls
        self.grid = SpatialMap(latent_shape, width, view_rad)
        self.motion = None if pose_is_action else MapAwareMotion(action_size, width // 2)

    def initial_state(self, batch: int) -> SpatialMapState:
        """Shapes: `pose` and `previous_pose` [B, P]; the others are the map's."""
        pose_BP = self.grid.column_WE.detach().new_zeros(batch, POSE_SIZE)
        pose_BP[:, 2] = 1.0
        return {**self.grid.initial_state(batch), "pose": pose_BP, "previous_pose": pose_BP.clone()}

    @full_precision
    def move(self, tables: SpatialMapState, pose_NP: Tensor, previous_NP: Tensor, action_NA: Tensor) -> Tensor:
        """The pose one tick later, stopped by the walls of finalized maps. Shapes: returns [N, P]."""
        if self.motion is None:
            return pose_from_action(action_NA)
        moved: Tensor = self.motion(self.grid, tables, pose_NP, previous_NP, action_NA)
        return moved

    @full_precision
    def predict(self, state: SpatialMapState, action_BA: Tensor) -> tuple[SpatialMapState, Tensor]:
        tables = self.grid.finalize(state)
        pose_BP = self.move(tables, state["pose"], state["previous_pose"], action_BA)
        if self._solid_walls and self.motion is not None:
            pose_BP = stop_at_walls(partial(self.grid.wall_at, tables), state["pose"], pose_BP)
        return {**state, "pose": pose_BP, "previous_pose": state["pose"]}, self._render(tables, pose_BP)

    @torch.no_grad()
    def write_clip(self, latent_BTCHW: Tensor, action_BTA: Tensor, start: MapState) -> MapState:
        """Where poses are given, all frames at once."""
        if self.motion is not None or latent_BTCHW.shape[1] < 2:
            return super().write_clip(latent_BTCHW, action_BTA, start)
        pose_BTP = pose_from_action(action_BTA)
        sums, _ = self.grid.write(start, latent_BTCHW.flatten(0, 1), pose_BTP.flatten(0, 1))
        return {**start, **sums, "pose": pose_BTP[:, -1], "previous_pose": pose_BTP[:, -2]}

    @torch.no_grad()
    @full_precision
    def render_queries(self, state: MapState, action_BTA: Tensor) -> Tensor:
        """Where poses are given, all frames at once."""
        if self.motion is not None:
            return super().render_queries(state, action_BTA)
        pose_NP = pose_from_action(action_BTA).flatten(0, 1)
        return self._render(self.grid.finalize(state), pose_NP).unflatten(0, action_BTA.shape[:2])

    def _render(self, tables: SpatialMapState, pose_NP: Tensor) -> Tensor:
        """The log of the expected error and the latent, as channels. Shapes: returns [N, F, H, W]."""
        rendered = self.grid.read(tables, pose_NP)
        latent_NCHW = rendered.latent_NCHW
        log_error = rendered.log_error_NW[:, None, None].expand(-1, 1, latent_NCHW.shape[2], -1)
        return torch.cat((log_error, latent_NCHW), 1)

    def commit(
        self, state: SpatialMapState, latent_BCHW: Tensor, generated_B: Tensor, pose_BP: Tensor | None = None
    ) -> SpatialMapState:
        """Writes a frame to the map. True frames are written at the true pose `pose_BP`, where known."""
        # At rest generated frames have no weight: otherwise the map would fill with the model's own repeated frame.
        moving_B = motion_gate(ego_motion(state["pose"], state["previous_pose"]))
        weight_B = torch.where(generated_B, GENERATED_WEIGHT * moving_B, 1.0)
        if self.motion is not None and not bool(generated_B.all()):
            state = self._relocate(state, latent_BCHW, generated_B[:, None], pose_BP)
        sums, _ = self.grid.write(state, latent_BCHW, state["pose"], weight_B)
        return {**state, **sums}

    @torch.no_grad()
    @full_precision
    def stop_at_walls(self, state: SpatialMapState, action_BA: Tensor) -> Tensor:
        if not self._solid_walls or self.motion is not None:
            return action_BA
        wall_at = partial(self.grid.wall_at, self.grid.finalize(state))
        radius = CAMERA_RADIUS_UNITS / UNITS_PER_POSE
        pose_BP = stop_at_walls(wall_at, state["pose"], action_BA[:, :POSE_SIZE], radius=radius)
        return torch.cat((pose_BP, action_BA[:, POSE_SIZE:]), -1)

    @torch.no_grad()
    def floor_plan(self, state: MapState) -> FloorPlan:
        wall_BGG, known_BGG = self.grid.floor_plan(state)
        return FloorPlan(wall_BGG, known_BGG, MAP_REACH / UNITS_PER_POSE)

    def _relocate(
        self, state: SpatialMapState, latent_BCHW: Tensor, generated_B1: Tensor, pose_BP: Tensor | None
    ) -> SpatialMapState:
        """Corrects the pose of rows with true frames: to the true pose if known, otherwise by refinement."""
        previous_BP = state["previous_pose"]
        if pose_BP is None:
            pose_BP = self._refined_pose(state, latent_BCHW)
            previous_BP = shift_previous(previous_BP, state["pose"], pose_BP)
        return {
            **state,
            "pose": torch.where(generated_B1, state["pose"], pose_BP),
            "previous_pose": torch.where(generated_B1, state["previous_pose"], previous_BP),
        }

    @torch.no_grad()
    @full_precision
    def _refined_pose(self, state: SpatialMapState, latent_BCHW: Tensor) -> Tensor:
        """The pose, refined so that the known parts of the map match a true frame."""
        tables = self.grid.finalize(state)

        def read(pose_NP: Tensor) -> tuple[Tensor, Tensor]:
            rendered = self.grid.read(tables, pose_NP)
            expected_NW = rendered.log_error_NW.clamp(-4, 2).exp()
            weight_NW = torch.where(
                expected_NW < MAX_EXPECTED_ERROR, 1 / (CORRELATED_VALUES * (ERROR_FLOOR + expected_NW)), 0.0
            )
            return rendered.latent_NCHW, weight_NW[:, None, None]

        return fit_pose(read, state["pose"], latent_BCHW, precision=PRIOR_PRECISION, num_steps=1)


def pose_from_action(action_BA: Tensor) -> Tensor:
    """The pose in an action, where the inputs are poses. Shapes: [..., A] -> [..., P]."""
    return unit_heading(action_BA[..., :POSE_SIZE])
