"""A learned map of a fixed world: a two-dimensional radiance field, and pose tracking.

The estimated pose of the camera is in the state, the map in the weights. In training the true pose is the target; at
play there are only frames and actions. For worlds never seen before see `map_tracker`, which builds a map in the state.

A maze seen at eye level is two-dimensional: a column of the frame depends on what its rays hit in the floor plan. So
density and features are grids over the floor plan, integrated along rays as in a radiance field, with two differences:
the field has two dimensions, and the result is a column of the autoencoder's latent, not a color. A wall learned from
one position is known from every other; an MLP from pose to frame would have to learn it for each position.

Positions are scaled so that the map covers [-1, 1] (see `models.pose`). Letters: B batch, P pose size, C H W channels,
rows and columns of the latent, R rays of all columns, S samples along a ray, F features, K slices of depth.
Source: Mildenhall et al. 2020, "NeRF", equation 3; grids: see `networks`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.fp32 import full_precision
from worldsim.models.maps.map_model import MapMemory, MapState
from worldsim.models.maps.networks import FeatureGrid, ResidualMLP, volume_weights
from worldsim.models.maps.pose_tracking import TRANSLATION_SCALE, Motion, fit_pose, shift_previous, speed, stop_at_walls
from worldsim.models.pose import POSE_SIZE, heading_rad, move_by, unit_heading
from worldsim.models.world_model import FloorPlan

RAYS_PER_COLUMN = 2
NUM_SAMPLES = 40
NEAREST, FARTHEST = 0.02, 2.9
"""Range of depths at which a ray is sampled, evenly in the logarithm; in scaled units (the map is 2 wide)."""
FIELD_REACH = 1.08
"""Half the width of the plane: the outer walls are outside the walkable map."""

WALL_CELLS, WALL_FEATURES = (64, 128), 12
FLOOR_CELLS, FLOOR_FEATURES = (32,), 6
"""The floor in front of a wall is rendered too, in a few slices of depth."""
NUM_SLICES = 8
COLUMN_FEATURES = 16
DENSITY_GAIN, DENSITY_START, DENSITY_SCALE = 4.0, -2.0, 20.0
"""Density is scale * softplus(gain * grid + start): initially a thin fog, through which gradients reach all samples."""
PLAN_POINTS = 96
"""Points along a side of a floor plan."""
WALL_LENGTH = 0.08
"""A wall that is solid is opaque over this length, in scaled units."""
INIT_GAIN = 2.0
"""Grids are initialized this much larger than elsewhere: an even fog has a symmetry that training would not break."""


POSITION_CELLS = (16, 32, 64)
"""Cells along x and y of the grids from which the motion learns where the walls are."""
POSITION_FEATURES = 8
REFINEMENT_STEPS = 2
RENDER_VARIANCE = 0.1
"""Assumed squared error per latent value of what is rendered at the true pose."""
PRIOR_PRECISION = (1 / 0.03**2, 1 / 0.03**2, 1 / 0.04**2)
"""Precision (one over the variance) of the estimated (x, y, heading), relative to a frame."""
TRUE_POSE_NOISE = (0.006, 0.006, 0.01)
"""Typical error of a correction: (x, y, heading)."""


class RadianceField(nn.Module):
    """`view_rad` is the camera's horizontal field of view."""

    ray_angle_R: Tensor
    depth_S: Tensor
    spacing_S: Tensor
    slice_SK: Tensor

    def __init__(self, latent_shape: tuple[int, int, int], width: int, view_rad: float) -> None:
        super().__init__()
        self.latent_shape = channels, rows, columns = latent_shape
        self.walls = FeatureGrid(WALL_CELLS, 1 + WALL_FEATURES)
        self.floor = FeatureGrid(FLOOR_CELLS, FLOOR_FEATURES)
        for parameter in (*self.walls.parameters(), *self.floor.parameters()):
            parameter.data.mul_(INIT_GAIN)
        size = RAYS_PER_COLUMN * (2 * WALL_FEATURES + 2 + NUM_SLICES * (FLOOR_FEATURES + 1))
        self.column_WF = nn.Parameter(torch.randn(columns, COLUMN_FEATURES) * 0.1)
        self.decoder = ResidualMLP(size + COLUMN_FEATURES, width, channels * rows, 2)

        num_rays = columns * RAYS_PER_COLUMN
        across_R = (torch.arange(num_rays) + 0.5) / num_rays * 2 - 1
        edges = torch.logspace(math.log10(NEAREST), math.log10(FARTHEST), NUM_SAMPLES + 1)
        slices_S = torch.arange(NUM_SAMPLES) * NUM_SLICES // NUM_SAMPLES
        share = NUM_SLICES / NUM_SAMPLES
        for name, fixed in {
            "ray_angle_R": -torch.atan(across_R * math.tan(view_rad / 2)),
            "depth_S": (edges[1:] * edges[:-1]).sqrt(),
            "spacing_S": edges.diff(),
            "slice_SK": F.one_hot(slices_S, NUM_SLICES) * share,
        }.items():
            self.register_buffer(name, fixed, persistent=False)

    def forward(self, pose_BP: Tensor) -> Tensor:
        """Shapes: [B, P] -> [B, C, H, W]."""
        (channels, rows, columns), batch = self.latent_shape, len(pose_BP)
        rays_BRF = self._march(self._points(pose_BP))
        rays_BWF = rays_BRF.reshape(batch, columns, -1)
        columns_BWF = torch.cat((rays_BWF, self.column_WF.expand(batch, -1, -1)), -1)
        latent_BWCH: Tensor = self.decoder(columns_BWF).unflatten(2, (channels, rows))
        return latent_BWCH.permute(0, 2, 3, 1)

    def _points(self, pose_BP: Tensor) -> Tensor:
        """Sample points of the rays, with the plane scaled to [-1, 1]. Shapes: [B, P] -> [B, R, S, 2].

        Depth is measured along the camera's axis, not along the ray: points of equal depth appear at equal height.
        """
        angle_BR = heading_rad(pose_BP)[:, None] + self.ray_angle_R
        along_BR2 = torch.stack((angle_BR.cos(), angle_BR.sin()), -1) / self.ray_angle_R.cos()[:, None]
        points: Tensor = pose_BP[:, None, None, :2] + along_BR2[:, :, None] * self.depth_S[:, None]
        return points / FIELD_REACH

    def _march(self, points_BRS2: Tensor) -> Tensor:
        """Integrates walls, their depth, and the floor in front of them along rays. Shapes: [B, R, features]."""
        walls_FBRS = torch.stack(self.walls.read(points_BRS2)).sum(0)
        density_BRS = _density(walls_FBRS[0])
        transmitted_BRS = torch.exp(-density_BRS * self.spacing_S)
        reached_BRS, weight_BRS, remaining_BR = volume_weights(transmitted_BRS)

        wall_FBR = (walls_FBRS[1:] * weight_BRS).sum(-1)
        log_depth_BR = (weight_BRS * self.depth_S.log()).sum(-1) + remaining_BR
        nearness_BR = 0.1 * (weight_BRS / self.depth_S).sum(-1)
        floor_FBRS = torch.stack(self.floor.read(points_BRS2)).sum(0)
        slices_FBRK = (floor_FBRS * reached_BRS) @ self.slice_SK
        reached_BRK = reached_BRS @ self.slice_SK
        features = (
            wall_FBR.movedim(0, -1),
            (wall_FBR * nearness_BR).movedim(0, -1),
            log_depth_BR[..., None],
            nearness_BR[..., None],
            slices_FBRK.movedim(0, -2).flatten(-2),
            reached_BRK,
        )
        return torch.cat(features, -1)

    def opacity(self, position_GK2: Tensor, length: float) -> Tensor:
        """How opaque the walls are over `length`, 0 to 1. Shapes: [G, K, 2] -> [G, K], lengths in pose units."""
        density_GK = _density(torch.stack(self.walls.read(position_GK2 / FIELD_REACH)).sum(0)[0])
        return 1 - torch.exp(-density_GK * length)


