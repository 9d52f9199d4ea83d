"""The learned world behind `reset` and `step`.

A Simulator holds the state of one session and orders the work of a frame: begin, sample, commit, decode. The noise of a
frame depends on (seed, frame index) only, so the same actions give the same frames however often the simulator went
back in between. It uses the torch threads it finds; it is not thread-safe. B batch, T frames, C channels, H W rows and
columns, A action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worldsim.core.clock import Clock, MonotonicClock
from worldsim.core.errors import NonFiniteError, UsageError
from worldsim.core.types import NO_ACTION, Action, ActionSpec, Pose, Step
from worldsim.diffusion import frame_noise
from worldsim.engine.interfaces import MapView, StageTimes
from worldsim.episodes.format import ContextOverride
from worldsim.models.autoencoder import to_frames, to_tensor
from worldsim.models.maps.map_model import MAP_PREFIX
from worldsim.models.maps.pose_tracking import TRANSLATION_SCALE
from worldsim.models.rollout import generate_frame, observe_clip
from worldsim.models.state import WorldState
from worldsim.models.world_model import WorldModel
from worldsim.presets.config import PlayConfig
from worldsim.presets.store import Preset


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """State of a session. States are immutable, so this is a reference and costs nothing."""

    state: WorldState
    index: int


class Simulator:
    """A preset as a World. `reset(seed)` begins at recorded start number `seed % number of starts`."""

    def __init__(
        self, preset: Preset, *, device: str = "cpu", num_steps: int | None = None, clock: Clock | None = None
    ) -> None:
        self._preset = preset
        self._play = preset.config.play
        self._device = torch.device(device)
        self._autoencoder = preset.autoencoder.to(self._device).eval()
        self._model = preset.model.to(self._device).eval()
        self._clock = clock or MonotonicClock()
        self._num_steps = 1
        self.num_steps = self._play.num_steps if num_steps is None else num_steps
        self._snapshot: Snapshot | None = None
        self._context_noise_B = torch.full((1,), self._play.context_noise, device=self._device)
        self.last_times = StageTimes()

    @property
    def action_spec(self) -> ActionSpec:
        return self._preset.config.action_spec

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return self._preset.config.frame_shape

    @property
    def num_steps(self) -> int:
        """Denoising steps per frame."""
        return self._num_steps

    @num_steps.setter
    def num_steps(self, value: int) -> None:
        if value < 1:
            raise UsageError(f"{value} denoising steps", hint="must be at least 1")
        self._num_steps = value

    @torch.inference_mode()
    def reset(self, seed: int) -> Step:
        """Replays the recorded start into a new state. Returns its last frame, index 0."""
        t_input_ns = self._clock.now_ns()
        start = self._preset.starts[seed % len(self._preset.starts)]
        state = self._encode_context(start.frames, start.actions, seed)
        self._snapshot = Snapshot(state=state, index=0)
        return Step(
            index=0,
            action=first_action(self._preset, seed),
            frame=start.frames[-1],
            t_input_ns=t_input_ns,
            t_ready_ns=self._clock.now_ns(),
            device=str(self._device),
            estimated_pose=self._estimated_pose(state),
        )

    @torch.inference_mode()
    def reset_context(self, override: ContextOverride, seed: int) -> Step:
        """Replays given frames into a new state: see `SupportsContextReset`."""
        frames, actions = override.frames(self.frame_shape), np.asarray(override.actions, np.float32)
        state = self._encode_context(frames, actions, seed)
        state = replace(state, frame_index=state.frame_index + override.index)
        self._snapshot = Snapshot(state=state, index=override.index)
        action = self.action_spec.decode(actions[-1])
        device, estimated_pose = str(self._device), self._estimated_pose(state)
        return Step(index=override.index, action=action, frame=frames[-1], device=device, estimated_pose=estimated_pose)

    def _encode_context(self, frames: npt.NDArray[np.uint8], actions: npt.NDArray[np.float32], seed: int) -> WorldState:
        """The state after the last of these frames, as many as the preset takes as context."""
        frames, actions = frames[-self._play.context_frames :], actions[-self._play.context_frames :]
        latents_TCHW = self._autoencoder.encode(to_tensor(frames, self._device))
        actions_TA = torch.from_numpy(actions).to(self._device)
        return observe_clip(self._model, self._model.initial_state(1, seed), actions_TA[None], latents_TCHW[None])

    @torch.inference_mode()
    def step(self, action: Action) -> Step:
        """Computes the next frame. The step has the action of the frame, in which walls may have stopped the camera.

        Raises: ConfigError for an unknown input, NonFiniteError; the state is then as before the call.
        """
        before = self.snapshot()
        t0_ns = self._clock.now_ns()
        asked_BA = torch.from_numpy(self.action_spec.encode(action)).to(self._device)[None]
        action_BA = stop_at_walls(self._model, self.action_spec, before.state, asked_BA)
        if action_BA is not asked_BA and not torch.equal(action_BA, asked_BA):
            action = self.action_spec.decode(action_BA[0].cpu().numpy())
        noise_BCHW = frame_noise(before.state.seed, before.state.frame_index, (1, *self._preset.config.latent_shape))
        t1_ns = t0_ns

        def on_sampled(latent_BCHW: Tensor) -> None:
            nonlocal t1_ns
            _check_finite(latent_BCHW, before.index + 1)
            t1_ns = self._synchronized_ns()

        latent_BCHW, state = generate_frame(
            self._model,
            before.state,
            action_BA,
            noise_BCHW.to(self._device),
            num_steps=self._num_steps,
            level_B=self._context_noise_B,
            is_keyframe_B=keyframes(self._play, [before.state.frame_index], self._device),
            on_sampled=on_sampled,
        )
        t2_ns = self._synchronized_ns()
        frame = to_frames(self._autoencoder.decode(latent_BCHW))[0]
        t3_ns = self._clock.now_ns()
        self._snapshot = Snapshot(state=state, index=before.index + 1)
        self.last_times = StageTimes(
            ms_denoise=(t1_ns - t0_ns) / 1e6, ms_commit=(t2_ns - t1_ns) / 1e6, ms_decode=(t3_ns - t2_ns) / 1e6
        )
        return Step(
            index=before.index + 1,
            action=action,
            frame=frame,
            t_input_ns=t0_ns,
            t_ready_ns=t3_ns,
            num_steps=self._num_steps,
            device=str(self._device),
            estimated_pose=self._estimated_pose(state),
        )

    def snapshot(self) -> Snapshot:
        assert self._snapshot is not None, "reset(seed) comes before step and snapshot"
        return self._snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """A snapshot on another device is copied to this one."""
        devices = {tensor.device.type for tensor in snapshot.state.tensors.values()}
        if devices != {self._device.type}:
            snapshot = replace(snapshot, state=snapshot.state.to(self._device))
        self._snapshot = snapshot

    @torch.inference_mode()
    def map_view(self, snapshot: Snapshot) -> MapView | None:
        """The map in a snapshot, from above; None for a model without a map."""
        plan = self._model.floor_plan(snapshot.state)
        if plan is None:
            return None
        wall, known = ((part[0] * 255).to(torch.uint8).cpu().numpy() for part in (plan.wall, plan.known))
        return MapView(wall=wall, known=known, reach=plan.reach / self._tick_length)

    def close(self) -> None:
        self._snapshot = None

    def _estimated_pose(self, state: WorldState) -> Pose | None:
        """The camera's pose according to a model with a map, for the single row; None without a map."""
        pose_BP = state.tensors.get(f"{MAP_PREFIX}pose")
        if pose_BP is None:
            return None
        x, y, cos, sin = pose_BP[0].tolist()
        return Pose(x=x / self._tick_length, y=y / self._tick_length, angle_rad=math.atan2(sin, cos))

    @property
    def _tick_length(self) -> float:
        """A tick of walking in units of the model's poses."""
        pose_control = self.action_spec.pose_control if self._preset.config.has_given_pose else None
        return TRANSLATION_SCALE if pose_control is None else pose_control.step_length

    def _synchronized_ns(self) -> int:
        """The time once the device has finished its work; otherwise a stage's time would be its launch time."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock.now_ns()


def keyframes(play: PlayConfig, frame_indices: Sequence[int], device: torch.device) -> Tensor | None:
    """Whether the frames after these many are keyframes, [B] bool; None: all frames are."""
    if play.keyframe_interval == 1:
        return None
    return torch.tensor([(index + 1) % play.keyframe_interval == 0 for index in frame_indices], device=device)


def stop_at_walls(model: WorldModel, spec: ActionSpec, state: WorldState, action_BA: Tensor) -> Tensor:
    """Where poses are the inputs and walls stop the camera: the poses that its steps reach. Jumps, as in a recording
    that skips frames, stay as they are. Shapes: returns [B, A]."""
    if spec.pose_control is None or not spec.pose_control.has_collisions:
        return action_BA
    distance_B = (action_BA[:, :2] - state.tensors[f"{MAP_PREFIX}pose"][:, :2]).norm(dim=-1)
    is_step_B = distance_B <= 1.01 * spec.pose_control.step_length
    return torch.where(is_step_B[:, None], model.stop_at_walls(state, action_BA), action_BA)


def first_action(preset: Preset, seed: int) -> Action:
    """The action of the frame after a reset: NO_ACTION, or the start's pose where poses are the inputs."""
    spec = preset.config.action_spec
    if spec.pose_control is None:
        return NO_ACTION
    return spec.decode(preset.starts[seed % len(preset.starts)].actions[-1])


def _check_finite(latent_BCHW: Tensor, index: int) -> None:
    if not bool(torch.isfinite(latent_BCHW).all()):
        raise NonFiniteError(f"frame {index} is NaN or infinite", hint="reset; the weights may be damaged")
