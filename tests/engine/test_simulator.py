"""The simulator: same actions give the same bits, other actions other frames; snapshots; NaN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from worldsim.actions.pose_control import pose_step
from worldsim.core.errors import ConfigError, NonFiniteError, UsageError
from worldsim.core.types import NO_ACTION, Action
from worldsim.engine.batch import BatchSimulator
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.simulator import Simulator
from worldsim.engine.worker import Worker
from worldsim.models.build import build_world_model
from worldsim.models.config import MappedModelConfig, SpatialMapConfig
from worldsim.models.maps.spatial_map import SpatialMap
from worldsim.presets.store import Preset, load_preset

FORWARD, TURN = Action.of("forward"), Action.of(turn=1.0)


@pytest.fixture(scope="module")
def preset(tiny_preset_folder: Path) -> Preset:
    return load_preset(tiny_preset_folder)


@pytest.fixture
def simulator(preset: Preset) -> Iterator[Simulator]:
    simulator = Simulator(preset)
    simulator.reset(0)
    yield simulator
    simulator.close()


def test_reset_shows_the_last_frame_of_the_start_that_the_seed_names(preset: Preset) -> None:
    simulator = Simulator(preset)
    for seed in range(4):
        step = simulator.reset(seed)
        assert (step.index, step.action) == (0, NO_ACTION)
        assert np.array_equal(step.frame, preset.starts[seed % 2].frames[-1])


def test_start_is_encoded_into_the_state(preset: Preset, simulator: Simulator) -> None:
    assert simulator.snapshot().state.frame_index == preset.config.play.context_frames
    frame = simulator.step(FORWARD).frame
    blank = replace(preset.starts[0], frames=np.zeros_like(preset.starts[0].frames))
    other = Simulator(replace(preset, starts=(blank,)))
    other.reset(0)
    assert not np.array_equal(other.step(FORWARD).frame, frame)


def test_the_same_seed_and_actions_give_the_same_bits(preset: Preset) -> None:
    def play() -> list[np.ndarray]:
        simulator = Simulator(preset)
        simulator.reset(3)
        return [simulator.step(action).frame for action in [FORWARD, TURN, NO_ACTION]]

    assert all(np.array_equal(a, b) for a, b in zip(play(), play(), strict=True))


@pytest.mark.parametrize("change", ["seed", "action", "num_steps"])
def test_seed_action_and_number_of_steps_matter(preset: Preset, change: str) -> None:
    simulator = Simulator(preset, num_steps=4 if change == "num_steps" else 1)
    simulator.reset(2 if change == "seed" else 0)  # seeds 0 and 2 share a start
    changed = simulator.step(TURN if change == "action" else FORWARD).frame
    simulator = Simulator(preset)
    simulator.reset(0)
    assert not np.array_equal(simulator.step(FORWARD).frame, changed)


def test_going_back_to_a_snapshot_gives_the_same_frames_again(simulator: Simulator) -> None:
    simulator.step(FORWARD)
    snapshot = simulator.snapshot()
    first = [simulator.step(action) for action in [TURN, FORWARD]]
    simulator.restore(snapshot)
    again = [simulator.step(action) for action in [TURN, FORWARD]]
    for a, b in zip(first, again, strict=True):
        assert a.index == b.index
        assert np.array_equal(a.frame, b.frame)


def test_prefetch_and_rollback_change_no_bit_of_a_learned_world(preset: Preset) -> None:
    actions = [FORWARD, FORWARD, TURN, NO_ACTION, FORWARD, TURN]
    worker = Worker(lambda report: LoadedWorld(playable=Simulator(preset), title="tiny", ticks_per_s=10.0))
    truth = Simulator(preset)
    truth.reset(0)
    while worker.run_once():
        pass
    assert worker.take() is not None
    for action in actions:
        worker.expect(FORWARD)  # right for half of them
        while worker.run_once():
            pass
        worker.submit(action)
        while worker.run_once():
            pass
        step = worker.take()
        assert step is not None
        assert np.array_equal(step.frame, truth.step(action).frame), f"frame {step.index} differs"
    assert worker.counters.hits == 3


def test_nan_is_an_error_that_leaves_the_state_as_it_was(preset: Preset, simulator: Simulator) -> None:
    simulator.step(FORWARD)
    before = simulator.snapshot()
    spoiled_state = before.state.map(lambda t: t * float("nan") if t.is_floating_point() else t)
    simulator.restore(replace(before, state=spoiled_state))
    spoiled = simulator.snapshot()
    with pytest.raises(NonFiniteError):
        simulator.step(FORWARD)
    assert simulator.snapshot() is spoiled
    simulator.restore(before)
    assert simulator.step(FORWARD).index == 2


def test_the_state_keeps_its_size(simulator: Simulator) -> None:
    sizes = set()
    for _ in range(10):
        simulator.step(FORWARD)
        sizes.add(simulator.snapshot().state.num_bytes)
    assert len(sizes) == 1


def test_playing_builds_no_graph(simulator: Simulator) -> None:
    simulator.step(FORWARD)
    assert not any(t.requires_grad for t in simulator.snapshot().state.tensors.values())
    assert torch.is_grad_enabled()


def test_unknown_inputs_are_refused(simulator: Simulator) -> None:
    with pytest.raises(ConfigError):
        simulator.step(Action.of("fly"))
    with pytest.raises(UsageError):
        simulator.num_steps = 0


def test_the_map_is_that_of_the_snapshot_and_only_of_a_model_that_has_one(
    simulator: Simulator, given_preset_folder: Path
) -> None:
    assert simulator.map_view(simulator.snapshot()) is None
    mapped = Simulator(load_preset(given_preset_folder))
    mapped.reset(0)  # it has looked along x
    first = mapped.snapshot()
    view = mapped.map_view(first)
    assert view is not None and view.wall.shape == view.known.shape and int(view.known.max()) > 128
    turned = mapped.action_spec.decode(np.array([0.2, -0.1, -1, 0, 1, 0, 1, 0], np.float32))
    for _ in range(8):
        mapped.step(turned)
    behind, again = mapped.map_view(mapped.snapshot()), mapped.map_view(first)
    assert behind is not None and again is not None
    assert not np.array_equal(behind.known, view.known) and np.array_equal(again.known, view.known)


@pytest.fixture
def solid(given_preset_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Preset:
    """Poses as inputs, with a wall across x = 0.3 that the map knows."""
    preset = load_preset(given_preset_folder)
    assert isinstance(preset.config.model, MappedModelConfig)
    solid_map = SpatialMapConfig(width=12, pose="given", solid_walls=True)
    config = replace(preset.config, model=replace(preset.config.model, map=solid_map))
    model = build_world_model(config.model, config.latent_shape, config.action_spec.size)
    model.load_state_dict(preset.model.state_dict())
    monkeypatch.setattr(SpatialMap, "wall_at", lambda self, tables, position: (position[..., 0] > 0.3).float())
    return replace(preset, config=config, model=model)


def walk_east(world: Simulator, num_steps: int) -> list[Action]:
    newest, found = world.reset(0).action, []
    for _ in range(num_steps):
        newest = world.step(pose_step(world.action_spec, Action.of("forward"), newest)).action
        found.append(newest)
    return found


def test_walls_of_the_map_stop_the_camera_and_a_recording_of_it_replays_exactly(solid: Preset) -> None:
    world = Simulator(solid)
    walked = walk_east(world, 12)
    x = [action.axis("x") for action in walked]
    assert 0.2 < x[0] < x[-1] <= 0.3 and x[-1] == x[-2], "it came as far as the wall"
    frame = world.step(walked[-1]).frame
    world.reset(0)
    assert [world.step(action).action for action in walked] == walked, "a stopped pose is not stopped again"
    assert np.array_equal(world.step(walked[-1]).frame, frame)
    beyond = dict(walked[-1].axes) | {"x": 0.9}
    assert world.step(Action.of(**beyond)).action == Action.of(**beyond), "a jump goes anywhere"


def test_a_row_of_a_batch_stops_where_a_simulator_does(solid: Preset) -> None:
    single, batch = Simulator(solid), BatchSimulator(solid, 2)
    start = single.reset(0).action
    into_the_wall = [pose_step(single.action_spec, Action.of("forward"), a) for a in (start, *walk_east(single, 12))]
    single.reset(0)
    batch.reset({0: 0, 1: 0})
    for action in into_the_wall:
        expected, found = single.step(action), batch.step([action, start])
        assert np.abs(expected.frame.astype(int) - found[0]).max() <= 1


@pytest.fixture
def keyframes(given_preset_folder: Path) -> Preset:
    """Every third frame is a keyframe."""
    preset = load_preset(given_preset_folder)
    return replace(preset, config=replace(preset.config, play=replace(preset.config.play, keyframe_interval=3)))


def test_only_keyframes_are_committed_and_the_camera_moves_a_part_of_the_worlds_tick(keyframes: Preset) -> None:
    world = Simulator(keyframes)
    newest, before, changed = world.reset(0).action, world.snapshot().state, []
    for _ in range(6):
        step = world.step(pose_step(world.action_spec, Action.of("forward"), newest))
        after = world.snapshot().state
        is_pose = ("map.pose", "map.previous_pose")
        changed.append(any(not t.equal(before.tensors[n]) for n, t in after.tensors.items() if n not in is_pose))
        assert after.frame_index == before.frame_index + 1
        newest, before = step.action, after
    first = (keyframes.config.play.context_frames + 1) % 3
    assert changed == [(first + i) % 3 == 0 for i in range(6)]
    world_step = keyframes.config.world.action_spec.pose_control
    assert world_step is not None
    assert newest.axis("x") - world.reset(0).action.axis("x") == pytest.approx(2 * world_step.step_length, abs=1e-6)


def test_rows_of_a_batch_have_their_own_keyframes(keyframes: Preset) -> None:
    single, batch = Simulator(keyframes), BatchSimulator(keyframes, 2)
    action = single.reset(0).action
    batch.reset({0: 0, 1: 0})
    batch.step([action] * 2)
    batch.reset({1: 0})  # a frame behind the other row
    for _ in range(5):
        assert np.abs(single.step(action).frame.astype(int) - batch.step([action] * 2)[1]).max() <= 1
