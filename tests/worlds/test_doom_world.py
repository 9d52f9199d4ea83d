"""The Doom world is deterministic by seed and its turns are exact. Needs vizdoom (in the extra `test`)."""

from __future__ import annotations

import hashlib
import math
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from worldsim.actions.pose_control import pose_step
from worldsim.core.errors import ConfigError, MissingPackageError, WorldError
from worldsim.core.install import install_hint
from worldsim.core.types import NO_ACTION, Action, Step
from worldsim.worlds.doom import engine
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.world import DoomWorld, maze_seed_of, mean_frame
from worldsim.worlds.trajectories import SEEDS_PER_BLOCK

ROOT = Path(__file__).parents[2]
CONFIG = DoomConfig(maps=(1, 2))
WALK = [Action.of("forward", turn=(7 * i % 11 - 5) / 5) for i in range(12)] + [Action.of("left", turn=1.0)] * 3


@pytest.fixture(scope="module")
def world() -> Iterator[DoomWorld]:
    with DoomWorld(CONFIG, with_depth=True) as world:
        yield world


def play(world: DoomWorld, seed: int) -> list[Step]:
    return [world.reset(seed), *(world.step(action) for action in WALK)]


def run_python(program: str) -> str:
    """Output of a new interpreter."""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def digest(steps: list[Step]) -> str:
    return hashlib.sha256(b"".join(step.frame.tobytes() for step in steps)).hexdigest()


def test_reset_returns_frame_0_with_a_pose_and_no_action(world: DoomWorld) -> None:
    step = world.reset(5)
    assert (step.index, step.action) == (0, NO_ACTION)
    assert step.frame.shape == world.frame_shape == (48, 64, 3) and step.frame.dtype == np.uint8
    assert step.frame.std() > 5, "not a blank image"
    assert step.pose is not None and 0 < step.pose.x < 4 * 192 and 0 <= step.pose.angle_rad < math.tau
    assert world.step(WALK[0]).index == 1


def test_frames_depend_only_on_the_seed(world: DoomWorld) -> None:
    first = digest(play(world, 5))
    others = {digest(play(world, seed)) for seed in (6, 7, 8)}
    assert digest(play(world, 5)) == first
    assert len(others | {first}) == 4, "different seeds, different frames"


def test_frames_are_the_same_in_another_process(world: DoomWorld) -> None:
    program = (
        "import hashlib\nfrom worldsim.core.types import Action\nfrom worldsim.worlds.doom.config import DoomConfig\n"
        "from worldsim.worlds.doom.world import DoomWorld\n"
        "walk = [Action.of('forward', turn=(7 * i % 11 - 5) / 5) for i in range(12)]\n"
        "walk += [Action.of('left', turn=1.0)] * 3\n"
        "with DoomWorld(DoomConfig(maps=(1, 2))) as world:\n"
        "    frames = [world.reset(5).frame, *(world.step(a).frame for a in walk)]\n"
        "print(hashlib.sha256(b''.join(f.tobytes() for f in frames)).hexdigest())\n"
    )
    assert run_python(program) == digest(play(world, 5)), "with and without depth, in another process"


def test_seeds_cover_all_fixed_maps(world: DoomWorld) -> None:
    assert {maze_seed_of(CONFIG, seed) for seed in range(20)} == {1, 2}
    for seed in range(4):
        world.reset(seed)
        assert world.layout.seed == maze_seed_of(CONFIG, seed)


def test_without_fixed_maps_the_seed_is_the_maze_seed() -> None:
    with DoomWorld(DoomConfig()) as world:
        near, far = 3, 3 + SEEDS_PER_BLOCK
        before = digest(play(world, near))
        assert world.layout.seed == near
        digest(play(world, far))  # another block of seeds: another WAD, another engine
        assert world.layout.seed == far
        assert digest(play(world, near)) == before


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_full_turn_ends_at_the_same_frame(world: DoomWorld, turn: float) -> None:
    start = world.reset(9)
    steps = [world.step(Action.of(turn=turn)) for _ in range(36)]
    assert start.pose is not None and steps[-1].pose is not None and steps[8].pose is not None
    quarter = math.remainder(steps[8].pose.angle_rad - start.pose.angle_rad, math.tau)
    assert math.degrees(quarter) == pytest.approx(90 * turn, abs=0.1), "turn=+1 is counterclockwise"
    assert steps[-1].pose == start.pose
    np.testing.assert_array_equal(steps[-1].frame, start.frame)
    assert np.abs(steps[17].frame.astype(int) - start.frame).mean() > 5, "half a turn shows something else"


