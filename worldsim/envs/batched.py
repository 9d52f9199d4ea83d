"""Many environments of one preset over one batched simulator: a step is one call of the networks, not one per row.

Row i equals the single environment with the i-th seed: the same seeds, also of later episodes, and the same frames
except for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from worldsim.core.errors import UsageError
from worldsim.core.images import upscale
from worldsim.core.types import Frame
from worldsim.engine.batch import BatchSimulator
from worldsim.envs.single import (
    RESET_MASK,
    SEED,
    START,
    STEPS,
    action_space,
    frame_space,
    sample_seed,
    seed_of_start,
    validate_action,
    validate_options,
)
from worldsim.presets.store import load_preset

FrameBatch: TypeAlias = npt.NDArray[np.uint8]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Seeds: TypeAlias = int | Sequence[int | None] | None


class BatchedEnv(VectorEnv[FrameBatch, npt.NDArray[np.float32], npt.NDArray[Any]]):
    """Created by `gymnasium.make_vec("worldsim/Preset-v0", num_envs=N, preset=...)`.

    A truncated row is reset by the next step, which ignores its action for that row (AutoresetMode.NEXT_STEP). Options
    of `reset`: `start` (one number, or one per row; for the episodes that begin now), `steps` (of all rows, until the
    next reset of all), `reset_mask` (bool per row: reset only these).
    """

    def __init__(
        self,
        *,
        preset: str,
        num_envs: int = 1,
        steps: int | None = None,
        device: str = "cpu",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        render_scale: int = 1,
    ) -> None:
        """`max_episode_steps` None, or -1 as in `gymnasium.make`: no horizon. Raises: as `load_preset`; UsageError."""
        if num_envs < 1 or render_scale < 1:
            raise UsageError(f"num_envs is {num_envs}, render_scale {render_scale}", hint="must be at least 1")
        if render_mode not in (None, "rgb_array"):
            hint = "use None or 'rgb_array'; 'human' is available for single environments only"
            raise UsageError(f"render_mode of a batch is {render_mode!r}", hint=hint)
        loaded = load_preset(preset, device=device)
        self._simulator = BatchSimulator(loaded, num_envs, device=device, num_steps=steps)
        self._num_starts, self._num_steps = len(loaded.starts), self._simulator.num_steps
        self._max_episode_steps = None if max_episode_steps in (None, -1) else max_episode_steps
        self.num_envs, self.render_mode, self._render_scale = num_envs, render_mode, render_scale
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": loaded.config.play.ticks_per_s,
            "autoreset_mode": AutoresetMode.NEXT_STEP,
        }
        self.single_observation_space = frame_space(self._simulator.frame_shape)
        self.single_action_space = action_space(self._simulator.action_spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        assert isinstance(self.action_space, spaces.Box)
        self._action_box = self.action_space
        self._generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self._frames: FrameBatch | None = None
        self._elapsed_steps = np.zeros(num_envs, np.int64)
        self._is_truncated = np.zeros(num_envs, np.bool_)

    def reset(self, *, seed: Seeds = None, options: dict[str, Any] | None = None) -> tuple[FrameBatch, dict[str, Any]]:
        """`seed`: row i gets seed + i; or one per row, where None is random. Raises: UsageError, ResetNeeded."""
        found = validate_options(options, (START, STEPS, RESET_MASK))
        mask = self._validate_reset_mask(found)
        seeds, starts = self._per_row(seed, SEED), self._per_row(found.get(START), START)
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            seeds = [int(seed) + row for row in range(self.num_envs)]
        if mask.all():
            self._simulator.num_steps = found.get(STEPS, self._num_steps)
        row_seeds = {}
        for row in np.flatnonzero(mask).tolist():
            if seeds[row] is not None:
                self._generators[row], _ = seeding.np_random(seeds[row])
            given = seeds[row]
            row_seed = sample_seed(self._generators[row]) if given is None else given
            row_seeds[row] = seed_of_start(row_seed, starts[row], self._num_starts)
        infos = self._begin(row_seeds)
        return self._latest_frames.copy(), infos

    def step(
        self, actions: npt.ArrayLike
    ) -> tuple[FrameBatch, npt.NDArray[np.float64], BoolArray, BoolArray, dict[str, Any]]:
        """Raises: UsageError for actions outside the space, ResetNeeded."""
        vectors_BA = validate_action(self._action_box, actions)
        ended = np.flatnonzero(self._is_truncated).tolist()
        if len(ended) < len(self._latest_frames):
            spec = self._simulator.action_spec
            self._frames = self._simulator.step([spec.decode(vector_A) for vector_A in vectors_BA])
        self._elapsed_steps += 1
        infos = self._begin({row: sample_seed(self._generators[row]) for row in ended}) if ended else {}
        if self._max_episode_steps is not None:
            self._is_truncated = self._elapsed_steps >= self._max_episode_steps
        zeros = np.zeros(self.num_envs)
        return self._latest_frames.copy(), zeros, zeros.astype(np.bool_), self._is_truncated.copy(), infos

    def render(self) -> tuple[Frame, ...] | None:
        if self.render_mode is None or self._frames is None:
            return None
        return tuple(upscale(frame, self._render_scale) for frame in self._frames)

    def close_extras(self, **kwargs: Any) -> None:
        self._simulator.close()

    @property
    def _latest_frames(self) -> FrameBatch:
        if self._frames is None:
            raise ResetNeeded("call reset() for all rows first")
        return self._frames

    def _begin(self, seeds: dict[int, int]) -> dict[str, Any]:
        """Starts new episodes in these rows. Returns their infos."""
        rows = list(seeds)
        frames = self._simulator.reset(seeds)
        if len(rows) == self.num_envs:
            self._frames = frames
        else:
            self._latest_frames[rows] = frames
        self._elapsed_steps[rows], self._is_truncated[rows] = 0, False
        infos: dict[str, Any] = {}
        for row, seed in seeds.items():
            infos = self._add_info(infos, {"seed": seed}, row)
        return infos

    def _per_row(self, value: Any, name: str) -> list[int | None]:
        """One value per row, from one for all or a sequence. Raises: UsageError."""
        if value is None or isinstance(value, int | np.integer):
            return [None if value is None else int(value)] * self.num_envs
        values = [None if one is None else int(one) for one in value]
        if len(values) != self.num_envs:
            raise UsageError(
                f"{len(values)} values of {name} for {self.num_envs} rows", hint="give one, or one per row"
            )
        return values

    def _validate_reset_mask(self, options: dict[str, Any]) -> BoolArray:
        """The rows to reset: all, or those of the option. Raises: UsageError."""
        if RESET_MASK not in options:
            return np.ones(self.num_envs, np.bool_)
        mask = np.asarray(options[RESET_MASK])
        if mask.dtype != np.bool_ or mask.shape != (self.num_envs,) or not mask.any():
            hint = f"expected {self.num_envs} bools, at least one of them True"
            raise UsageError(f"option {RESET_MASK} is {mask}", hint=hint)
        if STEPS in options and not mask.all():
            raise UsageError("option steps applies to all rows", hint=f"omit {RESET_MASK}")
        return mask
