"""The recall recipe: frames are written to the state, and the same and other frames are predicted from it.

Consecutive frames teach memory late: the frame before tells enough (LSSVWM, section 4.2). So training starts with a few
random frames of an episode, of which some are asked for again from pure noise, then with more of them, then with
strides, and ends with consecutive clips after long clean prefixes (`RecallTraining.phases`). Needs inputs that say
which view is asked for: poses.

This module turns a batch into a loss; the networks are in `models`. Letters: B batch, T frames of an episode, P context
frames, R target frames, C channels, H W rows and columns, A action.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from worldsim.diffusion import flow_loss, mix_noise, sample_flow_steps
from worldsim.models.rollout import rollout
from worldsim.models.sequence.two_stream import TwoStreamModel
from worldsim.models.state import WorldState
from worldsim.models.world_model import MemoryPart
from worldsim.training.config import RecallClips, RecallPhase, RecallTraining
from worldsim.training.recipes.probes import WorldModelProbe
from worldsim.training.replay_buffer import ReplayBuffer

TASK_FRAMES = {"ahead": 1, "reverse": 0, "repeat": 0}
"""Target frames beyond the context, as a multiple of their number."""


@dataclass(frozen=True, kw_only=True)
class FrameChoice:
    """Which frames of an episode a row takes. Shapes: context [B, P], target [B, R], is_seen [B, R]: whether the target
    frame is one of the context."""

    context: Tensor
    target: Tensor
    is_seen: Tensor


class RecallRecipe:
    updates_per_sequence = 1

    def __init__(
        self,
        network: TwoStreamModel,
        config: RecallTraining,
        replay_buffer: ReplayBuffer,
        probe: WorldModelProbe,
        *,
        context_noise: float = 0.0,
        device: str,
    ) -> None:
        """`context_noise`: the noise level with which generated frames are labeled in play."""
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self._config, self._replay_buffer, self._probe, self._device = config, replay_buffer, probe, device
        self._context_noise = context_noise
        # The loop reseeds torch's global generator for every batch.
        self._generator = torch.default_generator
        self._window = getattr(network.config.attention, "window_frames", 1)

    @property
    def frames_per_update(self) -> int:
        """The mean over the clips of the last phase."""
        mix = self._config.phases[-1].mix
        total = sum(clips.weight for clips in mix)
        return round(
            sum(c.weight * c.batch_clips * (c.context_frames + c.target_frames) for c in mix) / max(total, 1e-9)
        )

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        self._replay_buffer.refresh()
        phase = self._config.phase(num_updates)
        weights = torch.tensor([clips.weight for clips in phase.mix])
        clips = phase.mix[int(torch.multinomial(weights, 1, generator=self._generator))]
        episodes = self._replay_buffer.sample(clips.batch_clips, self._config.episode_frames)
        choice = choose_frames(clips, self._config.episode_frames, phase.seen_fraction, self._window, self._generator)
        action = episodes.action.float()
        if self._config.quarter_turns:
            action = turn_poses(action, torch.randint(4, (len(action),), generator=self._generator))
        context, target = (_take(episodes.content, frames).float() for frames in (choice.context, choice.target))
        context_action, target_action = (_take(action, frames) for frames in (choice.context, choice.target))
        shape, prob = (clips.batch_clips, clips.target_frames), phase.one_step_fraction
        tau, step = sample_flow_steps(*shape, self._generator, one_step_prob=prob)
        noisy = mix_noise(target, torch.randn_like(target), tau)
        forget = self._sample_forgotten_part(phase)
        predicted = self._predict(clips, forget, context, context_action, target, target_action, noisy, tau, step)
        weight = torch.where(choice.is_seen, 1.0, phase.new_view_weight).to(predicted)
        loss = flow_loss(
            predicted, target.to(predicted), tau.to(predicted), weight, floor=self._config.min_noise_weight
        )
        return loss, _metrics(predicted, target, tau, choice.is_seen)

    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        return self._probe.export(folder, self.average, num_updates, num_frames)

    def _sample_forgotten_part(self, phase: RecallPhase) -> MemoryPart | None:
        draw = self._sample_prob() if phase.forget_map_prob + phase.forget_scan_prob else 1.0
        if draw < phase.forget_map_prob:
            return "map"
        return "scan" if draw < phase.forget_map_prob + phase.forget_scan_prob else None

    def _sample_prob(self) -> float:
        return float(torch.rand((), generator=self._generator))

    def _predict(
        self,
        clips: RecallClips,
        forget: MemoryPart | None,
        context: Tensor,
        context_action: Tensor,
        target: Tensor,
        target_action: Tensor,
        noisy: Tensor,
        tau: Tensor,
        step: Tensor,
    ) -> Tensor:
        """Writes the clean context, then predicts: queries from the state after it, or a clip that goes on from it."""
        device, network = self._device, self.network
        state = network.initial_state(len(target), seed=0)
        if clips.context_frames:
            level = torch.zeros(context.shape[:2], device=device)
            state = network.write_history(context.to(device), level, context_action.to(device), state)
        if forget is not None:
            state = network.without_memory(state, forget)
        noisy, tau, step, target_action = (x.to(device) for x in (noisy, tau, step, target_action))
        if clips.task == "recall":
            return network.predict_queries(state, target_action, noisy, tau, step)
        max_level = 1.0 if not clips.context_frames else clips.max_context_level
        level = torch.rand(target.shape[:2]) * max_level
        written = mix_noise(target, torch.randn_like(target), 1 - level).to(device)
        level = level.to(device)
        is_generated = bool(clips.generated_prob) and self._sample_prob() < clips.generated_prob
        if is_generated:
            written, level = self._generate(written, target_action, state), torch.full_like(level, self._context_noise)
        generated = torch.full(level.shape, is_generated, device=device)
        clip = network.read_history(written, level, target_action, generated, state=state)
        return network.predict(clip, noisy, tau, step)

    @torch.no_grad()
    def _generate(self, like: Tensor, action: Tensor, state: WorldState) -> Tensor:
        """The model's own frames after `state`, one at a time as in play, so that their errors add up as in play."""
        frames = rollout(
            self.network,
            state,
            action,
            like,
            num_context=0,
            noise=lambda t: torch.randn_like(like[:, t]),
            context_noise=self._context_noise,
        )
        return torch.stack([frame.latent_BCHW for frame in frames], 1).to(like)


