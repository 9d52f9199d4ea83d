"""Recipe: the dynamics. Diffusion forcing with clean prefixes, shortcut forcing, labelled noise on the context,
and, when asked, the model's own rollout as context, and the state carried from clip to clip.

Owns: how a batch becomes a loss. Does not own: the objectives (`diffusion`), the networks (`models`).
Letters: B batch, T frames, C channels, H W rows and columns, A action.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from worldsim.diffusion.noise import context_levels, mix_noise
from worldsim.diffusion.objectives import flow_loss, sample_flow_steps, sample_shortcut_steps, shortcut_loss
from worldsim.diffusion.samplers import sample_frame
from worldsim.models.autoencoder import Autoencoder
from worldsim.models.frames import psnr, to_frames, to_tensor
from worldsim.models.maps.fixed_map import FixedMapMemory, fixed_map_loss
from worldsim.models.maps.map_model import MapModel
from worldsim.models.maps.map_tracker import SpatialMapMemory, spatial_map_loss
from worldsim.models.maps.motion import motion_loss
from worldsim.models.world_model import ClipContext, WorldModel
from worldsim.training.config import DynamicsTraining
from worldsim.training.contact_sheet import write_sheet
from worldsim.training.episode import Episode
from worldsim.training.replay_buffer import ReplayBuffer
from worldsim.training.tbptt import ClipSequence, ClipSequences

ENCODE_BATCH = 64
PROBE_CONTEXT = 16
PROBE_HORIZONS = (1, 2, 5, 10, 20, 40, 80, 160)


@torch.no_grad()
def encode_frames(autoencoder: Autoencoder, episode: Episode, device: str) -> Tensor:
    """Latents of an episode in float16 on the CPU: made once, drawn often. Shapes: [T, C, H, W]."""
    frames = to_tensor(episode.frames, device)
    latents = torch.cat([autoencoder.encode(part) for part in frames.split(ENCODE_BATCH)])
    return latents.half().cpu()


class DynamicsRecipe:
    """`export_preset(folder, average)` writes a playable preset."""

    def __init__(
        self,
        network: WorldModel,
        autoencoder: Autoencoder,
        config: DynamicsTraining,
        replay_buffer: ReplayBuffer,
        probes: list[Episode],
        *,
        device: str,
        export_preset: Callable[[Path, WorldModel, dict[str, str]], None],
    ) -> None:
        """Raises: ConfigError for what that network cannot learn by."""
        config.check_fits(network.config)
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.frames_per_update = config.batch_clips * config.clip_frames
        self.updates_per_sequence = config.carry_clips
        self._sequences = ClipSequences(config.carry_clips, self._begin_sequence)
        self._autoencoder, self._config, self._replay_buffer = autoencoder, config, replay_buffer
        self._device, self._export_preset = device, export_preset
        # The loop seeds torch's global random numbers anew for every batch.
        self._generator = torch.default_generator
        self._probe_frames = torch.stack([to_tensor(p.frames) for p in probes])
        self._probe_latents = torch.stack([encode_frames(autoencoder, p, device).float() for p in probes]).to(device)
        self._probe_actions = torch.stack([torch.from_numpy(p.actions) for p in probes]).to(device)

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        self._replay_buffer.refresh()
        place, map_metrics = self._map_loss(num_updates)
        map_only_updates = max(self._config.walk_only_updates, self._config.place_only_updates)
        if isinstance(self.network, MapModel) or (map_metrics and num_updates < map_only_updates):
            return place, map_metrics
        sequence = self._sequences.next(num_updates)
        is_self_rollout = float(torch.rand((), generator=self._generator)) < self._config.rollout_share
        if sequence.level is None and not is_self_rollout:
            sequence = replace(sequence, level=self._sample_levels(sequence))
        clip = sequence.clip(self._config.clip_frames)
        # Frames of nobody knows where: the model reads off them where they were seen from.
        known = clip.target if bool(clip.target.isfinite().all()) else None
        context, level, generated = self._self_rollout(clip, known) if is_self_rollout else self._noisy_context(clip)

        num_shortcut = round(self._config.batch_clips * self._config.shortcut_share)
        if num_updates < self._config.shortcut_after:
            num_shortcut = 0
        num_flow = self._config.batch_clips - num_shortcut
        parts = [
            self.network.read_history(
                context[part],
                level[part],
                clip.action[part],
                generated[part],
                None if known is None else known[part],
                clip.state_of_rows(part),
            )
            for part in (slice(num_flow), slice(num_flow, None))
            if num_shortcut or part.start is None
        ]
        if clip.state is not None:
            self._sequences.put_back(
                sequence.advance(self._config.clip_frames, [part.end for part in parts]), num_updates
            )
        first = 1 if clip.first == 0 else 0  # which frame is the first that something is known before
        flow, pose_loss = self._flow_and_pose_loss(parts[0], clip.clean[:num_flow], clip.target[:num_flow], first)
        loss = place + flow * (num_flow / self._config.batch_clips) + self._config.pose_weight * pose_loss
        metrics = {"flow": float(flow.detach()), "pose": float(pose_loss.detach()), **map_metrics}
        if num_shortcut:
            shortcut = self._shortcut_loss(parts[1], clip.clean[num_flow:], first)
            loss = loss + shortcut * (num_shortcut / self._config.batch_clips)
            metrics["shortcut"] = float(shortcut.detach())
        return loss, metrics

    def _map_loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        """The map's own losses; zero where the model has none. The walks grow longer as training goes on."""
        memory, config = getattr(self.network, "map", None), self._config
        num_ticks = min(config.walk_ticks, 1 + num_updates // config.walk_growth_updates)
        if isinstance(memory, FixedMapMemory):
            losses = self._fixed_map_losses(memory, num_ticks, motion_only=num_updates < config.walk_only_updates)
        elif isinstance(memory, SpatialMapMemory):
            losses = self._spatial_map_losses(
                memory, num_ticks, use_true_depth=num_updates < config.plan_taught_updates
            )
        else:
            return torch.zeros((), device=self._device), {}
        return torch.stack(list(losses.values())).sum(), {name: float(loss.detach()) for name, loss in losses.items()}

    def _fixed_map_losses(self, memory: FixedMapMemory, num_ticks: int, *, motion_only: bool) -> dict[str, Tensor]:
        config = self._config
        action, pose = self._replay_buffer.sample_paths(config.walk_poses // num_ticks, 2 + num_ticks)
        target = pose_target(pose, config).to(self._device)
        noise = config.walk_position_noise
        losses = {"move": motion_loss(memory.move, target, action.to(self._device), position_noise=noise)}
        if not motion_only:
            frames = self._replay_buffer.sample(config.place_frames, 1, has_pose=True)
            latent, pose = frames.content[:, 0].float().to(self._device), pose_target(frames.pose, config)[:, 0]
            losses |= fixed_map_loss(memory, latent, pose.to(self._device), max_level=config.max_context_level)
        return losses

    def _spatial_map_losses(
        self, memory: SpatialMapMemory, num_ticks: int, *, use_true_depth: bool
    ) -> dict[str, Tensor]:
        config = self._config
        clips = self._replay_buffer.sample(config.plan_clips, config.plan_frames, has_pose=True)
        return spatial_map_loss(
            memory,
            clips.content.float().to(self._device),
            pose_target(clips.pose, config).to(self._device),
            clips.action.to(self._device),
            clips.depth_profile.float().to(self._device) / config.pose_scale_units,
            walk_ticks=num_ticks,
            position_noise=config.walk_position_noise,
            use_true_depth=use_true_depth,
        )

    def _begin_sequence(self) -> ClipSequence:
        clips = self._replay_buffer.sample(self._config.batch_clips, self._config.sequence_frames)
        return ClipSequence(
            clean=clips.content.float().to(self._device),
            action=clips.action.to(self._device),
            target=pose_target(clips.pose.to(self._device), self._config),
            state=self.network.initial_state(len(clips.action), seed=0) if self._config.carry_clips > 1 else None,
        )

    def _sample_levels(self, sequence: ClipSequence) -> Tensor:
        """Drawn for all clips at once, as for one long clip. Shapes: [B, L]."""
        levels = context_levels(
            *sequence.clean.shape[:2],
            max_level=self._config.max_context_level,
            prefix_prob=self._config.prefix_share,
            generator=self._generator,
        )
        return levels.to(self._device)

    def _noisy_context(self, clip: ClipSequence) -> tuple[Tensor, Tensor, Tensor]:
        """What the model may look back on, how noisy it is said to be, and which of it is the model's own."""
        assert clip.level is not None
        context = mix_noise(clip.clean, torch.randn_like(clip.clean), 1 - clip.level)
        return context, clip.level, torch.zeros_like(clip.level, dtype=torch.bool)

    @torch.no_grad()
    def _self_rollout(self, clip: ClipSequence, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """As `_noisy_context`: a few true frames, then the network's own, in one step each, exactly what play feeds
        back.

        The states are detached (no gradient through the rollout), as in Self Forcing; the target stays the true
        frame, so the network learns to return to it.
        """
        batch, num_frames = clip.clean.shape[:2]
        num_true = int(
            torch.randint(
                self._config.rollout_context,
                max(num_frames // 2, self._config.rollout_context) + 1,
                (),
                generator=self._generator,
            )
        )
        level = clip.clean.new_zeros(batch)
        state, frames = clip.state or self.network.initial_state(batch, seed=0), []
        for t in range(num_frames):
            frame = self.network.begin(state, clip.action[:, t])
            latent = clip.clean[:, t]
            if t >= num_true:
                latent = sample_frame(self.network, frame, torch.randn_like(latent), 1)
            frames.append(latent)
            pose = None if known is None else known[:, t]
            state = self.network.commit(frame, latent, level, generated=t >= num_true, pose_BP=pose)
        generated_BT = (torch.arange(num_frames, device=level.device) >= num_true).expand(batch, -1)
        return torch.stack(frames, 1), level[:, None].expand(-1, num_frames), generated_BT

    def _flow_and_pose_loss(
        self, history: ClipContext, clean: Tensor, target: Tensor, first: int
    ) -> tuple[Tensor, Tensor]:
        """(the objective, the pose head's loss), both from frame `first` on."""
        batch, num_frames = clean.shape[:2]
        share = self._config.one_step_share
        tau, step = (
            x.to(self._device) for x in sample_flow_steps(batch, num_frames, self._generator, one_step_prob=share)
        )
        noisy = mix_noise(clean, torch.randn_like(clean), tau)
        predicted = self.network.predict(history, noisy, tau, step)
        flow = flow_loss(predicted, clean, tau, _mask(clean, first), floor=self._config.tau_floor)
        predicted_pose = self.network.predict_pose(history)
        if predicted_pose is None or self._config.pose_weight == 0:
            return flow, flow.new_zeros(())
        return flow, _pose_loss(predicted_pose[:, first:], target[:, first:])

    def _shortcut_loss(self, history: ClipContext, clean: Tensor, first: int) -> Tensor:
        batch, num_frames = clean.shape[:2]
        tau, step = (x.to(self._device) for x in sample_shortcut_steps(batch, num_frames, self._generator))

        def network(noisy: Tensor, tau_BT: Tensor, step_BT: Tensor) -> Tensor:
            return self.network.predict(history, noisy, tau_BT, step_BT)

        noise, floor = torch.randn_like(clean), self._config.tau_floor
        return shortcut_loss(network, network, clean, noise, tau, step, _mask(clean, first), floor=floor)

    @torch.no_grad()
    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        """A playable preset, a rollout of the probes beside the truth, and its PSNR at a few horizons."""
        self._export_preset(folder, self.average, {"updates": str(num_updates), "frames": str(num_frames)})
        horizons = [h for h in PROBE_HORIZONS if PROBE_CONTEXT + h <= self._probe_latents.shape[1]]
        generated = self._probe_rollout(max(horizons))
        metrics, columns = {}, []
        for horizon in horizons:
            decoded = self._autoencoder.decode(generated[:, horizon - 1]).cpu()
            truth = self._probe_frames[:, PROBE_CONTEXT + horizon - 1]
            metrics[f"psnr_{horizon}"] = psnr(decoded, truth)
            columns.append((truth, decoded))
        rows = [
            to_frames(torch.stack([c[side][i] for c in columns]))
            for i in range(min(3, len(generated)))
            for side in (0, 1)
        ]
        write_sheet(folder / "samples" / f"{num_updates:07d}.png", rows, scale=2)
        return metrics

    def _probe_rollout(self, num_frames: int) -> Tensor:
        model, latents = self.average, self._probe_latents
        level = latents.new_zeros(len(latents))
        state, generated = model.initial_state(len(latents), seed=0), []
        generator = torch.Generator().manual_seed(0)
        for t in range(PROBE_CONTEXT + num_frames):
            frame = model.begin(state, self._probe_actions[:, t])
            latent = latents[:, t]
            if t >= PROBE_CONTEXT:
                noise = torch.randn(latent.shape, generator=generator).to(latent)
                latent = sample_frame(model, frame, noise, 1)
                generated.append(latent)
            state = model.commit(frame, latent, level, generated=t >= PROBE_CONTEXT)
        return torch.stack(generated, 1)


def _mask(clean: Tensor, first: int) -> Tensor:
    """Frames before `first` have nothing to be predicted from. Shapes: [B, T]."""
    mask_BT = clean.new_ones(clean.shape[:2])
    mask_BT[:, :first] = 0
    return mask_BT


def _pose_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean square over the poses that are known: recordings may have none, which is NaN."""
    is_known = target.isfinite()
    error = torch.where(is_known, predicted - target, 0.0).square()
    return error.sum() / is_known.sum().clamp_min(1)


def pose_target(pose_BT3: Tensor, config: DynamicsTraining) -> Tensor:
    """What the pose head is held against. Shapes: [B, T, 3] (x, y, angle) -> [B, T, 4] (x, y, cos, sin), scaled."""
    xy = (pose_BT3[..., :2] - pose_BT3.new_tensor(config.pose_origin_units)) / config.pose_scale_units
    angle = pose_BT3[..., 2]
    if config.pose_target == "relative":
        cos, sin = angle[:, :1].cos(), angle[:, :1].sin()
        dx, dy = (xy - xy[:, :1]).unbind(-1)
        xy = torch.stack((cos * dx + sin * dy, cos * dy - sin * dx), -1)
        angle = angle - angle[:, :1]
    return torch.cat((xy, angle.cos()[..., None], angle.sin()[..., None]), -1)
