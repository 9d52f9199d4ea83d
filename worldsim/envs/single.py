"""One world as a Gymnasium environment: a learned one, or its ground-truth world with the same spaces.

The horizon is Gymnasium's TimeLimit (`max_episode_steps`), the window of render_mode "human" its HumanRendering. An
action is the vector in the column `action` of a recorded session: buttons first (held above 0.5), then axes. `batched`
has the same spaces, options and seeds. A action.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.wrappers import HumanRendering

from worldsim.core.errors import UsageError, did_you_mean
from worldsim.core.images import upscale
from worldsim.core.types import ActionSpec, Frame, Step, World
from worldsim.engine.preset_world import open_preset
from worldsim.engine.simulator import Simulator
from worldsim.presets.config import read_config_json, read_preset_toml
from worldsim.presets.resolve import CONFIG_FILE, resolve_preset
from worldsim.worlds import open_world
from worldsim.worlds.trajectories import EVALUATION_SEED_START

SEED, START, STEPS, RESET_MASK = "seed", "start", "steps", "reset_mask"
"""Arguments of `reset`: the seed, and the options: number of the recorded start, denoising steps per frame, rows of a
batch to reset."""
MIN_WINDOW_PX = 480
"""Minimum height of the window of render_mode "human", which is an integer multiple of the frame's."""

FrameEnv: TypeAlias = gymnasium.Env[Frame, npt.NDArray[np.float32]]


