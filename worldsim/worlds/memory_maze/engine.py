"""One Memory Maze over MuJoCo. The only module that imports the package, when an engine starts.

Owns: the package's environment, built from its own parts so that a start costs less, with the same pictures bit for
bit. Does not own: seeds of episodes, explorers. Not thread-safe; one owner.

What is built differently from `memory_maze.tasks`:
* the ten wall variations share one set of textures in place of ten copies: 16 textures in place of 88, 50 MB for 280;
* the contacts of a target are compared at once in place of one by one in Python (`_update_activation`);
* nothing is observed but what is asked for, and the camera is kept from frame to frame;
* there is no time limit, and one target alone is allowed (the package would look for another one for ever).
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import MissingPackageError, WorldError
from worldsim.core.install import install_hint
from worldsim.core.types import Frame, Pose
from worldsim.worlds.memory_maze.config import PHYSICS_HZ, TARGETS, MemoryMazeConfig
from worldsim.worlds.memory_maze.graphics import choose_graphics
from worldsim.worlds.memory_maze.layout import MemoryMazeLayout

METERS_PER_CELL = 2.0
CAMERA = "walker/egocentric"
SEED_LIMIT = 2147483648
BORDER_BRIGHTNESS = 255 * 0.7


class MemoryMazeEngine:
    """`start` before anything else. `layout` is that of the maze that was started."""

    layout: MemoryMazeLayout

    def __init__(self, config: MemoryMazeConfig) -> None:
        """Raises: MissingPackageError without the package, WorldError when nothing can draw."""
        self._config = config
        self._package = package = import_memory_maze()
        self._task = _make_task(package, config)
        self._env = package.composer.Environment(task=self._task, random_state=np.random.RandomState(0))
        self._camera: Any = None
        self._maze_seed: int | None = None

    def start(self, maze_seed: int, start_seed: int | None) -> None:
        """Puts the ball where the package's own environment of seed `maze_seed` puts it after its first reset; with a
        `start_seed`, where that says. A maze that is there already costs next to nothing, another one a second.
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
        """One model tick. `turn` is 1 to the left, -1 to the right. Raises: WorldError."""
        try:
            self._env.step(np.array([-float(forward), -float(turn)]))
        except self._package.PhysicsError as error:
            raise WorldError(f"MuJoCo stopped: {error}", hint="reset the world to start again") from error

    def set_pose(self, pose: Pose) -> None:
        """Puts the ball at rest at a pose, whatever is in between."""
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
        """Of the frame as it is now. Shapes: [H, W]. Units: cells along the view direction."""
        return np.array(self._camera.render(depth=True), np.float32) / np.float32(METERS_PER_CELL)

    def ground_truth(self) -> dict[str, npt.NDArray[Any]]:
        """What the package's data say of a frame besides its picture and action, by its names."""
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
        """Position in cells, and the direction of ahead."""
        body = self._env.physics.bind(self._task._walker.root_body)
        position = np.asarray(body.xpos)[:2] / METERS_PER_CELL + self._config.cells / 2
        return position, np.asarray(body.xmat).reshape(3, 3)[:2, 1].copy()

    def _read_layout(self, maze_seed: int) -> MemoryMazeLayout:
        """The package's own `maze_layout`: without the outer wall, south first."""
        letters = np.flip(np.asarray(self._task._maze_arena.maze.entity_layer)[1:-1, 1:-1], 0)
        places = [self._env.physics.bind(target.geom).xpos[:2] for target in self._task._targets]
        targets = [np.floor(np.asarray(place) / METERS_PER_CELL + self._config.cells / 2) for place in places]
        return MemoryMazeLayout(
            seed=maze_seed,
            free=np.isin(letters, (" ", "P", "G")),
            targets=tuple((int(column), int(row)) for column, row in targets),
        )


def import_memory_maze() -> Any:
    """Its parts that are needed here, as one namespace. Raises: MissingPackageError, WorldError."""
    choose_graphics()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # gym says on import that there is gymnasium
            from dm_control import composer
            from dm_control.locomotion.arenas import labmaze_textures
            from dm_control.mujoco.engine import Camera
            from dm_control.rl.control import PhysicsError
            from memory_maze import maze
    except (ImportError, AttributeError) as error:  # of an old dm_control beside a new mujoco, the latter
        raise MissingPackageError(
            f"this world needs the package memory-maze ({error})", hint=install_hint("memory-maze")
        ) from error
    logging.getLogger("absl").setLevel(logging.ERROR)  # every reset warns that a ball has no velocity to set
    return SimpleNamespace(
        composer=composer,
        Camera=Camera,
        PhysicsError=PhysicsError,
        maze=maze,
        WallTextures=labmaze_textures.WallTextures,
    )


def _make_task(package: Any, config: MemoryMazeConfig) -> Any:
    """The ball, the arena and the targets, with the values of `memory_maze.tasks`."""
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
    canvas = getattr(arena.mjcf_model.visual, "global")  # a keyword
    canvas.offheight, canvas.offwidth = config.frame_height_px, config.frame_width_px

    class Task(maze.MemoryMazeTask):  # type: ignore[misc, name-defined]  # the package has no types
        start_seed: int | None = None
        _current_target_ix: int

        def initialize_episode_mjcf(self, rng: np.random.RandomState) -> None:
            super().initialize_episode_mjcf(rng)
            self._after_maze = rng.get_state(), self._current_target_ix

        def initialize_episode(self, physics: Any, rng: np.random.RandomState) -> None:
            """A maze that is kept begins as it did when it was made."""
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
    """In place of `TargetSphere._update_activation`, which asks every contact in turn: the same answer."""
    if not target._activated and (physics.data.contact.geom == target._geom_id).any():
        target._activated = True
        physics.bind(target._material).rgba[-1] = 0


def _make_maze(package: Any, config: MemoryMazeConfig, seed: int) -> Any:
    """As the arena makes its own."""
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
    """As in the package's tasks; the mazes that are smaller have the smallest rooms."""
    if config.cells == 15:
        return {"max_rooms": 9, "room_min_size": 3, "room_max_size": 3}
    return {"max_rooms": 6, "room_min_size": 3, "room_max_size": 5 if config.cells >= 9 else 3}


def _draw_border(frame: Frame, color: npt.NDArray[np.float64]) -> None:
    """As the package's wrapper, which paints over the whole of a picture less than 64 high.

    Side effects: `frame`.
    """
    width_px = max(1, int(2 * np.sqrt(frame.shape[0] // 64)))
    for part in (frame[:, :width_px], frame[:, -width_px:], frame[:width_px], frame[-width_px:]):
        part[:] = color * BORDER_BRIGHTNESS
