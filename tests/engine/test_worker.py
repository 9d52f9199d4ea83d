"""The model thread: prefetch changes no frame, errors are reported, closing never hangs."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from tests.engine.fakes import SPEC, FakePoseControlled, FakeSimulator, FakeSnapshot, fake_load
from worldsim.core.clock import ManualClock
from worldsim.core.errors import NonFiniteError, PresetError
from worldsim.core.types import Action, Frame, Step
from worldsim.engine.interfaces import LoadedWorld, MapView
from worldsim.engine.reference_world import ForwardOnlySimulator
from worldsim.engine.worker import StageCallback, Worker, WorkerPhase

FORWARD, TURN = Action.of("forward"), Action.of(turn=1.0)


def run_all(worker: Worker) -> None:
    while worker.run_once():
        pass


def ready_worker(simulator: FakeSimulator, *, depth: int = 1, seed: int = 0) -> Worker:
    worker = Worker(fake_load(simulator), seed=seed, prefetch_depth=depth, clock=ManualClock())
    run_all(worker)
    assert worker.take() is not None
    return worker


def ask(worker: Worker, action: Action) -> Step:
    worker.submit(action)
    run_all(worker)
    step = worker.take()
    assert step is not None
    return step


def truth(actions: list[Action], *, seed: int = 0) -> list[Frame]:
    simulator = FakeSimulator()
    simulator.reset(seed)
    return [simulator.step(action).frame for action in actions]


def assert_same(got: list[Frame], expected: list[Frame]) -> None:
    assert len(got) == len(expected)
    for index, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert np.array_equal(a, b), f"frame {index + 1} differs"


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 6])
def test_frames_are_the_same_with_and_without_prefetch(depth: int) -> None:
    rng = random.Random(depth)
    held = [rng.choice([FORWARD, TURN, Action.of("left", turn=-0.25)]) for _ in range(12)]
    actions = [action for action in held for _ in range(rng.choice([1, 2, 25]))]
    worker = ready_worker(FakeSimulator(), depth=depth)
    frames = []
    for action in actions:
        worker.expect(rng.choice([action, FORWARD, None]))
        for _ in range(rng.randrange(4)):
            worker.run_once()
        worker.expect(rng.choice([action, FORWARD, None]))
        frames.append(ask(worker, action).frame)
    assert_same(frames, truth(actions))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_frames_of_the_running_thread_are_the_same_whatever_the_timing(depth: int) -> None:
    rng = random.Random(depth)
    actions = [rng.choice([FORWARD, TURN]) for _ in range(80)]
    worker = Worker(fake_load(FakeSimulator(step_s=0.0005)), prefetch_depth=depth)
    worker.start()
    try:
        take(worker)
        frames = []
        for action in actions:
            worker.expect(rng.choice([action, FORWARD, TURN, None]))
            time.sleep(rng.choice([0.0, 0.0004, 0.002]))
            worker.submit(action)
            worker.expect(rng.choice([FORWARD, TURN, None]))
            frames.append(take(worker).frame)
    finally:
        worker.close()
    assert_same(frames, truth(actions))


def take(worker: Worker, timeout_s: float = 5.0) -> Step:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        step = worker.take()
        if step is not None:
            return step
        time.sleep(0.0002)
    raise AssertionError(f"no frame within {timeout_s} s: {worker.status}")


def test_frame_under_the_expected_action_is_available_immediately() -> None:
    worker = ready_worker(FakeSimulator())
    worker.expect(FORWARD)
    run_all(worker)
    worker.submit(FORWARD)
    step = worker.take()  # prefetched: no run_once in between
    assert step is not None
    assert step.index == 1
    assert (worker.counters.hits, worker.counters.misses) == (1, 0)


def test_another_action_than_the_held_one_rolls_back() -> None:
    worker = ready_worker(FakeSimulator())
    worker.expect(FORWARD)
    run_all(worker)
    assert_same([ask(worker, TURN).frame], truth([TURN]))
    assert (worker.counters.hits, worker.counters.misses, worker.counters.dropped) == (0, 1, 1)


def test_changed_prediction_is_recomputed_before_the_request() -> None:
    worker = ready_worker(FakeSimulator())
    worker.expect(FORWARD)
    run_all(worker)
    worker.expect(TURN)
    run_all(worker)
    worker.submit(TURN)
    step = worker.take()
    assert step is not None
    assert_same([step.frame], truth([TURN]))


def test_prediction_in_flight_is_not_computed_twice() -> None:
    simulator = FakeSimulator()
    worker = ready_worker(simulator)
    worker.expect(FORWARD)
    made = simulator.num_calls
    original = simulator.step

    def step_while_asked(action: Action) -> Step:
        worker.submit(FORWARD)  # requested while the model computes it
        worker.expect(None)
        return original(action)

    simulator.step = step_while_asked  # type: ignore[method-assign]  # the moment matters, not the frame
    worker.run_once()
    assert worker.take() is not None
    assert simulator.num_calls == made + 1
    assert worker.counters.hits == 1


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_prefetch_deepens_while_an_action_is_held_and_resets_when_it_changes(depth: int) -> None:
    worker = ready_worker(FakeSimulator(), depth=depth)
    worker.expect(FORWARD)
    run_all(worker)
    assert worker.counters.ahead == worker.counters.depth == min(1, depth)
    for _ in range(30):
        ask(worker, FORWARD)
    assert worker.counters.ahead == worker.counters.depth == depth
    worker.expect(TURN)
    assert (worker.counters.ahead, worker.counters.depth) == (0, min(1, depth))


def test_only_prefetched_frames_run_in_the_background_stream() -> None:
    made_aside = []

    @contextmanager
    def background_stream() -> Iterator[None]:
        before = simulator.num_calls
        yield
        made_aside.append(simulator.num_calls - before)

    simulator = FakeSimulator()
    load = fake_load(simulator)
    worker = Worker(lambda report: replace(load(report), background_stream=background_stream), num_warmup=0)
    run_all(worker)
    worker.take()
    ask(worker, TURN)
    assert made_aside == []
    worker.expect(FORWARD)
    run_all(worker)
    assert (made_aside, simulator.num_calls) == ([1], 2)


def test_accelerator_memory_is_reported() -> None:
    load = fake_load(FakeSimulator())
    worker = Worker(lambda report: replace(load(report), device_bytes=lambda: 123))
    run_all(worker)
    worker.take()
    ask(worker, FORWARD)
    assert worker.counters.device_bytes == 123


def test_no_prefetch_without_a_predicted_action() -> None:
    worker = ready_worker(FakeSimulator())
    worker.expect(None)
    run_all(worker)
    assert worker.counters.ahead == 0


def test_new_number_of_steps_applies_from_the_next_frame() -> None:
    worker = ready_worker(FakeSimulator())
    worker.expect(FORWARD)
    run_all(worker)
    worker.set_num_steps(4)
    frame = ask(worker, FORWARD).frame
    simulator = FakeSimulator()
    simulator.reset(0)
    simulator.num_steps = 4
    assert_same([frame], [simulator.step(FORWARD).frame])
    assert worker.counters.num_steps == 4


def test_reset_gives_the_first_frame_of_its_seed_and_forgets_what_was_asked() -> None:
    worker = ready_worker(FakeSimulator())
    worker.expect(FORWARD)
    run_all(worker)
    worker.submit(TURN)
    worker.reset(7)
    run_all(worker)
    first = worker.take()
    assert first is not None
    assert first.index == 0
    assert np.array_equal(first.frame, FakeSimulator().reset(7).frame)
    assert_same([ask(worker, TURN).frame], truth([TURN], seed=7))


def test_model_failure_is_reported_and_reset_recovers() -> None:
    worker = ready_worker(FakeSimulator(fail_at=2, fail_seed=5), depth=0, seed=5)
    ask(worker, FORWARD)
    worker.submit(FORWARD)
    run_all(worker)
    assert worker.take() is None
    assert worker.status.phase is WorkerPhase.FAILED
    assert isinstance(worker.status.error, NonFiniteError)
    worker.reset(6)
    run_all(worker)
    assert worker.take() is not None
    assert_same([ask(worker, a).frame for a in [FORWARD] * 3], truth([FORWARD] * 3, seed=6))


def test_prefetched_error_counts_only_if_its_action_is_requested() -> None:
    worker = ready_worker(FakeSimulator(fail_on=FORWARD))
    worker.expect(FORWARD)
    run_all(worker)
    assert worker.status.phase is WorkerPhase.READY
    assert_same([ask(worker, TURN).frame], truth([TURN]))
    run_all(worker)
    worker.submit(FORWARD)
    assert worker.status.phase is WorkerPhase.FAILED


def test_failed_load_is_reported_and_reset_retries() -> None:
    attempts = []

    def load(report: StageCallback) -> LoadedWorld:
        attempts.append(report)
        if len(attempts) == 1:
            raise PresetError("model.safetensors is cut short", hint="fetch it again")
        return fake_load(FakeSimulator())(report)

    worker = Worker(load)
    run_all(worker)
    assert worker.status.phase is WorkerPhase.FAILED
    assert isinstance(worker.status.error, PresetError)
    worker.reset(0)
    run_all(worker)
    assert worker.take() is not None


def test_unexpected_exception_becomes_a_message_and_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def load(report: StageCallback) -> LoadedWorld:
        raise RuntimeError("shapes differ")

    worker = Worker(load)
    run_all(worker)
    assert worker.status.error is not None
    assert worker.status.error.message == "RuntimeError: shapes differ"
    assert "Traceback" in capsys.readouterr().err


def test_loading_reports_its_stages() -> None:
    seen = []
    worker = Worker(fake_load(FakeSimulator(), stage="reading the weights"))
    worker._on_change = lambda: seen.append(worker.status.stage)
    run_all(worker)
    assert seen[:2] == ["reading the weights", "warming up"]


@pytest.mark.parametrize("moment", ["loading", "playing", "asked", "failed"])
def test_close_ends_the_thread_at_any_moment(moment: str) -> None:
    simulator = FakeSimulator(step_s=0.02, fail_at=1 if moment == "failed" else None, fail_seed=3)
    worker = Worker(fake_load(simulator), seed=3)
    worker.start()
    if moment != "loading":
        take(worker)
        worker.expect(FORWARD)
    if moment in ("asked", "failed"):
        worker.submit(FORWARD)
    worker.close(timeout_s=5.0)
    assert not worker._thread.is_alive()
    assert simulator.is_closed or moment == "loading"


def test_input_to_frame_time_starts_at_the_request() -> None:
    clock = ManualClock()
    worker = Worker(fake_load(FakeSimulator()), clock=clock)
    run_all(worker)
    worker.take()
    worker.expect(FORWARD)
    run_all(worker)
    clock.advance_s(1.0)
    worker.submit(FORWARD)
    step = worker.take()
    assert step is not None
    assert (step.t_input_ns, step.t_ready_ns) == (1_000_000_000, 1_000_000_000)


def test_worker_plays_a_reference_world_without_rewind() -> None:
    world = ForwardOnlySimulator(FakePoseControlled(), keys=SPEC)
    worker = Worker(lambda report: LoadedWorld(playable=world, title="true", ticks_per_s=10.0, can_rewind=False))
    run_all(worker)
    assert worker.take() is not None
    frames = []
    for action in [FORWARD, TURN, FORWARD]:
        worker.expect(FORWARD)
        run_all(worker)
        frames.append(ask(worker, action).frame)
    assert_same(frames, truth([FORWARD, TURN, FORWARD]))


class MappingSimulator(FakeSimulator):
    """The map in a snapshot is as large as its frame index."""

    def map_view(self, snapshot: FakeSnapshot) -> MapView | None:
        if snapshot.index == self.fail_map_at:
            raise RuntimeError("the device is lost")
        cells = np.zeros((snapshot.index, snapshot.index), np.uint8)
        return MapView(wall=cells, known=cells, reach=1.0)

    fail_map_at = -1


def test_the_map_is_that_of_the_newest_frame_when_it_was_asked_for_and_changes_no_frame() -> None:
    worker = ready_worker(MappingSimulator())
    frames = [ask(worker, FORWARD).frame for _ in range(3)]
    assert worker.map_view is None
    worker.expect(FORWARD)
    worker.request_map_view()
    run_all(worker)
    assert worker.map_view is not None and worker.map_view.wall.shape == (3, 3)
    frames += [ask(worker, FORWARD).frame for _ in range(2)]
    assert worker.map_view.wall.shape == (3, 3), "not asked for again"
    assert_same(frames, truth([FORWARD] * 5))


def test_there_is_no_map_after_a_reset_without_one_or_when_it_cannot_be_read() -> None:
    simulator = MappingSimulator()
    worker = ready_worker(simulator)
    ask(worker, FORWARD)
    worker.request_map_view()
    run_all(worker)
    assert worker.map_view is not None
    worker.reset(1)
    assert worker.map_view is None
    run_all(worker)
    assert worker.take() is not None
    simulator.fail_map_at = 0
    worker.request_map_view()
    run_all(worker)
    assert worker.map_view is None and worker.status.phase is WorkerPhase.READY
    plain = ready_worker(FakeSimulator())
    plain.request_map_view()
    run_all(plain)
    assert plain.map_view is None