def _density(raw: Tensor) -> Tensor:
    return DENSITY_SCALE * F.softplus(DENSITY_GAIN * raw + DENSITY_START)


class FixedMapMotion(Motion):
    """Motion in a fixed world, whose walls are learned as features of the position."""

    HEADINGS = (1, 2, 4)

    def __init__(self, action_size: int, width: int) -> None:
        position_grid = FeatureGrid(POSITION_CELLS, POSITION_FEATURES)
        super().__init__(position_grid.size + 4 + 2 * len(self.HEADINGS), action_size, width)
        self.position_grid = position_grid

    def forward(self, pose_BP: Tensor, previous_BP: Tensor, action_BA: Tensor) -> Tensor:
        speed_B2 = speed(pose_BP, previous_BP)
        waves = torch.stack([heading_rad(pose_BP) * k for k in self.HEADINGS], -1)
        ahead_B2 = pose_BP[:, :2] + 0.5 * TRANSLATION_SCALE * speed_B2
        around = torch.cat((self.position_grid(ahead_B2), pose_BP[:, :2], speed_B2, waves.sin(), waves.cos()), -1)
        return self.step(pose_BP, previous_BP, action_BA, around)


class FixedMapMemory(MapMemory):
    """Predicts the pose from the action and corrects it from the frame, as a Kalman filter with learned models."""

    num_extra_channels = 0

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        action_size: int,
        width: int,
        *,
        view_rad: float = math.pi / 2,
        solid_walls: bool = False,
    ) -> None:
        super().__init__()
        self._solid_walls = solid_walls
        self.field = RadianceField(latent_shape, width // 2, view_rad)
        self.pose_estimator = ResidualMLP(math.prod(latent_shape), width // 2, POSE_SIZE, 2)
        self.motion = FixedMapMotion(action_size, width // 4)

    @full_precision
    def render(self, pose_BP: Tensor) -> Tensor:
        """Renders the map at a pose. Shapes: [B, P] -> [B, C, H, W]."""
        rendered: Tensor = self.field(pose_BP)
        return rendered

    @full_precision
    def estimate_pose(self, latent_BCHW: Tensor) -> Tensor:
        """A first estimate of a frame's pose; its heading is not yet normalized.

        Shapes: [B, C, H, W] -> [B, P].
        """
        estimated: Tensor = self.pose_estimator(latent_BCHW.flatten(1))
        return estimated

    @full_precision
    def move(self, pose_BP: Tensor, previous_BP: Tensor, action_BA: Tensor) -> Tensor:
        """The pose one tick later; the previous pose gives the speed."""
        moved: Tensor = self.motion(pose_BP, previous_BP, action_BA)
        return moved

    def predict_pose(self, state: MapState, action_BA: Tensor) -> MapState:
        """Moves the estimated pose by one tick, as far as solid walls allow."""
        pose_BP = self.move(state["pose"], state["previous_pose"], action_BA)
        if self._solid_walls:
            pose_BP = stop_at_walls(self._wall_at, state["pose"], pose_BP)
        return {"pose": pose_BP, "previous_pose": state["pose"], "is_localized": state["is_localized"]}

    def predict(self, state: MapState, action_BA: Tensor) -> tuple[MapState, Tensor]:
        state = self.predict_pose(state, action_BA)
        return state, self.render(state["pose"])

    def commit(
        self, state: MapState, latent_BCHW: Tensor, generated_B: Tensor, pose_BP: Tensor | None = None
    ) -> MapState:
        """A true frame, or its true pose where known, corrects the pose. A generated frame has no effect."""
        if bool(generated_B.all()):
            return state
        corrected = self.refine_pose(state, latent_BCHW) if pose_BP is None else self.set_from_truth(state, pose_BP)
        return {
            name: torch.where(generated_B.view(-1, *[1] * (old.dim() - 1)), old, corrected[name])
            for name, old in state.items()
        }

    @torch.no_grad()
    @full_precision
    def refine_pose(self, state: MapState, latent_BCHW: Tensor) -> MapState:
        """Refines the estimated pose so that the map's rendering matches a true frame.

        Never used with generated frames: they were rendered at the estimated pose and carry no information about it,
        and the model's own error would be fed back (the pose is then lost within ten frames). No gradient.
        """
        guess_BP, is_localized_B1 = unit_heading(self.estimate_pose(latent_BCHW)), state["is_localized"][:, None]
        estimated_BP = torch.where(is_localized_B1, state["pose"], guess_BP)
        errors_2B = self._squared_error(torch.cat((estimated_BP, guess_BP)), torch.cat((latent_BCHW, latent_BCHW)))
        error_B, guess_error_B = errors_2B.chunk(2)
        is_lost_B1 = (guess_error_B < 0.5 * error_B)[:, None]
        start_BP, error_B = torch.where(is_lost_B1, guess_BP, estimated_BP), torch.minimum(error_B, guess_error_B)
        pose_BP = fit_pose(self._look, start_BP, latent_BCHW, precision=PRIOR_PRECISION, num_steps=REFINEMENT_STEPS)
        is_better_B1 = (self._squared_error(pose_BP, latent_BCHW) < error_B)[:, None]
        pose_BP = torch.where(is_better_B1, pose_BP, start_BP)
        return _with_pose(state, pose_BP, is_localized_B1 & ~is_lost_B1)

    def set_from_truth(self, state: MapState, pose_BP: Tensor) -> MapState:
        """`refine_pose` for training, where the true pose is known: a typical correction, at 1 % of the cost."""
        noise_B3 = pose_BP.new_tensor(TRUE_POSE_NOISE) * torch.randn_like(pose_BP[:, :3])
        return _with_pose(state, move_by(pose_BP, noise_B3), state["is_localized"][:, None])

    def track(
        self,
        latent_BTCHW: Tensor,
        generated_BT: Tensor,
        action_BTA: Tensor,
        pose_BTP: Tensor | None = None,
        start: MapState | None = None,
    ) -> tuple[Tensor, MapState]:
        """Tracks the pose over a clip as at play. Returns: the predicted poses [B, T, P], and the state after the clip.

        With true poses `pose_BTP` (in training) frames are not used to correct it.
        """
        state, poses = start or self.initial_state(len(action_BTA)), []
        for t in range(action_BTA.shape[1]):
            state = self.predict_pose(state, action_BTA[:, t])
            poses.append(state["pose"])
            pose_BP = None if pose_BTP is None else pose_BTP[:, t]
            state = self.commit(state, latent_BTCHW[:, t], generated_BT[:, t], pose_BP)
        return torch.stack(poses, 1), state

    @torch.no_grad()
    @full_precision
    def floor_plan(self, state: MapState) -> FloorPlan:
        """All of it is known: it is in the weights."""
        line = torch.linspace(-FIELD_REACH, FIELD_REACH, PLAN_POINTS, device=state["pose"].device)
        position_GG2 = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        wall_BGG = self.field.opacity(position_GG2, 2 * FIELD_REACH / PLAN_POINTS).expand(len(state["pose"]), -1, -1)
        return FloorPlan(wall_BGG, torch.ones_like(wall_BGG), FIELD_REACH)

    def _render_clip(
        self,
        latent_BTCHW: Tensor,
        generated_BT: Tensor,
        action_BTA: Tensor,
        pose_BTP: Tensor | None,
        start: MapState | None,
    ) -> tuple[Tensor, MapState]:
        """Tracks the pose over the clip, then renders all frames in one call."""
        estimated_BTP, state = self.track(latent_BTCHW, generated_BT, action_BTA, pose_BTP, start)
        return self.render(estimated_BTP.flatten(0, 1)).unflatten(0, estimated_BTP.shape[:2]), state

    def initial_state(self, batch: int) -> MapState:
        """Shapes: `pose` and `previous_pose` [B, P]; `is_localized` [B] bool, False before the first true frame."""
        pose_BP = self.motion.linear.weight.new_zeros(batch, POSE_SIZE).detach()
        pose_BP[:, 2] = 1.0
        is_localized_B = torch.zeros(batch, dtype=torch.bool, device=pose_BP.device)
        return {"pose": pose_BP, "previous_pose": pose_BP.clone(), "is_localized": is_localized_B}

    @full_precision
    def _wall_at(self, position_GK2: Tensor) -> Tensor:
        """Outside the map everything is solid."""
        wall_GK = self.field.opacity(position_GK2, WALL_LENGTH)
        return torch.where(position_GK2.abs().amax(-1) > 1, 1.0, wall_GK)

    def _squared_error(self, pose_BP: Tensor, latent_BCHW: Tensor) -> Tensor:
        """Mean squared error of the rendering. Shapes: returns [B]."""
        return (self.render(pose_BP) - latent_BCHW).square().mean((1, 2, 3))

    def _look(self, pose_BP: Tensor) -> tuple[Tensor, Tensor]:
        return self.render(pose_BP), pose_BP.new_tensor(1 / RENDER_VARIANCE)


def _with_pose(state: MapState, pose_BP: Tensor, kept_B1: Tensor) -> MapState:
    """Sets the pose. Where `kept`, the previous pose is shifted too, so that the correction does not count as speed."""
    previous_BP = torch.where(kept_B1, shift_previous(state["previous_pose"], state["pose"], pose_BP), pose_BP)
    return {"pose": pose_BP, "previous_pose": previous_BP, "is_localized": torch.ones_like(state["is_localized"])}
