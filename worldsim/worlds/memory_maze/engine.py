"""A Memory Maze on MuJoCo. The only module that imports the package, when an engine starts.

Owns: the package's environment, built from its own parts so that a start costs less, with identical images; the choice
of the OpenGL backend. Does not own: seeds of episodes, policies. Not thread-safe; one owner.

Differences from `memory_maze.tasks`:
* the ten wall variations share one set of textures instead of ten copies: 16 textures instead of 88, 50 MB instead of
  280;
* contacts of a target are compared in one array operation instead of a Python loop (`_update_activation`);
* only requested observations are computed, and the camera is reused between frames;
* there is no time limit, and a single target is allowed (the package would search for another one endlessly).
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import io
import logging
import math
import os
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import MissingPackageError, WorldError
from worldsim.core.install import install_hint
from worldsim.core.types import Frame, Pose
from worldsim.worlds.memory_maze.config import PHYSICS_HZ, TARGETS, MemoryMazeConfig
from worldsim.worlds.memory_maze.layout import MemoryMazeLayout

METERS_PER_CELL = 2.0
CAMERA = "walker/egocentric"
SEED_LIMIT = 2147483648
BORDER_BRIGHTNESS = 255 * 0.7
MUJOCO_GL = "MUJOCO_GL"
_DEVICE_PLATFORM, _MAX_DEVICES = 0x313F, 16

logger = logging.getLogger(__name__)


class MemoryMazeEngine:
    """Call `start` first. `layout` belongs to the maze that was started."""

    layout: MemoryMazeLayout

    def __init__(self, config: MemoryMazeConfig) -> None:
        """Raises: MissingPackageError without the package, WorldError without an OpenGL backend."""
        self._config = config
        self._package = package = import_memory_maze()
        self._task = _make_task(package, config)
        self._env = package.composer.Environment(task=self._task, random_state=np.random.RandomState(0))
        self._camera: Any = None
        self._maze_seed: int | None = None

    def start(self, maze_seed: int, start_seed: int | None) -> None:
        """Starts an episode: the ball is where the package's environment of seed `maze_seed` puts it after its first
        reset, or where `start_seed` determines. Building another maze takes 1 s; keeping the current one is cheap.
        """
        is_new = maze_seed != self._maze_seed
        if is_new:
            self._maze_seed = None
            random_state = np.random.RandomState(maze_seed)
            self._env._random_state = random_state
            self._task._maze_arena._maze = _make_maze(self._package, self._config, random_state.randint(SEED_LIMIT))
        self._env._recompile_mjcf_every_episode = is_new
        self._task.start_seed = start_seed
        self._camera = None
        self._env.reset()
        self._camera = self._package.Camera(
            self._env._physics, self._config.frame_height_px, self._config.frame_width_px, CAMERA
        )
        if is_new:
            self.layout = self._read_layout(maze_seed)
            self._maze_seed = maze_seed

    def advance(self, *, forward: bool, turn: int) -> None:
        """One model tick. `turn`: 1 is left, -1 right. Raises: WorldError."""
        try:
            self._env.step(np.array([-float(forward), -float(turn)]))
        except self._package.PhysicsError as error:
            raise WorldError(f"MuJoCo stopped: {error}", hint="reset the world to start again") from error

    def set_pose(self, pose: Pose) -> None:
        """Places the ball at a pose, at rest."""
        physics, walker = self._env.physics, self._task._walker
        joints = walker._root_joints
        x, y = ((value - self._config.cells / 2) * METERS_PER_CELL for value in (pose.x, pose.y))
        half = pose.angle_rad / 2
        height = physics.bind(joints).qpos[2]
        walker.set_pose(physics, (x, y, height), (math.cos(half), 0.0, 0.0, -math.sin(half)))
        physics.data.qvel[:] = 0
        physics.forward()

    def observe(self) -> tuple[Frame, Pose]:
        frame = np.array(self._camera.render())
        if self._config.target_border:
            _draw_border(frame, self._task._target_colors[self._task._current_target_ix])
        (x, y), (ahead_x, ahead_y) = self._position_and_heading()
        return frame, Pose(x=float(x), y=float(y), angle_rad=math.atan2(ahead_y, ahead_x) % math.tau)

    def depth(self) -> npt.NDArray[np.float32]:
        """Depth of the current frame. Shapes: [H, W]. Units: cells along the view direction."""
        return np.array(self._camera.render(depth=True), np.float32) / np.float32(METERS_PER_CELL)

    def ground_truth(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of the package's datasets for a frame, except image and action, under its names."""
        physics, task = self._env.physics, self._task
        body, current = physics.bind(task._walker.root_body), task._current_target_ix
        position, ahead = self._position_and_heading()
        places = np.stack([np.asarray(physics.bind(target.geom).xpos) for target in task._targets])
        targets_vec = ((places - body.xpos) @ np.asarray(body.xmat).reshape(3, 3))[:, :2] / METERS_PER_CELL
        targets_pos = places[:, :2] / METERS_PER_CELL + self._config.cells / 2
        return {
            "reward": np.float64(task.get_reward(physics)),
            "maze_layout": self.layout.free.astype(np.uint8),
            "agent_pos": position,
            "agent_dir": ahead,
            "targets_pos": targets_pos,
            "targets_vec": targets_vec,
            "target_pos": targets_pos[current],
            "target_vec": targets_vec[current],
            "target_color": np.array(task._target_colors[current]),
        }

    def close(self) -> None:
        self._camera = None
        self._env.close()

    def _position_and_heading(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Position in cells, and the unit vector of the heading."""
        body = self._env.physics.bind(self._task._walker.root_body)
        position = np.asarray(body.xpos)[:2] / METERS_PER_CELL + self._config.cells / 2
        return position, np.asarray(body.xmat).reshape(3, 3)[:2, 1].copy()

    def _read_layout(self, maze_seed: int) -> MemoryMazeLayout:
        """As the package's `maze_layout`: without the outer wall, southernmost row first."""
        letters = np.flip(np.asarray(self._task._maze_arena.maze.entity_layer)[1:-1, 1:-1], 0)
        places = [self._env.physics.bind(target.geom).xpos[:2] for target in self._task._targets]
        targets = [np.floor(np.asarray(place) / METERS_PER_CELL + self._config.cells / 2) for place in places]
        return MemoryMazeLayout(
            seed=maze_seed,
            free=np.isin(letters, (" ", "P", "G")),
            targets=tuple((int(column), int(row)) for column, row in targets),
        )


def choose_graphics() -> str:
    """Sets MUJOCO_GL if unset: egl (with a GPU if there is one), otherwise osmesa; logs the choice.

    Both render without a display. Must run before the package is imported, which reads the variable only then. Worker
    processes inherit it. Raises: WorldError if neither works.
    """
    if requested := os.environ.get(MUJOCO_GL):
        return requested
    if _egl_works():
        choice, reason = "egl", "no display needed"
    elif ctypes.util.find_library("OSMesa"):
        choice, reason = "osmesa", "EGL is not available"
    else:
        raise WorldError(
            "Memory Maze cannot render: neither EGL nor OSMesa is available",
            hint="on Debian: apt-get install libegl1 libgl1-mesa-dri (or libosmesa6)",
        )
    os.environ[MUJOCO_GL] = choice
    logger.info("Memory Maze renders with %s: %s", choice, reason)
    return choice


def _egl_works() -> bool:
    """Whether an EGL device can be initialized, probed the way dm_control does it: a failed attempt there is final."""
    try:
        egl = ctypes.CDLL(ctypes.util.find_library("EGL") or "libEGL.so.1")
    except OSError:
        return False
    pointer = ctypes.c_void_p
    egl.eglGetProcAddress.restype = pointer
    addresses = [egl.eglGetProcAddress(name) for name in (b"eglQueryDevicesEXT", b"eglGetPlatformDisplayEXT")]
    if not all(addresses):
        return False
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, pointer, ctypes.POINTER(ctypes.c_int))(addresses[0])
    display_of = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(addresses[1])
    egl.eglInitialize.argtypes, egl.eglTerminate.argtypes = [pointer] * 3, [pointer]
    devices, found = (pointer * _MAX_DEVICES)(), ctypes.c_int()
    query(_MAX_DEVICES, devices, ctypes.byref(found))
    for device in devices[: found.value]:
        display = display_of(_DEVICE_PLATFORM, device, None)
        if display and egl.eglInitialize(display, None, None):
            egl.eglTerminate(display)
            return True
    return False


