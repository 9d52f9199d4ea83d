"""Many sessions of one preset at once: one call of the networks computes the next frame of all of them.

Rows are independent, and a row's noise depends only on its own (seed, frame index): a row is what a Simulator is. But a
matrix product of another shape is summed in another order, so bits depend on the number of rows: a frame may differ
from the Simulator's by one level of 255 (`tests/engine/test_batch.py`). B batch, A action, C channels, H W rows and
columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worldsim.core.errors import NonFiniteError, UsageError
from worldsim.core.types import Action, ActionSpec
from worldsim.diffusion import frame_noise
from worldsim.engine.simulator import Simulator, keyframes, stop_at_walls
from worldsim.models.autoencoder import to_frames
from worldsim.models.rollout import generate_frame
from worldsim.models.state import WorldState
from worldsim.presets.store import Preset


class BatchSimulator:
    """`reset` every row once, then `step` all of them; single rows may be reset in between. Not thread-safe."""

    def __init__(self, preset: Preset, num_rows: int, *, device: str = "cpu", num_steps: int | None = None) -> None:
        assert num_rows >= 1, num_rows
        if not preset.config.model.has_constant_state:
            message = f"{preset.config.name} attends to all frames: its state grows, so rows cannot be batched"
            raise UsageError(message, hint="use single environments, or another architecture")
        self._preset, self._device, self.num_rows = preset, torch.device(device), num_rows
        self._single = Simulator(preset, device=device, num_steps=num_steps)
        self._starts: dict[int, tuple[WorldState, npt.NDArray[np.uint8]]] = {}
        self._context_noise_B = torch.full((num_rows,), preset.config.play.context_noise, device=self._device)
        self._state = preset.model.initial_state(
            num_rows, 0
        )  # its seed and frame index are unused: rows have their own
        self._seeds: list[int | None] = [None] * num_rows
        self._frame_indices = [0] * num_rows

    @property
    def action_spec(self) -> ActionSpec:
        return self._single.action_spec

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return self._single.frame_shape

    @property
    def num_steps(self) -> int:
        """Denoising steps per frame, of all rows."""
        return self._single.num_steps

    @num_steps.setter
    def num_steps(self, value: int) -> None:
        self._single.num_steps = value

    @torch.inference_mode()
    def reset(self, seeds: Mapping[int, int]) -> npt.NDArray[np.uint8]:
        """Resets the rows that are keys with their seeds (values); other rows are unchanged.

        Shapes: returns the first frame of each of these rows, in that order, [len(seeds), H, W, 3].
        """
        starts = [self._start(seed) for seed in seeds.values()]
        rows = torch.tensor(list(seeds), dtype=torch.long, device=self._device)

        def with_rows(name: str, tensor: Tensor) -> Tensor:
            return tensor.index_copy(0, rows, torch.cat([state.tensors[name] for state, _ in starts]))

        self._state = WorldState(tensors={name: with_rows(name, t) for name, t in self._state.tensors.items()})
        for (row, seed), (state, _) in zip(seeds.items(), starts, strict=True):
            self._seeds[row], self._frame_indices[row] = seed, state.frame_index
        return np.stack([frame for _, frame in starts])

    @torch.inference_mode()
    def step(self, actions: Sequence[Action]) -> npt.NDArray[np.uint8]:
        """The next frame of every row. Shapes: returns [B, H, W, 3].

        Raises: NonFiniteError, with all rows as before the call.
        """
        assert len(actions) == self.num_rows, f"{len(actions)} actions for {self.num_rows} rows"
        encoded_BA = np.stack([self.action_spec.encode(action) for action in actions])
        action_BA = torch.from_numpy(encoded_BA).to(self._device)
        latent_BCHW, self._state = generate_frame(
            self._preset.model,
            self._state,
            stop_at_walls(self._preset.model, self.action_spec, self._state, action_BA),
            self._noise(),
            num_steps=self.num_steps,
            level_B=self._context_noise_B,
            is_keyframe_B=keyframes(self._preset.config.play, self._frame_indices, self._device),
            on_sampled=_check_finite,
        )
        self._frame_indices = [index + 1 for index in self._frame_indices]
        return to_frames(self._preset.autoencoder.decode(latent_BCHW))

    def close(self) -> None:
        self._single.close()
        self._starts.clear()

    def _start(self, seed: int) -> tuple[WorldState, npt.NDArray[np.uint8]]:
        """State and frame after the recorded start of `seed`, which are the same for all seeds with that start."""
        number = seed % len(self._preset.starts)
        if number not in self._starts:
            frame = self._single.reset(seed).frame
            self._starts[number] = self._single.snapshot().state, frame
        return self._starts[number]

    def _noise(self) -> Tensor:
        shape = (1, *self._preset.config.latent_shape)
        noises = []
        for row, (seed, frame_index) in enumerate(zip(self._seeds, self._frame_indices, strict=True)):
            assert seed is not None, f"row {row} has not been reset"
            noises.append(frame_noise(seed, frame_index, shape))
        return torch.cat(noises).to(self._device)


def _check_finite(latent_BCHW: Tensor) -> None:
    is_finite_B = torch.isfinite(latent_BCHW).flatten(1).all(1)
    if not bool(is_finite_B.all()):
        rows = (~is_finite_B).nonzero().flatten().tolist()
        hint = "reset; the weights may be damaged"
        raise NonFiniteError(f"the next frame of row(s) {rows} is NaN or infinite", hint=hint)
