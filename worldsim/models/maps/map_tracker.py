"""Where am I in a world never seen before, and what did I see there: a plan that is drawn while one walks.

Owns: the estimated pose, relative to the first frame, and how much a frame counts; the losses of both. Does not own:
the plan itself (`spatial_map`), the frame that is shown (the denoiser makes it; what is recalled here is one of its
inputs). The pose is known by dead reckoning: from the actions, and the walls that were seen so far. A world that is
generated has no other truth than that, so an error of the pose is one of the world's shape, not a contradiction. Or it
is given: then it is the action, and relative to whatever the world says.

Letters as in `spatial_map`; T frames of a clip, A action.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.models.fp32 import full_precision
from worldsim.models.maps.map_model import MapMemory
from worldsim.models.maps.motion import Motion, ego_motion, motion_gate, motion_loss
from worldsim.models.maps.pose_refinement import fit_pose, shift_previous
from worldsim.models.maps.spatial_map import FARTHEST_UNITS, UNITS_PER_POSE, WRITE_RAYS, SpatialMap, SpatialMapState
from worldsim.models.pose import POSE_SIZE, heading_rad, rotate, unit_heading

GENERATED_WEIGHT = 0.05
"""How much a frame that the model made says, next to a true one: all of it where nothing else was seen."""
PROBE_RADII_UNITS, NUM_PROBE_DIRECTIONS = (0.0, 12.0, 24.0, 36.0, 52.0), 8
"""How far around it, and in how many directions, a walker's motion asks for walls."""
OBSERVED_STEP, NUM_INTERPOLATED, NUM_FUTURE = 8, 8, 20
"""Of a clip, a multiple of so many frames is shown; asked for are so many among those, and of what comes after."""
NUM_STARTS = 16
"""Walks by actions alone that begin in each clip."""
BEHIND_UNITS = 4.0
"""A wall's features are written so far behind its face."""
NEAR_UNITS = 30.0
"""Errors of depth count by their share of it, but nearer walls not more than those so far away."""
PRIOR_PRECISION = (1 / 0.006**2, 1 / 0.006**2, 1 / 0.006**2)
"""How firmly the estimated (x, y, heading) resists a true frame: one over its variance."""
MAX_EXPECTED_ERROR, CORRELATED_VALUES = 0.6, 4.0
"""Columns with more squared error expected correct nothing; so many numbers of a column tell what one would that errs
by itself."""
ERROR_FLOOR = 0.25
"""Added to the squared error expected of a column, before it divides: no column counts above four."""


class MapAwareMotion(Motion):
    """Knows the walls that are on the plan: its density at points around who moves, in their own frame."""

    probe_K2: Tensor

    def __init__(self, action_size: int, width: int) -> None:
        ring = torch.arange(NUM_PROBE_DIRECTIONS) / NUM_PROBE_DIRECTIONS * 2 * math.pi
        points = [
            (r * angle.cos(), r * angle.sin())
            for r in PROBE_RADII_UNITS
            for angle in ring[: NUM_PROBE_DIRECTIONS if r else 1]
        ]
        super().__init__(2 * len(points) + 2, action_size, width)
        self.register_buffer("probe_K2", torch.tensor(points) / UNITS_PER_POSE, persistent=False)

    def forward(
        self, plan: SpatialMap, tables: SpatialMapState, pose_NP: Tensor, previous_NP: Tensor, action_NA: Tensor
    ) -> Tensor:
        probes_NK2 = rotate(self.probe_K2, heading_rad(pose_NP)[:, None])
        density_NKF = plan.density(tables, pose_NP[:, None, :2] + probes_NK2)
        around = torch.cat((density_NKF.flatten(1), ego_motion(pose_NP, previous_NP)[:, :2]), -1)
        return self.step(pose_NP, previous_NP, action_NA, around)