def test_small_turns_accumulate(world: DoomWorld) -> None:
    start = world.reset(9)
    step = [world.step(Action.of(turn=0.03)) for _ in range(100)][-1]
    assert start.pose is not None and step.pose is not None
    turned = math.degrees(math.remainder(step.pose.angle_rad - start.pose.angle_rad, math.tau))
    assert turned == pytest.approx(30.0, abs=0.02)


@pytest.mark.parametrize(("button", "direction_deg"), [("forward", 0), ("left", 90), ("back", 180), ("right", -90)])
def test_buttons_move_the_player_in_their_direction(world: DoomWorld, button: str, direction_deg: float) -> None:
    start = world.reset(5)
    step = [world.step(Action.of(button)) for _ in range(3)][-1]
    assert start.pose is not None and step.pose is not None
    dx, dy = step.pose.x - start.pose.x, step.pose.y - start.pose.y
    moved = math.atan2(dy, dx) - start.pose.angle_rad
    assert math.hypot(dx, dy) > 5
    assert abs(math.degrees(math.remainder(moved - math.radians(direction_deg), math.tau))) < 2


def test_frames_do_not_change_without_movement(world: DoomWorld) -> None:
    """Nothing in a maze is animated."""
    first = world.reset(11).frame
    for _ in range(40):
        np.testing.assert_array_equal(world.step(NO_ACTION).frame, first)


def test_depth_is_the_distance_to_the_wall_ahead(world: DoomWorld) -> None:
    for seed in range(12):
        step = world.reset(seed)
        assert step.pose is not None
        turn_deg = -math.degrees(math.remainder(step.pose.angle_rad, math.tau / 4))  # to the nearest compass point
        for _ in range(5):
            step = world.step(Action.of(turn=turn_deg / 50))
        assert step.pose is not None
        dx, dy = round(math.cos(step.pose.angle_rad)), round(math.sin(step.pose.angle_rad))
        layout = world.layout
        cell = layout.cell_at(step.pose.x, step.pose.y)
        if layout.opening(cell, (cell[0] + dx, cell[1] + dy)) is None:
            break
    x, y = layout.center(cell)
    assert step.pose is not None
    to_wall = (layout.cell_units - layout.wall_units) / 2 - (step.pose.x - x) * dx - (step.pose.y - y) * dy
    assert world.depth.shape == (48, 64) and world.depth.dtype == np.float32
    assert world.depth[23:25, 31:33].mean() == pytest.approx(to_wall, abs=9), "steps of 8 units"
    assert 0 < world.depth.min() <= world.depth.max() < 4 * 192 * math.sqrt(2)


def test_unknown_input_is_rejected(world: DoomWorld) -> None:
    world.reset(5)
    with pytest.raises(ConfigError, match="forwards") as caught:
        world.step(Action.of("forwards"))
    assert "forward" in caught.value.hint


def test_step_before_reset_is_an_error() -> None:
    with pytest.raises(WorldError) as caught:
        DoomWorld(CONFIG).step(NO_ACTION)
    assert "reset" in caught.value.hint


def test_dead_engine_is_an_error_and_the_next_reset_starts_another() -> None:
    psutil = pytest.importorskip("psutil")
    before = set(psutil.Process().children())
    with DoomWorld(CONFIG) as world:
        frame = world.reset(5).frame
        (engine,) = set(psutil.Process().children()) - before
        engine.kill()
        engine.wait(10)
        with pytest.raises(WorldError, match="stopped"):
            world.step(NO_ACTION)
        np.testing.assert_array_equal(world.reset(5).frame, frame)
    assert set(psutil.Process().children()) <= before, "close() leaves no process"


def test_missing_vizdoom_is_an_error_with_an_install_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(MissingPackageError, match="vizdoom") as caught:
        DoomWorld(CONFIG).reset(0)
    assert caught.value.hint == install_hint("doom")


def test_config_and_policies_do_not_import_vizdoom_or_torch() -> None:
    program = (
        "import sys\n"
        "import worldsim.worlds.doom.world, worldsim.worlds.doom.policies, worldsim.actions.scripted_actions\n"
        "print([name for name in ('torch', 'vizdoom', 'pygame') if name in sys.modules])\n"
    )
    assert run_python(program) == "[]"


def test_frames_are_rounded_area_averages() -> None:
    rng = np.random.default_rng(0)
    for factor in (2, 4, 5):
        image: npt.NDArray[np.uint8] = rng.integers(0, 256, (12 * factor, 16 * factor, 3), dtype=np.uint8)
        exact = image.reshape(12, factor, 16, factor, 3).astype(np.float64).mean((1, 3))
        np.testing.assert_array_equal(mean_frame(image, 12), np.floor(exact + 0.5))
    assert mean_frame(np.full((192, 256, 3), 255, np.uint8), 48).min() == 255