def import_memory_maze() -> Any:
    """The parts of the package and of dm_control used here. Raises: MissingPackageError, WorldError."""
    choose_graphics()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # gym recommends gymnasium on import
            from dm_control import composer
            from dm_control.locomotion.arenas import labmaze_textures
            from dm_control.mujoco.engine import Camera
            from dm_control.rl.control import PhysicsError
            from memory_maze import maze
    except (ImportError, AttributeError) as error:  # AttributeError: an old dm_control with a new mujoco
        raise MissingPackageError(
            f"this world requires the package memory-maze ({error})", hint=install_hint("memory-maze")
        ) from error
    logging.getLogger("absl").setLevel(logging.ERROR)  # every reset warns that the ball's velocity cannot be set
    return SimpleNamespace(
        composer=composer,
        Camera=Camera,
        PhysicsError=PhysicsError,
        maze=maze,
        WallTextures=labmaze_textures.WallTextures,
    )


def _make_task(package: Any, config: MemoryMazeConfig) -> Any:
    """Ball, arena and targets, with the values of `memory_maze.tasks`."""
    maze = package.maze
    variations = package.WallTextures("style_01")
    arena = maze.MazeWithTargetsArena(
        x_cells=config.cells + 2,
        y_cells=config.cells + 2,
        xy_scale=METERS_PER_CELL,
        z_height=1.5,
        **_rooms(config),
        spawns_per_room=1,
        targets_per_room=1,
        floor_textures=maze.FixedFloorTexture("style_01", ["blue", "blue_bright"]),
        wall_textures={
            "*": maze.FixedWallTexture("style_01", "yellow"),
            **{str(number): variations for number in range(10)},
        },
        skybox_texture=None,
        random_seed=1,  # replaced by every start
    )
    walker = maze.RollingBallWithFriction(camera_height=0.3)
    canvas = getattr(arena.mjcf_model.visual, "global")  # `global` is a keyword
    canvas.offheight, canvas.offwidth = config.frame_height_px, config.frame_width_px

    class Task(maze.MemoryMazeTask):  # type: ignore[misc, name-defined]  # the package has no types
        start_seed: int | None = None
        _current_target_ix: int

        def initialize_episode_mjcf(self, rng: np.random.RandomState) -> None:
            super().initialize_episode_mjcf(rng)
            self._after_maze = rng.get_state(), self._current_target_ix

        def initialize_episode(self, physics: Any, rng: np.random.RandomState) -> None:
            """Restores the random state that a new maze starts from, so that a kept maze gives the same episode."""
            state, self._current_target_ix = self._after_maze
            rng.set_state(state)
            for target in self._targets:
                target.reset(physics)
            if self.start_seed is not None:
                rng.seed(self.start_seed)
                self._pick_new_target(rng)
            super().initialize_episode(physics, rng)

        def _pick_new_target(self, rng: np.random.RandomState) -> None:
            if len(self._targets) > 1:
                super()._pick_new_target(rng)

    task = Task(
        walker=walker,
        maze_arena=arena,
        n_targets=TARGETS[config.cells],
        target_radius=0.6,
        target_height_above_ground=-0.6,
        control_timestep=1.0 / config.control_hz,
        physics_timestep=1.0 / PHYSICS_HZ,
    )
    for target in task._targets:
        target._update_activation = MethodType(_update_activation, target)
    for observable in (*task.task_observables.values(), *walker.observables.as_dict().values()):
        observable.enabled = False
    return task


