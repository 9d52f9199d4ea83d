"""The map recipe: trains an explicit map by losses of its own, before or without a sequence model.

Letters: B batch, T frames, P pose.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.models.config import MapConfig
from worldsim.models.mapped import MappedModel
from worldsim.models.maps.fixed_map import FixedMapMemory
from worldsim.models.maps.map_model import MapMemory, MapModel
from worldsim.models.maps.map_tracker import ERROR_FLOOR, SpatialMapMemory, pose_from_action
from worldsim.models.maps.pose_tracking import ROTATION_SCALE, TRANSLATION_SCALE
from worldsim.models.maps.spatial_map import FARTHEST_UNITS, UNITS_PER_POSE, WRITE_RAYS
from worldsim.models.pose import scale_poses
from worldsim.training.config import FixedMapTraining, MapTraining, SpatialMapTraining
from worldsim.training.recipes.probes import WorldModelProbe
from worldsim.training.replay_buffer import ReplayBuffer

OBSERVED_STEP, NUM_INTERPOLATED, NUM_FUTURE = 8, 8, 20
"""Split of a training clip: a multiple of the first is written to the map; as queries serve some frames in between, and
some later ones."""
NUM_STARTS = 16
"""Trajectories per clip that are predicted from actions only."""
BEHIND_UNITS = 4.0
"""Distance behind the face of a wall at which its features are written."""
NEAR_UNITS = 30.0
"""Depth errors are relative, but at distances below this as at this distance."""
MotionFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(pose, the pose a tick before, action) -> the pose a tick later. Shapes: [B, P], [B, P], [B, A] -> [B, P]."""


