"""A ViZDoom process that plays the maps of one WAD. The only module that imports vizdoom, when an engine starts.

Owns: the process and its temporary folder. Does not own: the contents of the WAD, seeds, frame sizes.
Not thread-safe; one owner. `close()` ends the process, which could outlive this one otherwise.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import MissingPackageError, WorldError
from worldsim.core.install import install_hint, reinstall_hint
from worldsim.core.types import Pose

BINARY_UNITS_PER_TURN = 65536
"""The engine's angles are 16-bit fractions of a full turn."""

BUTTONS = ("forward", "back", "left", "right")
CONSOLE_SETTINGS = ("+movebob", "0", "+stillbob", "0", "+cl_run", "0", "+am_showmonsters", "0")
START_TIMEOUT_S, LOCK_POLL_S = 30.0, 0.02
"""Limit of the wait for engines that are starting in other processes, and its polling interval."""


class DoomEngine:
    """A running engine with one player."""

    def __init__(self, wad: bytes, *, resolution_px: tuple[int, int], with_depth: bool, tics_per_step: int) -> None:
        vizdoom = import_vizdoom()
        self._tics = tics_per_step
        self._failures = (
            vizdoom.ViZDoomUnexpectedExitException,
            vizdoom.ViZDoomErrorException,
            vizdoom.ViZDoomIsNotRunningException,
        )
        folder = tempfile.TemporaryDirectory(prefix="worldsim-doom-")
        path = Path(folder.name) / "maze.wad"
        path.write_bytes(wad)
        self._game = game = vizdoom.DoomGame()
        game.set_doom_scenario_path(str(path))
        game.set_doom_config_path(str(path.with_name("engine.ini")))
        game.set_doom_map("MAP01")
        game.set_screen_resolution(getattr(vizdoom.ScreenResolution, "RES_{}X{}".format(*resolution_px)))
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_depth_buffer_enabled(with_depth)
        for part in ("hud", "minimal_hud", "weapon", "crosshair", "decals", "particles", "effects_sprites", "messages",
                     "corpses", "screen_flashes"):  # fmt: skip
            getattr(game, f"set_render_{part}")(False)
        button, variable = vizdoom.Button, vizdoom.GameVariable
        game.set_available_buttons(
            [button.MOVE_FORWARD, button.MOVE_BACKWARD, button.MOVE_LEFT, button.MOVE_RIGHT,
             button.TURN_LEFT_RIGHT_DELTA]
        )  # fmt: skip
        game.set_available_game_variables([variable.POSITION_X, variable.POSITION_Y, variable.ANGLE])
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_episode_timeout(0)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_seed(0)
        for argument in CONSOLE_SETTINGS:
            game.add_game_args(argument)
        self._shut_down = weakref.finalize(self, _shut_down, game, folder)
        try:
            with _engine_start_lock():
                game.init()
                _remove_empty_folder(Path("_vizdoom"))  # the engine leaves one in the current folder
        except Exception as error:  # vizdoom has several exception classes, none with a remedy
            self._shut_down()
            raise WorldError(
                f"the Doom engine did not start: {error}", hint="try: " + reinstall_hint("vizdoom")
            ) from error

    def start_map(self, name: str) -> None:
        """Restarts map `name` in its initial state, with the player at the map's start."""
        self._game.set_doom_map(name)
        self._game.set_seed(0)
        self._game.new_episode()

    def warp(self, x: int, y: int) -> None:
        """Moves the player to a point, momentum kept. Takes effect in the next tic."""
        self._game.send_game_command(f"warp {x} {y}")

    def advance(self, buttons: frozenset[str], turn_units: int) -> None:
        """One model tick with buttons held and a counterclockwise turn, spread evenly over its tics.

        Units: `turn_units` are 1/65536 of a full turn, a multiple of the tics per step.
        """
        per_tic, rest = divmod(turn_units, self._tics)
        assert rest == 0, f"{turn_units} units do not divide into {self._tics} tics"
        # The delta is clockwise degrees, which the engine rounds down to a unit: aim between two units.
        delta_deg = (0.5 - per_tic) * 360.0 / BINARY_UNITS_PER_TURN
        pressed: list[float] = [name in buttons for name in BUTTONS]
        try:
            self._game.make_action([*pressed, delta_deg], self._tics)
        except self._failures as error:
            raise WorldError(f"the Doom engine stopped: {error}", hint="reset the world to start another") from error

    def advance_tics(self, num_tics: int) -> None:
        """Advances time with nothing held, without rendering."""
        self._game.set_action([0.0] * (len(BUTTONS) + 1))
        self._game.advance_action(num_tics)

    def observe(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None, Pose]:
        """Picture, depth (None without depth) and pose as of the last tic. Arrays are valid until the next one."""
        state = self._game.get_state()
        x, y, angle_deg = state.game_variables
        pose = Pose(x=float(x), y=float(y), angle_rad=math.radians(float(angle_deg)))
        return state.screen_buffer, state.depth_buffer, pose

    def close(self) -> None:
        """Ends the process. Automatic when the engine is garbage-collected or Python exits, but not if it is killed."""
        self._shut_down()


def _shut_down(game: Any, folder: tempfile.TemporaryDirectory[str]) -> None:
    game.close()
    folder.cleanup()


@contextlib.contextmanager
def _engine_start_lock(timeout_s: float = START_TIMEOUT_S) -> Iterator[None]:
    """Starts the engines of this user's processes one at a time: two that create the engine's shared folder at once
    race, and the crash of one takes the process that started it down. Gives up on the lock after `timeout_s`, in case
    the other engine hangs; does nothing without file locks (Windows)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (Path(tempfile.gettempdir()) / f"worldsim-doom-{os.getuid()}.lock").open("w") as file:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the file is closed
            except BlockingIOError:
                time.sleep(LOCK_POLL_S)
            else:
                break
        yield


def _remove_empty_folder(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.rmdir()


def import_vizdoom() -> Any:
    """The vizdoom module. Raises: MissingPackageError."""
    try:
        import vizdoom
    except ImportError as error:
        raise MissingPackageError(
            f"the Doom world requires the package vizdoom ({error})", hint=install_hint("doom")
        ) from error
    return vizdoom