def test_pose_input_of_a_frame_is_relative_to_the_start() -> None:
    config = DoomConfig(maps=(1,), turn_deg=90.0, inputs="pose")
    with DoomWorld(config) as world:
        first = world.reset(5)
        turned = [world.step(Action.of(turn=1.0)) for _ in range(4)]
        walked = [world.step(Action.of("forward")) for _ in range(4)][-1]
        with pytest.raises(ConfigError, match="inside a wall"):
            world.step(Action.of(x=1.0, cos=1.0))
        with pytest.raises(ConfigError, match="back"):
            world.step(Action(buttons=frozenset({"back"}), axes=walked.action.axes))
    names = config.action_spec.axes
    assert [first.action.axis(name) for name in names] == [0, 0, 1, 0, 1, 0, 1, 0]
    assert [round(turned[0].action.axis(name), 6) for name in names] == [0, 0, 0, 1, -1, 0, 1, 0]
    assert [round(turned[3].action.axis(name), 6) for name in names] == [0, 0, 1, 0, 1, 0, 1, 0]
    assert walked.action.axis("x") > 0.02 and abs(walked.action.axis("y")) < 0.005, "forward is along x at the start"


@pytest.mark.parametrize("tics_per_step", [1, 2])
def test_pose_input_shows_the_view_from_that_pose_whatever_came_before(tics_per_step: int) -> None:
    config = DoomConfig(maps=(1,), inputs="pose", tics_per_step=tics_per_step)
    with DoomWorld(config) as world:
        world.reset(5)
        policy = world.make_policy("explore", random.Random(1))
        seen = [world.step(Action.of("forward"))]
        for _ in range(60):
            assert seen[-1].pose is not None
            seen.append(world.step(policy.act(seen[-1].pose)))
        again = [world.step(step.action) for step in seen]
        world.step(Action.of("forward", turn=1.0))  # gives the player momentum again
        others = [world.step(seen[i].action) for i in (60, 7, 31)]
        kept = world.step(NO_ACTION)
    for step, shown in zip(seen, again, strict=True):
        assert step.pose is not None and shown.pose is not None
        assert (shown.pose.x, shown.pose.y) == (round(step.pose.x), round(step.pose.y))
        turned = math.remainder(shown.pose.angle_rad - step.pose.angle_rad, math.tau)
        assert abs(turned) < 3 * math.tau / 65536
        assert np.abs(shown.frame.astype(int) - step.frame).mean() < 4, "half a unit of a cell of 192"
    for other, i in zip(others, (60, 7, 31), strict=True):
        assert other.pose == again[i].pose
        np.testing.assert_array_equal(other.frame, again[i].frame)
    assert kept.pose == others[-1].pose, "at rest"
    assert other.action.axis("x") == pytest.approx(seen[31].action.axis("x"), abs=0.002), "and the action says the same"


@pytest.mark.parametrize("key", ["forward", "back", "left", "right"])
def test_pose_control_moves_the_camera_as_keys_move_the_player(key: str) -> None:
    config = DoomConfig(maps=(1,), inputs="pose")
    spec, direction_rad = config.action_spec, {"forward": 0, "left": 1, "back": 2, "right": 3}[key] * math.pi / 2
    with DoomWorld(config) as world:
        before = world.reset(5)
        after = world.step(pose_step(spec, Action.of(key, turn=1.0), before.action))
    assert before.pose is not None and after.pose is not None
    direction_rad += before.pose.angle_rad + math.radians(5)
    moved = after.pose.x - before.pose.x, after.pose.y - before.pose.y
    assert moved == pytest.approx((16.6 * math.cos(direction_rad), 16.6 * math.sin(direction_rad)), abs=0.6), (
        "to half a unit"
    )
    turned = math.remainder(after.pose.angle_rad - before.pose.angle_rad, math.tau)
    assert math.degrees(turned) == pytest.approx(10, abs=0.02)


def test_engines_start_one_at_a_time() -> None:
    """Two that create the shared folder at once crash."""
    pytest.importorskip("fcntl")
    inside, most = list[int](), list[int]()

    def start() -> None:
        with engine._engine_start_lock():
            inside.append(1)
            time.sleep(0.02)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_engine_start_does_not_wait_for_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    order: list[str] = []

    def start(timeout_s: float) -> None:
        with engine._engine_start_lock(timeout_s):
            order.append("second")

    with engine._engine_start_lock():
        start(0.05)
        assert order == ["second"], "it starts without the lock"
        waiting = threading.Thread(target=start, args=(30.0,))
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join(10)
    assert order == ["second", "first", "second"]
