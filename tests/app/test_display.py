"""A real window on a virtual screen, driven by real key and mouse events. Needs Xvfb and xdotool."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.app.lamp_play import IDLE, TURN, WALK
from worldsim.episodes.reader import open_session
from worldsim.presets.resolve import bundled_presets

pytestmark = [
    pytest.mark.display,
    pytest.mark.skipif(not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="no Xvfb or no xdotool"),
]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
PLACE = (320, 160)
"""A pixel (x, y) of the screen where the window shows the frame and no text."""


class Screen:
    """Xvfb with its framebuffer in a file. `input` sends events through xdotool, `pixels` reads the screen."""

    def __init__(self, display: str, memory: Path) -> None:
        self._display, self._memory = display, memory
        self.home = memory.parent / "home"
        self._programs: list[subprocess.Popen[str]] = []

    def start(self, *command: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
        hidden = ("WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        environment |= {"DISPLAY": self._display, "SDL_AUDIODRIVER": "dummy", "PYTHONPATH": str(ROOT)}
        environment |= {"XDG_CONFIG_HOME": str(self.home), "HF_HUB_CACHE": str(self.home / "hub")}
        program = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._programs.append(program)
        return program

    def input(self, *command: str) -> None:
        subprocess.run(["xdotool", *command], env={**os.environ, "DISPLAY": self._display}, check=True, timeout=20)

    def query(self, *command: str) -> str:
        """The output of xdotool."""
        environment = {**os.environ, "DISPLAY": self._display}
        return subprocess.run(
            ["xdotool", *command], env=environment, check=True, timeout=20, capture_output=True, text=True
        ).stdout.strip()

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Shapes: [H, W, 3]. The framebuffer is an XWD file: a header of big-endian words, colors, pixels."""
        data = self._memory.read_bytes()
        words = struct.unpack(">25I", data[:100])
        header_bytes, width, height, stride, num_colors = words[0], words[4], words[5], words[12], words[19]
        begin = header_bytes + num_colors * 12
        rows = np.frombuffer(data, dtype=np.uint8, count=stride * height, offset=begin).reshape(height, stride)
        return rows[:, : width * 4].reshape(height, width, 4)[..., 2::-1]

    def color(self) -> tuple[int, ...]:
        return tuple(int(c) for c in self.pixels()[PLACE[1], PLACE[0]])

    def wait_for(self, color: tuple[int, ...], what: str) -> None:
        self.wait_until(lambda: max(abs(a - b) for a, b in zip(self.color(), color, strict=True)) <= 4, what)

    def wait_until(self, is_true: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not is_true():
            for program in self._programs[-1:]:
                assert program.poll() is None, f"{what}: ended with {program.returncode}: {program.communicate()[0]}"
            assert time.monotonic() < deadline, f"{what}: the screen shows {self.color()}"
            time.sleep(0.05)

    def close(self) -> None:
        for program in self._programs:
            if program.poll() is None:
                program.kill()
            program.communicate()


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "400x300x24", "-nolisten", "tcp", "-noreset"]
    server = subprocess.Popen([*command, "-fbdir", str(tmp_path)], pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as answer:
        number = answer.readline().strip()
    assert number, f"Xvfb did not start: {server.poll()}"
    screen = Screen(f":{number}", tmp_path / "Xvfb_screen0")
    try:
        yield screen
    finally:
        screen.close()
        server.terminate()
        server.wait(timeout=20)


def finish(program: subprocess.Popen[str]) -> str:
    output, _ = program.communicate(timeout=TIMEOUT_S)
    assert program.returncode == 0, output
    return output


@pytest.mark.parametrize("drawing", ["sdl", "opengl"])
def test_window_responds_to_keys_and_mouse(screen: Screen, drawing: str) -> None:
    program = screen.start("tests.app.lamp_play", drawing)
    screen.wait_for(IDLE, "play begins")
    screen.input("keydown", "w")
    screen.wait_for(WALK, "W is held")
    screen.input("keyup", "w")
    screen.wait_for(IDLE, "W is up")
    screen.input("keydown", "Left")
    screen.wait_for(TURN, "Left is held")
    screen.input("key", "p")
    screen.input("keyup", "Left")
    time.sleep(0.5)
    screen.wait_for(TURN, "paused")
    screen.input("key", "n")
    screen.wait_for(IDLE, "a single step")
    screen.input("key", "ctrl+q")
    output = finish(program)
    assert ("OpenGL" if drawing == "opengl" else "SDL") in output.splitlines()[-1]


def test_key_held_through_focus_loss_is_held_again(screen: Screen) -> None:
    program = screen.start("tests.app.lamp_play", "sdl")
    screen.wait_for(IDLE, "play begins")
    window = screen.query("getwindowfocus")
    screen.input("keydown", "w")
    screen.wait_for(WALK, "W is held")
    screen.input("windowfocus", screen.query("search", "--maxdepth", "0", "--name", ".*"))
    screen.wait_for(IDLE, "another window has the focus")
    screen.input("windowfocus", window)
    screen.wait_for(WALK, "W is still held")
    screen.input("keyup", "w")
    screen.wait_for(IDLE, "W is up")
    screen.input("key", "ctrl+q")
    finish(program)


def test_captured_mouse_turns_until_esc(screen: Screen) -> None:
    program = screen.start("tests.app.lamp_play", "sdl")
    screen.wait_for(IDLE, "play begins")
    screen.input("mousemove", "200", "150", "click", "1")
    time.sleep(0.3)

    def is_turning() -> bool:
        screen.input("mousemove_relative", "--", "-20", "0")
        return screen.color() == TURN

    screen.wait_until(is_turning, "the mouse moves to the left")
    screen.input("key", "Escape")
    screen.wait_for(IDLE, "the mouse is released")
    screen.input("mousemove", "100", "100")
    time.sleep(0.3)
    assert screen.color() == IDLE
    screen.input("key", "ctrl+q")
    finish(program)


def test_play_shows_a_preset_until_ctrl_q(screen: Screen, tiny_preset_folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "play.json"
    program = screen.start("worldsim", "play", str(tiny_preset_folder), "--window", "400x300", "--json", str(report))
    screen.wait_until(lambda: screen.pixels()[40:260].std() > 5 and len(np.unique(screen.pixels())) > 60, "a frame")
    first = screen.pixels()
    screen.input("keydown", "w")
    screen.wait_until(lambda: (screen.pixels()[40:200] != first[40:200]).mean() > 0.2, "new frames")
    screen.input("keyup", "w")
    time.sleep(1.0)
    screen.input("key", "ctrl+q")
    output = finish(program)
    assert "loading the weights" in output
    assert json.loads(report.read_text())["frames_shown"] > 0


def test_rewind_save_quit_and_load(screen: Screen, tiny_preset_folder: Path, tmp_path: Path) -> None:
    def play(*more: str, record: Path) -> subprocess.Popen[str]:
        command = ("worldsim", "play", str(tiny_preset_folder), "--window", "400x300", "--record", str(record), *more)
        program = screen.start(*command, cwd=tmp_path)
        screen.wait_until(record.exists, "the first frame")
        return program

    saved = tmp_path / "saves" / "tiny" / "slot-1.safetensors"
    program = play(record=tmp_path / "recorded")
    screen.input("keydown", "w")
    time.sleep(2.0)
    screen.input("keyup", "w")
    screen.input("keydown", "BackSpace")
    time.sleep(0.7)
    screen.input("keyup", "BackSpace")
    time.sleep(1.0)
    screen.input("key", "F5")
    screen.wait_until(saved.exists, "quick save")
    screen.input("key", "ctrl+q")
    assert "rewinding" in finish(program)
    session = open_session(tmp_path / "recorded")
    assert len(session.episodes) == 2
    assert session.episodes[1].start.first_index < len(session.episodes[0].rows) - 1
    program = play("--load", str(saved), record=tmp_path / "again")
    time.sleep(0.5)
    screen.input("key", "ctrl+q")
    assert f"loaded {saved}" in finish(program)
    (again,) = open_session(tmp_path / "again").episodes
    assert session.episodes[1].start.first_index < again.start.first_index


def test_title_screen_play_settings_and_quit(screen: Screen, tiny_preset_folder: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(tiny_preset_folder, screen.home / "hub" / "models--me--tiny" / "snapshots" / commit)
    screen.input("mousemove", "0", "0")  # in the center it would point at a row
    program = screen.start("worldsim", "play", "--window", "400x300", "--device", "cpu", cwd=screen.home)

    def press(key: str) -> None:
        """Presses a key and waits for the screen to change."""
        before = screen.pixels()
        screen.input("key", key)
        screen.wait_until(lambda: not np.array_equal(screen.pixels(), before), key)

    def shows_noise() -> bool:
        """The picture behind the list is that of the selected preset; only the tiny preset's is noise."""
        above_the_list = screen.pixels()[3:55, 3:-3, :3].astype(int)
        return float(np.abs(np.diff(above_the_list, axis=1)).mean()) > 4

    screen.wait_until(lambda: screen.pixels().any(), "the title screen")
    time.sleep(3.0)  # the cached preset is found later, and listed below the bundled ones
    assert not shows_noise()
    for _ in bundled_presets():
        press("Down")
    screen.wait_until(shows_noise, "the preset in the cache")
    press("Return")
    behind = screen.pixels()[20:60]
    screen.wait_until(lambda: not np.array_equal(screen.pixels()[20:60], behind), "play: new frames")
    screen.input("keydown", "w")
    time.sleep(1.0)
    screen.input("keyup", "w")
    press("Escape")
    for key in ("Down", "Down", "Return", "Right"):  # settings, scaling filter
        press(key)
    settings = screen.home / "worldsim" / "settings.json"
    screen.wait_until(settings.exists, "the settings file")
    for key in ("Escape", "Down", "Return"):  # the title screen
        press(key)
    for key in ("Up", "Return"):  # quit is the last row
        screen.input("key", key)
    output = finish(program)
    assert "loading the weights" in output and "playing" in output
    assert json.loads(settings.read_text())["scaling_filter"] == "smooth"