class WorldEnv(FrameEnv):
    """Any World. Observations are frames, and the reward is 0: rewards are up to a wrapper. Only a horizon ends an
    episode.

    `reset(seed=s)` is the world's own `reset(s)`; without a seed a random one is used. `info` has `seed` after a reset,
    and `pose` ([x, y, angle in radians], world units) if the world is a ground-truth one. `render` returns the newest
    frame, enlarged `render_scale` times.
    """

    def __init__(self, world: World, *, ticks_per_s: float, render_mode: str | None, render_scale: int) -> None:
        if render_scale < 1:
            raise UsageError(f"render_scale is {render_scale}", hint="must be at least 1")
        self.metadata = {"render_modes": ["human", "rgb_array"], "render_fps": ticks_per_s}
        self.render_mode = render_mode
        self.observation_space = frame_space(world.frame_shape)
        self.action_space = self._action_box = action_space(world.action_spec)
        self._world, self._render_scale = world, render_scale
        self._frame: Frame | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, dict[str, Any]]:
        """Raises: UsageError for an unknown option."""
        super().reset(seed=seed)
        seed, step = self._begin(sample_seed(self.np_random) if seed is None else seed, options)
        frame, info = self._observe(step)
        return frame, {"seed": seed, **info}

    def step(self, action: npt.ArrayLike) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Raises: UsageError for an action outside the space."""
        vector_A = validate_action(self._action_box, action)
        frame, info = self._observe(self._world.step(self._world.action_spec.decode(vector_A)))
        return frame, 0.0, False, False, info

    def render(self) -> Frame | None:
        if self.render_mode is None or self._frame is None:
            return None
        return upscale(self._frame, self._render_scale)

    def close(self) -> None:
        self._world.close()

    def _begin(self, seed: int, options: Mapping[str, Any] | None) -> tuple[int, Step]:
        """Returns the seed that determines the episode, and its first step."""
        validate_options(options, ())
        return seed, self._world.reset(seed)

    def _observe(self, step: Step) -> tuple[Frame, dict[str, Any]]:
        self._frame = step.frame
        pose = step.pose
        return step.frame.copy(), {} if pose is None else {"pose": np.asarray((pose.x, pose.y, pose.angle_rad))}


class LearnedEnv(WorldEnv):
    """A preset. Options of `reset`: `start` (number of the recorded start) and `steps` (denoising steps per frame in
    this episode; by default those given at creation, or the preset's own).
    """

    def __init__(self, simulator: Simulator, *, num_starts: int, **more: Any) -> None:
        super().__init__(simulator, **more)
        self._simulator, self._num_starts, self._num_steps = simulator, num_starts, simulator.num_steps

    def _begin(self, seed: int, options: Mapping[str, Any] | None) -> tuple[int, Step]:
        found = validate_options(options, (START, STEPS))
        seed = seed_of_start(seed, found.get(START), self._num_starts)
        self._simulator.num_steps = found.get(STEPS, self._num_steps)
        return seed, self._simulator.reset(seed)


def make_learned_env(
    *,
    preset: str,
    steps: int | None = None,
    device: str = "cpu",
    render_mode: str | None = None,
    render_scale: int | None = None,
) -> FrameEnv:
    """Called by `gymnasium.make("worldsim/Preset-v0", preset=...)`. Raises: as `open_preset`."""
    opened = open_preset(preset, device=device, num_steps=steps)
    simulator = opened.simulator
    render_settings = _render_settings(render_mode, render_scale, simulator)
    ticks_per_s = opened.preset.config.play.ticks_per_s
    env = LearnedEnv(simulator, num_starts=len(opened.preset.starts), ticks_per_s=ticks_per_s, **render_settings)
    return _with_window(env, render_mode)


def make_reference_env(*, preset: str, render_mode: str | None = None, render_scale: int | None = None) -> FrameEnv:
    """The ground-truth world of a preset, at the preset's tick rate. Needs no weights: a folder with a `preset.toml` is
    enough. Raises: as `resolve_preset` and `reset` of a ground-truth world; ConfigError, UsageError.
    """
    folder = resolve_preset(preset)
    stored = folder / CONFIG_FILE
    config, _ = read_config_json(stored) if stored.is_file() else read_preset_toml(folder / "preset.toml")
    world = open_world(config.ground_truth_config)
    render_settings = _render_settings(render_mode, render_scale, world)
    return _with_window(WorldEnv(world, ticks_per_s=config.play.ticks_per_s, **render_settings), render_mode)


def _render_settings(mode: str | None, scale: int | None, world: World) -> dict[str, Any]:
    """Settings of the environment itself: for a window it renders arrays too."""
    if mode not in (None, "human", "rgb_array"):
        raise UsageError(f"render_mode is {mode!r}", hint="use None, 'human' or 'rgb_array'")
    height_px = world.frame_shape[0]
    window_scale = -(-MIN_WINDOW_PX // height_px)
    default = window_scale if mode == "human" else 1
    return {"render_mode": "rgb_array" if mode else None, "render_scale": default if scale is None else scale}


def _with_window(env: WorldEnv, mode: str | None) -> FrameEnv:
    return HumanRendering(env) if mode == "human" else env


def frame_space(frame_shape: tuple[int, int, int]) -> spaces.Box[np.uint8]:
    return spaces.Box(0, 255, frame_shape, np.uint8)


def action_space(spec: ActionSpec) -> spaces.Box[np.float32]:
    """Buttons in [0, 1], axes in [-1, 1]. Shapes: [A]."""
    low = np.asarray([0.0] * len(spec.buttons) + [-1.0] * len(spec.axes), np.float32)
    return spaces.Box(low, np.ones_like(low), dtype=np.float32)


def validate_action(space: spaces.Box[np.float32], action: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Shapes: those of `space`. Raises: UsageError for another shape, a value out of bounds, NaN."""
    vector = np.asarray(action, np.float32)
    if vector.shape != space.shape:
        raise UsageError(f"an action has shape {vector.shape}", hint=f"expected {space.shape}")
    if not ((space.low <= vector) & (vector <= space.high)).all():
        raise UsageError(f"an action is out of bounds: {vector}", hint="use gymnasium.wrappers.ClipAction")
    return vector


def validate_options(options: Mapping[str, Any] | None, known: Iterable[str]) -> dict[str, Any]:
    """Raises: UsageError for an unknown option."""
    found, names = dict(options or {}), set(known)
    for name in found:
        if name not in names:
            raise UsageError(f"unknown option {name!r} of reset", hint=did_you_mean(str(name), names))
    return found


def seed_of_start(seed: int, start: int | None, num_starts: int) -> int:
    """The seed near `seed` that begins at this recorded start, or `seed` itself without one: the result alone
    determines an episode. Raises: UsageError.
    """
    if start is None:
        return seed
    if not 0 <= start < num_starts:
        raise UsageError(f"option start is {start}", hint=f"the preset has starts 0 to {num_starts - 1}")
    return seed - seed % num_starts + int(start)


def sample_seed(generator: np.random.Generator) -> int:
    """A random seed for an episode, never one reserved for evaluation."""
    return int(generator.integers(EVALUATION_SEED_START))
