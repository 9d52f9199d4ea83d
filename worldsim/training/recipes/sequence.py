"""The sequence recipe: diffusion forcing with clean prefixes, shortcut forcing, noise augmentation of the context, and
optionally self-rollouts as context and the state carried from clip to clip.

This module turns a batch into a loss; the objectives are in `diffusion`, the networks in `models`. The map of a mapped
model is not changed here.

Truncated backpropagation through time (`tbptt_clips`): all clips of a sequence are sampled as one long clip, and all
rows start a sequence together, at updates that are multiples of the sequence length. No state is carried over at those
updates, and only there a session ends and is saved; so a checkpoint needs no carried state.

Letters: B batch, T frames of a clip, L frames of a sequence of clips, C channels, H W rows and columns, A action, P
pose.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from worldsim.diffusion import (
    context_levels,
    flow_loss,
    mix_noise,
    sample_flow_steps,
    sample_shortcut_steps,
    shortcut_loss,
)
from worldsim.models.pose import scale_poses
from worldsim.models.rollout import rollout
from worldsim.models.state import WorldState
from worldsim.models.world_model import ClipContext, WorldModel
from worldsim.training.config import SequenceTraining
from worldsim.training.recipes.probes import WorldModelProbe
from worldsim.training.replay_buffer import ReplayBuffer

PoseScaler = Callable[[Tensor], Tensor]
"""World poses [B, T, 3] -> scaled poses [B, T, P], the scale that a model with a map was trained on."""


@dataclass(frozen=True, kw_only=True)
class ClipSequence:
    """Consecutive clips of episodes, of which the next one starts at frame `first`.

    `state` is the state after the clips before it; None if no state is carried. Shapes: clean [B, L, C, H, W], action
    [B, L, A], target [B, L, P] (NaN where the pose is unknown), level [B, L], or None before it is sampled.
    """

    clean: Tensor
    action: Tensor
    target: Tensor
    level: Tensor | None = None
    state: WorldState | None = None
    first: int = 0

    def clip(self, num_frames: int) -> ClipSequence:
        """Only the next clip."""
        part = slice(self.first, self.first + num_frames)
        level = None if self.level is None else self.level[:, part]
        return replace(
            self, clean=self.clean[:, part], action=self.action[:, part], target=self.target[:, part], level=level
        )

    def state_of_rows(self, rows: slice) -> WorldState | None:
        return self.state and self.state.map(lambda tensor: tensor[rows])

    @property
    def is_done(self) -> bool:
        return self.first >= self.clean.shape[1]

    def advance(self, num_frames: int, ends: Sequence[WorldState | None]) -> ClipSequence:
        """Moves on to the next clip. `ends` are the states after this one, each of some rows; they are detached."""
        states = [end for end in ends if end is not None]
        tensors = {name: torch.cat([s.tensors[name].detach() for s in states]) for name in states[0].tensors}
        return replace(self, state=replace(states[0], tensors=tensors), first=self.first + num_frames)


class ClipSequences:
    """The sequences in progress: one per batch of an update (gradient accumulation), taken in turn."""

    def __init__(self, num_clips: int, sample: Callable[[], ClipSequence]) -> None:
        """`sample` starts a sequence of `num_clips` clips."""
        self._num_clips, self._sample = num_clips, sample
        self._pending: deque[ClipSequence] = deque()

    def next(self, num_updates: int) -> ClipSequence:
        """A new sequence if none is pending, which also happens after resuming from an error's checkpoint; that
        sequence is cut short."""
        is_new = num_updates % self._num_clips == 0 or not self._pending
        return self._sample() if is_new else self._pending.popleft()

    def put_back(self, sequence: ClipSequence, num_updates: int) -> None:
        """Keeps an unfinished sequence for the next update."""
        if not sequence.is_done and (num_updates + 1) % self._num_clips:
            self._pending.append(sequence)


class SequenceRecipe:
    def __init__(
        self,
        network: WorldModel,
        config: SequenceTraining,
        replay_buffer: ReplayBuffer,
        probe: WorldModelProbe,
        *,
        device: str,
        map_pose_scaler: PoseScaler | None = None,
    ) -> None:
        """`map_pose_scaler`: for a mapped model, whose map is then given the true poses.

        Raises: ConfigError for a network that cannot be trained this way.
        """
        config.check_fits(network.config)
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.frames_per_update = config.batch_clips * config.clip_frames
        self.updates_per_sequence = config.tbptt_clips
        self._sequences = ClipSequences(config.tbptt_clips, self._sample_sequence)
        self._config, self._replay_buffer, self._probe, self._device = config, replay_buffer, probe, device
        self._scale_poses = map_pose_scaler or self._head_target
        # The loop reseeds torch's global generator for every batch.
        self._generator = torch.default_generator

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        self._replay_buffer.refresh()
        sequence = self._sequences.next(num_updates)
        is_self_rollout = float(torch.rand((), generator=self._generator)) < self._config.self_rollout_prob
        if sequence.level is None and not is_self_rollout:
            sequence = replace(sequence, level=self._sample_levels(sequence))
        clip = sequence.clip(self._config.clip_frames)
        # Without true poses (some recordings) a map estimates them from the frames.
        pose = clip.target if bool(clip.target.isfinite().all()) else None
        context, level, generated = self._self_rollout(clip, pose) if is_self_rollout else self._noisy_context(clip)

        num_shortcut = self._num_shortcut_rows(num_updates)
        num_flow = self._config.batch_clips - num_shortcut
        parts = [
            self.network.read_history(
                context[part],
                level[part],
                clip.action[part],
                generated[part],
                None if pose is None else pose[part],
                clip.state_of_rows(part),
            )
            for part in (slice(num_flow), slice(num_flow, None))
            if num_shortcut or part.start is None
        ]
        if clip.state is not None:
            self._sequences.put_back(
                sequence.advance(self._config.clip_frames, [part.end for part in parts]), num_updates
            )
        first = 1 if clip.first == 0 else 0  # nothing precedes the first frame of a sequence
        flow, pose_loss = self._flow_and_pose_loss(parts[0], clip.clean[:num_flow], clip.target[:num_flow], first)
        loss = flow * (num_flow / self._config.batch_clips) + self._config.pose_loss_weight * pose_loss
        metrics = {"flow": float(flow.detach()), "pose": float(pose_loss.detach())}
        if num_shortcut:
            shortcut = self._shortcut_loss(parts[1], clip.clean[num_flow:], first)
            loss = loss + shortcut * (num_shortcut / self._config.batch_clips)
            metrics["shortcut"] = float(shortcut.detach())
        return loss, metrics

    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        return self._probe.export(folder, self.average, num_updates, num_frames)

    def _num_shortcut_rows(self, num_updates: int) -> int:
        if num_updates < self._config.shortcut_start_step:
            return 0
        return round(self._config.batch_clips * self._config.shortcut_fraction)

    def _sample_sequence(self) -> ClipSequence:
        clips = self._replay_buffer.sample(self._config.batch_clips, self._config.sampled_frames)
        return ClipSequence(
            clean=clips.content.float().to(self._device),
            action=clips.action.to(self._device),
            target=self._scale_poses(clips.pose.to(self._device)),
            state=self.network.initial_state(len(clips.action), seed=0) if self._config.tbptt_clips > 1 else None,
        )

    def _head_target(self, pose_BT3: Tensor) -> Tensor:
        return scale_poses(
            pose_BT3,
            origin_units=self._config.pose_origin_units,
            scale_units=self._config.pose_scale_units,
            is_relative=self._config.pose_target == "relative",
        )

    def _sample_levels(self, sequence: ClipSequence) -> Tensor:
        """Noise levels of all clips of a sequence at once, as for one long clip. Shapes: [B, L]."""
        levels = context_levels(
            *sequence.clean.shape[:2],
            max_level=self._config.max_context_level,
            prefix_prob=self._config.clean_prefix_prob,
            generator=self._generator,
        )
        return levels.to(self._device)

    def _noisy_context(self, clip: ClipSequence) -> tuple[Tensor, Tensor, Tensor]:
        """The true frames with noise: (context, its noise level, which frames are generated: none)."""
        assert clip.level is not None
        context = mix_noise(clip.clean, torch.randn_like(clip.clean), 1 - clip.level)
        return context, clip.level, torch.zeros_like(clip.level, dtype=torch.bool)

    @torch.no_grad()
    def _self_rollout(self, clip: ClipSequence, pose: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Some true frames, then the network's own one-step samples, as at play. Returns: as `_noisy_context`.

        No gradient flows through the rollout, as in Self Forcing. The target stays the true frame, so the network
        learns to return to it.
        """
        batch, num_frames = clip.clean.shape[:2]
        min_true = self._config.self_rollout_context_frames
        num_true = int(torch.randint(min_true, max(num_frames // 2, min_true) + 1, (), generator=self._generator))
        frames = rollout(
            self.network,
            clip.state or self.network.initial_state(batch, seed=0),
            clip.action,
            clip.clean,
            num_context=num_true,
            noise=lambda t: torch.randn_like(clip.clean[:, t]),
            pose_BTP=pose,
        )
        context = torch.stack([frame.latent_BCHW for frame in frames], 1)
        generated_BT = (torch.arange(num_frames, device=context.device) >= num_true).expand(batch, -1)
        return context, torch.zeros_like(generated_BT, dtype=context.dtype), generated_BT

    def _flow_and_pose_loss(
        self, context: ClipContext, clean: Tensor, target: Tensor, first: int
    ) -> tuple[Tensor, Tensor]:
        """The flow-matching loss and the pose head's loss, both from frame `first` on."""
        batch, num_frames = clean.shape[:2]
        tau, step = (
            x.to(self._device)
            for x in sample_flow_steps(batch, num_frames, self._generator, one_step_prob=self._config.one_step_fraction)
        )
        noisy = mix_noise(clean, torch.randn_like(clean), tau)
        predicted = self.network.predict(context, noisy, tau, step)
        flow = flow_loss(predicted, clean, tau, _loss_mask(clean, first), floor=self._config.min_noise_weight)
        predicted_pose = self.network.predict_pose(context)
        if predicted_pose is None or self._config.pose_loss_weight == 0:
            return flow, flow.new_zeros(())
        return flow, _pose_loss(predicted_pose[:, first:], target[:, first:])

    def _shortcut_loss(self, context: ClipContext, clean: Tensor, first: int) -> Tensor:
        batch, num_frames = clean.shape[:2]
        tau, step = (x.to(self._device) for x in sample_shortcut_steps(batch, num_frames, self._generator))

        def network(noisy: Tensor, tau_BT: Tensor, step_BT: Tensor) -> Tensor:
            return self.network.predict(context, noisy, tau_BT, step_BT)

        noise, floor = torch.randn_like(clean), self._config.min_noise_weight
        return shortcut_loss(network, network, clean, noise, tau, step, _loss_mask(clean, first), floor=floor)


def _loss_mask(clean: Tensor, first: int) -> Tensor:
    """0 before frame `first`, else 1. Shapes: returns [B, T]."""
    mask_BT = clean.new_ones(clean.shape[:2])
    mask_BT[:, :first] = 0
    return mask_BT


def _pose_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over known poses; unknown ones are NaN."""
    is_known = target.isfinite()
    error = torch.where(is_known, predicted - target, 0.0).square()
    return error.sum() / is_known.sum().clamp_min(1)