def choose_frames(
    clips: RecallClips, num_frames: int, seen_fraction: float, window: int, generator: torch.Generator
) -> FrameChoice:
    """Rows of frame numbers of an episode of `num_frames`.

    Queries for seen frames avoid the last `window - 1` context frames, which attention still sees, where there are
    others.
    """
    choose = _choose_queries if clips.task == "recall" else _choose_clip
    rows = [choose(clips, num_frames, seen_fraction, window, generator) for _ in range(clips.batch_clips)]
    contexts, targets, is_seen = zip(*rows, strict=True)
    return FrameChoice(context=torch.stack(contexts), target=torch.stack(targets), is_seen=torch.stack(is_seen))


def _choose_queries(
    clips: RecallClips, num_frames: int, seen_fraction: float, window: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    count, num_seen = clips.context_frames, round(clips.target_frames * seen_fraction)
    num_new = clips.target_frames - num_seen
    if clips.stride == 0:
        shuffled = torch.randperm(num_frames, generator=generator)
        context, others = shuffled[:count], shuffled[count:]
    else:
        span = (count - 1) * clips.stride + 1
        first = int(torch.randint(num_frames - span + 1, (), generator=generator))
        context = first + clips.stride * torch.arange(count)
        margin = max(3 * clips.stride, clips.target_frames)
        near = torch.arange(max(0, first - margin), min(num_frames, first + span + margin))
        near = near[~torch.isin(near, context)]
        others = near[torch.randperm(len(near), generator=generator)]
    far = max(1, count - window + 1)
    seen = context[torch.randint(far, (num_seen,), generator=generator)]
    if num_seen <= far:
        seen = context[torch.randperm(far, generator=generator)[:num_seen]]
    is_seen = torch.arange(clips.target_frames) < num_seen
    return context, torch.cat((seen, others[:num_new])), is_seen


def _choose_clip(
    clips: RecallClips, num_frames: int, seen_fraction: float, window: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    count, num_targets = clips.context_frames, clips.target_frames
    total = count + num_targets * TASK_FRAMES[clips.task]
    first = int(torch.randint(num_frames - (total - 1) * clips.stride, (), generator=generator))
    frames = first + clips.stride * torch.arange(total)
    context = frames[:count]
    if clips.task == "ahead":
        return context, frames[count:], torch.zeros(num_targets, dtype=torch.bool)
    if clips.task == "reverse":
        target = context.flip(0)[1 : num_targets + 1]
    else:
        begin = int(torch.randint(count - num_targets + 1, (), generator=generator))
        target = context[begin : begin + num_targets]
        if bool(torch.rand((), generator=generator) < 0.5):
            target = target.flip(0)
    return context, target, torch.ones(num_targets, dtype=torch.bool)


def turn_poses(action_BTA: Tensor, quarters_B: Tensor) -> Tensor:
    """Turns the poses of each row about the center of the world by quarter turns, so that a place seen in training does
    not fix what it looks like. Shapes: action (x, y, cos, sin, ...) [B, T, A], quarters [B].
    """
    x, y, cos, sin = action_BTA[..., :4].unbind(-1)
    poses = ((x, y, cos, sin), (-y, x, -sin, cos), (-x, -y, -cos, -sin), (y, -x, sin, -cos))
    turned = torch.stack([torch.stack(pose, -1) for pose in poses])
    rows = torch.arange(len(action_BTA))
    return torch.cat((turned[quarters_B, rows], action_BTA[..., 4:]), -1)


def _take(episodes_BT: Tensor, frames_BF: Tensor) -> Tensor:
    return episodes_BT[torch.arange(len(frames_BF))[:, None], frames_BF]


def _metrics(predicted: Tensor, target: Tensor, tau: Tensor, is_seen: Tensor) -> dict[str, float]:
    """Squared error of one-step predictions, for frames of the context and for others, where there are any."""
    error = (predicted.detach().float().cpu() - target).square().mean((2, 3, 4))
    rows = {"seen": is_seen & (tau == 0), "new": ~is_seen & (tau == 0)}
    return {name: float(error[mask].mean()) for name, mask in rows.items() if bool(mask.any())}