def _update_activation(target: Any, physics: Any) -> None:
    """Replaces `TargetSphere._update_activation`, which loops over the contacts; same result."""
    if not target._activated and (physics.data.contact.geom == target._geom_id).any():
        target._activated = True
        physics.bind(target._material).rgba[-1] = 0


def _make_maze(package: Any, config: MemoryMazeConfig, seed: int) -> Any:
    """With the arguments that the arena itself uses."""
    return package.maze.TextMazeVaryingWalls(
        height=config.cells + 2,
        width=config.cells + 2,
        **_rooms(config),
        max_variations=26,
        spawns_per_room=1,
        objects_per_room=1,
        simplify=True,
        random_seed=seed,
    )


def _rooms(config: MemoryMazeConfig) -> dict[str, int]:
    """As in the package's tasks; smaller mazes have only the smallest rooms."""
    if config.cells == 15:
        return {"max_rooms": 9, "room_min_size": 3, "room_max_size": 3}
    return {"max_rooms": 6, "room_min_size": 3, "room_max_size": 5 if config.cells >= 9 else 3}


def _draw_border(frame: Frame, color: npt.NDArray[np.float64]) -> None:
    """Like the package's wrapper, but at least 1 pixel wide: that one covers images less than 64 pixels high entirely.

    Side effects: `frame`.
    """
    width_px = max(1, int(2 * np.sqrt(frame.shape[0] // 64)))
    for part in (frame[:, :width_px], frame[:, -width_px:], frame[:width_px], frame[-width_px:]):
        part[:] = color * BORDER_BRIGHTNESS