class MapRecipe:
    """`network` and `average` are the maps of `model` and of its copy, which is what a checkpoint exports."""

    updates_per_sequence = 1

    def __init__(
        self,
        model: MapModel | MappedModel,
        config: MapTraining,
        replay_buffer: ReplayBuffer,
        probe: WorldModelProbe,
        *,
        device: str,
    ) -> None:
        self._average_model = copy.deepcopy(model).requires_grad_(False)
        self.network: MapMemory = model.map
        self.average: MapMemory = self._average_model.map
        self._map_config = _map_config(model)
        self._config, self._replay_buffer, self._probe, self._device = config, replay_buffer, probe, device
        self.frames_per_update = config.frames_per_batch

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        self._replay_buffer.refresh()
        losses = self._losses(num_updates)
        metrics = {name: float(loss.detach()) for name, loss in losses.items()}
        return torch.stack(list(losses.values())).sum(), metrics

    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        return self._probe.export(folder, self._average_model, num_updates, num_frames)

    def _losses(self, num_updates: int) -> dict[str, Tensor]:
        network, config = self.network, self._config
        if isinstance(network, FixedMapMemory) and isinstance(config, FixedMapTraining):
            return self._fixed_map_losses(network, config, num_updates)
        assert isinstance(network, SpatialMapMemory) and isinstance(config, SpatialMapTraining), type(network)
        return self._spatial_map_losses(network, config, num_updates)

    def _fixed_map_losses(
        self, memory: FixedMapMemory, config: FixedMapTraining, num_updates: int
    ) -> dict[str, Tensor]:
        num_ticks = config.motion_ticks(num_updates)
        action, pose = self._replay_buffer.sample_paths(config.motion_batch_poses // num_ticks, 2 + num_ticks)
        target = scale_map_poses(pose, config, self._map_config).to(self._device)
        noise = config.motion_position_noise
        losses = {"move": motion_loss(memory.move, target, action.to(self._device), position_noise=noise)}
        if num_updates >= config.motion_warmup_steps:
            frames = self._replay_buffer.sample(config.batch_frames, 1, has_pose=True)
            latent = frames.content[:, 0].float().to(self._device)
            pose = scale_map_poses(frames.pose, config, self._map_config)[:, 0]
            losses |= fixed_map_loss(memory, latent, pose.to(self._device), max_level=config.max_noise_level)
        return losses

    def _spatial_map_losses(
        self, memory: SpatialMapMemory, config: SpatialMapTraining, num_updates: int
    ) -> dict[str, Tensor]:
        clips = self._replay_buffer.sample(config.batch_clips, config.clip_frames, has_pose=True)
        return spatial_map_loss(
            memory,
            clips.content.float().to(self._device),
            scale_map_poses(clips.pose, config, self._map_config).to(self._device),
            clips.action.to(self._device),
            clips.depth_profile.float().to(self._device) / config.pose_scale_units,
            walk_ticks=config.motion_ticks(num_updates),
            position_noise=config.motion_position_noise,
            use_true_depth=num_updates < config.teacher_forcing_steps,
        )


def scale_map_poses(pose_BT3: Tensor, config: MapTraining, map_config: MapConfig) -> Tensor:
    """True poses as a map sees them. A map that is drawn during an episode starts at its first frame."""
    return scale_poses(
        pose_BT3,
        origin_units=config.pose_origin_units,
        scale_units=config.pose_scale_units,
        is_relative=map_config.kind == "spatial" and map_config.pose == "estimated",
    )


def _map_config(model: MapModel | MappedModel) -> MapConfig:
    assert model.config.map is not None
    return model.config.map


def motion_loss(move: MotionFunction, pose_BTP: Tensor, action_BTA: Tensor, *, position_noise: float) -> Tensor:
    """Error of poses predicted from actions only, from frame 1 on, as at play.

    The start position gets noise (up to about `position_noise`, scaled units), so that small errors decay. Mean smooth
    L1 over all ticks, in units of a tick's motion.
    """
    noise_scale_B1 = position_noise * torch.rand_like(pose_BTP[:, 0, :1]) ** 2
    noise_BP = F.pad(noise_scale_B1 * torch.randn_like(pose_BTP[:, 0, :2]), (0, 2))
    previous_BP, now_BP = pose_BTP[:, 0] + noise_BP, pose_BTP[:, 1] + noise_BP
    losses = []
    for t in range(2, pose_BTP.shape[1]):
        previous_BP, now_BP = now_BP, move(now_BP, previous_BP, action_BTA[:, t])
        error_BP = now_BP - pose_BTP[:, t]
        error_BP = torch.cat((error_BP[:, :2] / TRANSLATION_SCALE, error_BP[:, 2:] / ROTATION_SCALE), -1)
        losses.append(F.smooth_l1_loss(error_BP, torch.zeros_like(error_BP), beta=0.1))
    return torch.stack(losses).mean()


def fixed_map_loss(
    memory: FixedMapMemory, latent_BCHW: Tensor, pose_BP: Tensor, *, max_level: float
) -> dict[str, Tensor]:
    """recall: ||render(p) - z||^2, localize: ||estimate_pose(z + noise) - p||^2."""
    level = torch.rand(len(latent_BCHW), 1, 1, 1, device=latent_BCHW.device) * max_level
    noisy_BCHW = (1 - level) * latent_BCHW + level * torch.randn_like(latent_BCHW)
    return {
        "recall": (memory.render(pose_BP) - latent_BCHW).square().mean(),
        "localize": (memory.estimate_pose(noisy_BCHW) - pose_BP).square().mean(),
    }


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
    """Writes some frames of a clip to a map, and compares its rendering with others; predicts motion through the map.

    `depth_BTX` is the true depth across the frame, in pose units, NaN where unknown. `use_true_depth`: walls are
    written at the true depth, if known, for the first updates.

    Returns: recall: squared error of the rendering, columns weighted by 1 / (ERROR_FLOOR + expected error); expected:
    negative log likelihood of that error; depth: error of written and rendered depth; move: see `motion_loss`, absent
    where poses are given. There `pose_BTP` is ignored.
    """
    if memory.motion is None:
        pose_BTP = pose_from_action(action_BTA)
    batch, num_frames = latent_BTCHW.shape[:2]
    written_BK, query_BM = _split_clip(batch, num_frames)
    spatial_map, rays = memory.grid, WRITE_RAYS * latent_BTCHW.shape[-1]
    depth_BTX = (depth_BTX * UNITS_PER_POSE + BEHIND_UNITS).clamp_max(FARTHEST_UNITS)
    depth_BTR = F.adaptive_avg_pool1d(depth_BTX.flatten(0, 1)[:, None], rays)[:, 0].unflatten(0, depth_BTX.shape[:2])
    (written, written_pose, written_depth), (query, query_pose, query_depth) = (
        [_gather_frames(x, index).flatten(0, 1) for x in (latent_BTCHW, pose_BTP, depth_BTR)]
        for index in (written_BK, query_BM)
    )
    true_depth = written_depth if use_true_depth and bool(written_depth.isfinite().all()) else None
    state, log_depth_NR = spatial_map.write(
        spatial_map.initial_state(batch), written, written_pose, depth_NR=true_depth
    )
    tables = spatial_map.finalize(state)
    rendered = spatial_map.read(tables, query_pose)
    error_NW = (rendered.latent_NCHW - query).square().mean((1, 2))
    expected_NW = rendered.log_error_NW
    weight_NW = 1 / (ERROR_FLOOR + expected_NW.detach().clamp(-4, 2).exp())
    rendered_depth = F.adaptive_avg_pool1d(query_depth[:, None], rendered.log_depth_NR.shape[1])[:, 0]

    losses = {
        "recall": (error_NW * weight_NW).mean() / weight_NW.mean(),
        "expected": 0.05 * (error_NW.detach() * (-expected_NW).exp() + expected_NW).mean(),
        "depth": 0.6 * _depth_loss(log_depth_NR, written_depth)
        + 0.3 * _depth_loss(rendered.log_depth_NR, rendered_depth),
    }
    if memory.motion is None:
        return losses
    # The motion loss sends no gradient into the map.
    detached = {name: table.detach() for name, table in tables.items()}
    trajectories = _sample_trajectories(pose_BTP, action_BTA, walk_ticks)
    return losses | {"move": motion_loss(partial(memory.move, detached), *trajectories, position_noise=position_noise)}


def _split_clip(batch: int, num_frames: int) -> tuple[Tensor, Tensor]:
    """Indices of the frames of each clip that are written [B, K], and of the query frames [B, M]."""
    most = (num_frames - NUM_INTERPOLATED - 1) * 3 // 4 // OBSERVED_STEP
    assert most >= 1, f"clips of {num_frames} frames are too short for a map"
    num_near = OBSERVED_STEP * int(torch.randint(1, most + 1, ())) + NUM_INTERPOLATED
    near = torch.rand(batch, num_near).argsort(1)
    later = torch.randint(num_near, num_frames, (batch, NUM_FUTURE))
    return near[:, NUM_INTERPOLATED:], torch.cat((near[:, :NUM_INTERPOLATED], later), 1)


def _sample_trajectories(pose_BTP: Tensor, action_BTA: Tensor, num_ticks: int) -> tuple[Tensor, Tensor]:
    """Trajectories from `NUM_STARTS` random frames of each clip. Shapes: [B * starts, 2 + ticks, P] and [.., A]."""
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
    """Mean error of the log depth, damped for near walls, over known depths."""
    is_known = depth.isfinite()
    error = torch.where(is_known, (log_depth.exp() + NEAR_UNITS).log() - (depth + NEAR_UNITS).log(), 0.0).abs()
    return error.sum() / is_known.sum().clamp_min(1)
