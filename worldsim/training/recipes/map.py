"""The map recipe: trains an explicit map by losses of its own, before or without a sequence model.

Letters: B batch, T frames, P pose.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from worldsim.models.config import MapConfig
from worldsim.models.mapped import MappedModel
from worldsim.models.maps.fixed_map import FixedMapMemory, fixed_map_loss
from worldsim.models.maps.map_model import MapMemory, MapModel
from worldsim.models.maps.map_tracker import SpatialMapMemory, spatial_map_loss
from worldsim.models.maps.motion import motion_loss
from worldsim.training.config import FixedMapTraining, MapTraining, SpatialMapTraining
from worldsim.training.recipes.inputs_outputs import scale_poses
from worldsim.training.recipes.probes import WorldModelProbe
from worldsim.training.replay_buffer import ReplayBuffer


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