class SpatialMapMemory(MapMemory):
    """Predict by the action, recall, write. With `pose_is_action` an action is the pose: x, y, cos, sin, and what
    else."""

    num_extra_channels = 1
    """The log of the error expected."""

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        action_size: int,
        width: int,
        *,
        view_rad: float,
        pose_is_action: bool = False,
    ) -> None:
        super().__init__()
        self.grid = SpatialMap(latent_shape, width, view_rad)
        self.motion = None if pose_is_action else MapAwareMotion(action_size, width // 2)

    def initial_state(self, batch: int) -> SpatialMapState:
        """Shapes: `pose` and `previous_pose` [B, P]; the others are the plan's."""
        pose_BP = self.grid.column_WE.detach().new_zeros(batch, POSE_SIZE)
        pose_BP[:, 2] = 1.0
        return {**self.grid.initial_state(batch), "pose": pose_BP, "previous_pose": pose_BP.clone()}

    @full_precision
    def move(self, tables: SpatialMapState, pose_NP: Tensor, previous_NP: Tensor, action_NA: Tensor) -> Tensor:
        """The pose one tick later, with the walls of settled plans in the way. Shapes: returns [N, P]."""
        if self.motion is None:
            return pose_from_action(action_NA)
        moved: Tensor = self.motion(self.grid, tables, pose_NP, previous_NP, action_NA)
        return moved

    @full_precision
    def predict(self, state: SpatialMapState, action_BA: Tensor) -> tuple[SpatialMapState, Tensor]:
        tables = self.grid.finalize(state)
        pose_BP = self.move(tables, state["pose"], state["previous_pose"], action_BA)
        recalled = self.grid.read(tables, pose_BP)
        latent_BCHW = recalled.latent_NCHW
        figures = recalled.log_error_NW[:, None, None].expand(-1, 1, latent_BCHW.shape[2], -1)
        return {**state, "pose": pose_BP, "previous_pose": state["pose"]}, torch.cat((figures, latent_BCHW), 1)

    def commit(
        self, state: SpatialMapState, latent_BCHW: Tensor, generated_B: Tensor, pose_BP: Tensor | None = None
    ) -> SpatialMapState:
        """A frame becomes part of the plan, from the true pose `pose_BP` where it is true and that is known."""
        # Who stands still imagines nothing new, and would in the end see nothing but that.
        moving_B = motion_gate(ego_motion(state["pose"], state["previous_pose"]))
        weight_B = torch.where(generated_B, GENERATED_WEIGHT * moving_B, 1.0)
        if self.motion is not None and not bool(generated_B.all()):
            state = self._relocate(state, latent_BCHW, generated_B[:, None], pose_BP)
        sums, _ = self.grid.write(state, latent_BCHW, state["pose"], weight_B)
        return {**state, **sums}

    def _relocate(
        self, state: SpatialMapState, latent_BCHW: Tensor, generated_B1: Tensor, pose_BP: Tensor | None
    ) -> SpatialMapState:
        """At the true pose, if that is known; else where true frames say."""
        before_BP = state["previous_pose"]
        if pose_BP is None:
            pose_BP = self._refined_pose(state, latent_BCHW)
            before_BP = shift_previous(before_BP, state["pose"], pose_BP)
        return {
            **state,
            "pose": torch.where(generated_B1, state["pose"], pose_BP),
            "previous_pose": torch.where(generated_B1, state["previous_pose"], before_BP),
        }

    @torch.no_grad()
    @full_precision
    def _refined_pose(self, state: SpatialMapState, latent_BCHW: Tensor) -> Tensor:
        """The pose from which the plan, where it is known, looks more like a true frame."""
        tables = self.grid.finalize(state)

        def look(pose_NP: Tensor) -> tuple[Tensor, Tensor]:
            recalled = self.grid.read(tables, pose_NP)
            expected_NW = recalled.log_error_NW.clamp(-4, 2).exp()
            weight_NW = torch.where(
                expected_NW < MAX_EXPECTED_ERROR, 1 / (CORRELATED_VALUES * (ERROR_FLOOR + expected_NW)), 0.0
            )
            return recalled.latent_NCHW, weight_NW[:, None, None]

        return fit_pose(look, state["pose"], latent_BCHW, precision=PRIOR_PRECISION, num_steps=1)


def pose_from_action(action_BA: Tensor) -> Tensor:
    """Of inputs that are poses. Shapes: [..., A] -> [..., P]."""
    return unit_heading(action_BA[..., :POSE_SIZE])


def spatial_map_loss(
    memory: SpatialMapMemory,
    latent_BTCHW: Tensor,
    pose_BTP: Tensor,
    action_BTA: Tensor,
    depth_BTX: Tensor,
    *,
    walk_ticks: int,
    position_noise: float,
    use_true_depth: bool,
) -> dict[str, Tensor]:
    """Some frames of a clip are written, others recalled; walks through what was written.

    `depth_BTX` is the true depth across the picture, in a pose's units, NaN where nobody knows it. `use_true_depth`:
    the first updates write where the walls truly are, if that is known.

    Returns: recall: squared error, each column by 1 / (ERROR_FLOOR + its expected error); expected: how likely that
    error was by what was expected; depth: of what is written and of what is read; move: see `motion_loss`, where poses
    are not given. Where they are, `pose_BTP` is not looked at.
    """
    if memory.motion is None:
        pose_BTP = pose_from_action(action_BTA)
    batch, num_frames = latent_BTCHW.shape[:2]
    shown_BK, asked_BM = _split_clip(batch, num_frames)
    plan, rays = memory.grid, WRITE_RAYS * latent_BTCHW.shape[-1]
    depth_BTX = (depth_BTX * UNITS_PER_POSE + BEHIND_UNITS).clamp_max(FARTHEST_UNITS)
    depth_BTR = F.adaptive_avg_pool1d(depth_BTX.flatten(0, 1)[:, None], rays)[:, 0].unflatten(0, depth_BTX.shape[:2])
    (shown, shown_pose, shown_depth), (asked, asked_pose, asked_depth) = (
        [_gather_frames(x, index).flatten(0, 1) for x in (latent_BTCHW, pose_BTP, depth_BTR)]
        for index in (shown_BK, asked_BM)
    )
    told = shown_depth if use_true_depth and bool(shown_depth.isfinite().all()) else None
    state, log_depth_NR = plan.write(plan.initial_state(batch), shown, shown_pose, depth_NR=told)
    tables = plan.finalize(state)
    recalled = plan.read(tables, asked_pose)
    error_NW = (recalled.latent_NCHW - asked).square().mean((1, 2))
    expected_NW = recalled.log_error_NW
    weight_NW = 1 / (ERROR_FLOOR + expected_NW.detach().clamp(-4, 2).exp())
    met_depth = F.adaptive_avg_pool1d(asked_depth[:, None], recalled.log_depth_NR.shape[1])[:, 0]

    losses = {
        "recall": (error_NW * weight_NW).mean() / weight_NW.mean(),
        "expected": 0.05 * (error_NW.detach() * (-expected_NW).exp() + expected_NW).mean(),
        "depth": 0.6 * _depth_loss(log_depth_NR, shown_depth) + 0.3 * _depth_loss(recalled.log_depth_NR, met_depth),
    }
    if memory.motion is None:
        return losses
    # What is learned of walls is learned by looking.
    still = {name: table.detach() for name, table in tables.items()}
    walks = _sample_walks(pose_BTP, action_BTA, walk_ticks)
    return losses | {"move": motion_loss(partial(memory.move, still), *walks, position_noise=position_noise)}


def _split_clip(batch: int, num_frames: int) -> tuple[Tensor, Tensor]:
    """Which frames of each clip are shown [B, K] and asked for [B, M]."""
    most = (num_frames - NUM_INTERPOLATED - 1) * 3 // 4 // OBSERVED_STEP
    assert most >= 1, f"clips of {num_frames} frames are too short for a plan"
    num_near = OBSERVED_STEP * int(torch.randint(1, most + 1, ())) + NUM_INTERPOLATED
    near = torch.rand(batch, num_near).argsort(1)
    later = torch.randint(num_near, num_frames, (batch, NUM_FUTURE))
    return near[:, NUM_INTERPOLATED:], torch.cat((near[:, :NUM_INTERPOLATED], later), 1)


def _sample_walks(pose_BTP: Tensor, action_BTA: Tensor, num_ticks: int) -> tuple[Tensor, Tensor]:
    """From random frames on, `NUM_STARTS` of each clip. Shapes: [B * starts, 2 + ticks, P] and [.., A]."""
    batch, num_frames = pose_BTP.shape[:2]
    start_BS1 = torch.randint(num_frames - num_ticks - 1, (batch, NUM_STARTS))[..., None]
    frame_BX = (start_BS1 + torch.arange(2 + num_ticks)).flatten(1)
    pose, action = (
        _gather_frames(x, frame_BX).unflatten(1, (NUM_STARTS, -1)).flatten(0, 1) for x in (pose_BTP, action_BTA)
    )
    return pose, action


def _gather_frames(x_BT: Tensor, index_BK: Tensor) -> Tensor:
    """Shapes: [B, T, ...] -> [B, K, ...]."""
    return x_BT[torch.arange(len(x_BT))[:, None], index_BK]


def _depth_loss(log_depth: Tensor, depth: Tensor) -> Tensor:
    """In the logarithm, near walls not above all; of what is known."""
    is_known = depth.isfinite()
    error = torch.where(is_known, (log_depth.exp() + NEAR_UNITS).log() - (depth + NEAR_UNITS).log(), 0.0).abs()
    return error.sum() / is_known.sum().clamp_min(1)
