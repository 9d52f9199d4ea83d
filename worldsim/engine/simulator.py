"""The learned world behind reset and step. With `rehearsal`, all of the engine that imports torch.

Owns: the state of one session and the order of work in a frame (begin, sample, commit, decode). Does not own: threads
(`engine.worker`), pace (`engine.session`), or the number of torch threads (the caller's business). Not thread-safe.
The noise of a frame depends on (seed, frame index) alone, so the same history gives the same frames, however often the
simulator went back in between. B batch, T frames, C channels, H W rows and columns, A action.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldsim.actions.encoding import encode_action
from worldsim.core.clock import Clock, MonotonicClock
from worldsim.core.errors import NonFiniteError, UsageError
from worldsim.core.types import NO_ACTION, Action, ActionSpec, Step
from worldsim.diffusion.noise import frame_noise
from worldsim.diffusion.samplers import sample_frame
from worldsim.engine.playable import StageTimes
from worldsim.models.frames import to_frames, to_tensor
from worldsim.models.state import WorldState
from worldsim.presets.store import Preset

__all__ = ["Simulator", "Snapshot", "StageTimes"]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Where a session stands. A state is never changed, so this is a reference and costs nothing."""

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
            raise UsageError(f"{value} denoising steps", hint="1 or more")
        self._num_steps = value

    @torch.inference_mode()
    def reset(self, seed: int) -> Step:
        """Replays the recorded start into a fresh state. Returns its last frame, index 0."""
        t_input_ns = self._clock.now_ns()
        start = self._preset.starts[seed % len(self._preset.starts)]
        num_frames = min(self._play.context_frames, len(start.frames))
        frames, actions = start.frames[-num_frames:], start.actions[-num_frames:]
        latents_TCHW = self._autoencoder.encode(to_tensor(frames, self._device))
        actions_TA = torch.from_numpy(actions).to(self._device)
        state = self._model.initial_state(1, seed)
        level_B = torch.zeros(1, device=self._device)
        for t in range(num_frames):
            context = self._model.begin(state, actions_TA[t : t + 1])
            state = self._model.commit(context, latents_TCHW[t : t + 1], level_B)
        self._snapshot = Snapshot(state=state, index=0)
        return Step(index=0, action=NO_ACTION, frame=frames[-1], t_input_ns=t_input_ns, t_ready_ns=self._clock.now_ns())

    @torch.inference_mode()
    def step(self, action: Action) -> Step:
        """Makes the next frame. Raises: NonFiniteError, with the simulator where it was before the call."""
        before = self.snapshot()
        t0_ns = self._clock.now_ns()
        action_BA = torch.from_numpy(encode_action(self.action_spec, action)).to(self._device)[None]
        context = self._model.begin(before.state, action_BA)
        noise_BCHW = frame_noise(before.state.seed, before.state.frame_index, (1, *self._preset.config.latent_shape))
        latent_BCHW = sample_frame(self._model, context, noise_BCHW.to(self._device), self._num_steps)
        _check_finite(latent_BCHW, before.index + 1)
        t1_ns = self._synchronised_ns()
        state = self._model.commit(context, latent_BCHW, self._context_noise_B, imagined=True)
        t2_ns = self._synchronised_ns()
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
        )

    def snapshot(self) -> Snapshot:
        assert self._snapshot is not None, "reset(seed) comes before step and snapshot"
        return self._snapshot

    def restore(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def close(self) -> None:
        self._snapshot = None

    def _synchronised_ns(self) -> int:
        """Now, after the device has done what was asked of it; else a stage's time would be its launch time."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock.now_ns()


def _check_finite(latent_BCHW: Tensor, index: int) -> None:
    if not bool(torch.isfinite(latent_BCHW).all()):
        raise NonFiniteError(f"frame {index} came out as NaN or infinity", hint="reset; the weights may be damaged")
