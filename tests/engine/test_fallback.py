"""Injected device faults: play continues where possible, notifies, and the recording stays exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.fakes import HEADER, FakeSimulator, FakeSnapshot
from worldsim.core.clock import ManualClock
from worldsim.core.errors import DeviceError, NonFiniteError, StateError, WorldsimError
from worldsim.core.types import Action, Step
from worldsim.engine.fallback import DeviceFault, FallbackSimulator, as_worldsim_error, classify_fault
from worldsim.engine.history import ReplayPath, replay_to
from worldsim.engine.interfaces import LoadedWorld, Position, SupportsContextReset
from worldsim.engine.recorder import Recorder
from worldsim.engine.replay import check, device_changes
from worldsim.engine.saves import SaveRecord
from worldsim.engine.session import Session, SessionState
from worldsim.engine.simulator import Simulator
from worldsim.engine.worker import Worker
from worldsim.episodes.reader import open_session
from worldsim.presets.store import load_preset

WALK = Action.of("forward")
SLOT = Path("slot")
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
DEVICE_LOST = torch.AcceleratorError("CUDA error: unspecified launch failure\nmore lines")


@dataclass
class Device:
    """The current fault."""

    error: Exception | None = None
    room_steps: int = 99
    """More denoising steps than this run out of memory."""
    is_lost: bool = False


class OnDevice(FakeSimulator):
    """A fake simulator on a device that can run out of memory, or be lost with all of its snapshots."""

    def __init__(self, device: Device) -> None:
        super().__init__("cuda")
        self._device = device

    def step(self, action: Action) -> Step:
        self._check()
        return super().step(action)

    def restore(self, snapshot: FakeSnapshot) -> None:
        self._check()
        super().restore(snapshot)

    def _check(self) -> None:
        if self._device.is_lost:
            raise DEVICE_LOST
        if self._device.error is not None:
            raise self._device.error
        if self.num_steps > self._device.room_steps:
            raise OUT_OF_MEMORY


class OnCpu(FakeSimulator):
    """The CPU fallback: it cannot restore snapshots of a lost device, and its frames differ."""

    def __init__(self, device: Device) -> None:
        super().__init__("cpu")
        self._device, self._known = device, set[int]()

    def snapshot(self) -> FakeSnapshot:
        self._known.add(id(self._now))
        return super().snapshot()

    def restore(self, snapshot: FakeSnapshot) -> None:
        if self._device.is_lost and id(snapshot) not in self._known:
            raise DEVICE_LOST
        super().restore(snapshot)


@dataclass
class Play:
    device: Device = field(default_factory=Device)
    has_other: bool = True
    recorder: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.fallback = FallbackSimulator(
            OnDevice(self.device), (lambda: OnCpu(self.device)) if self.has_other else None
        )
        self.fallback.num_steps = 4
        loaded = LoadedWorld(
            playable=self.fallback,
            title="fake",
            ticks_per_s=10.0,
            header=replace(HEADER, device="cuda"),
            num_context=4,
            saves=Kept(),
            warning=lambda: self.fallback.warning,
        )
        self.worker = Worker(lambda report: loaded, clock=self.clock)
        self.session = Session(self.worker, recorder=self.recorder)
        self.steps: list[Step] = []
        self.told: list[str] = []
        self.session.on_notify = self.told.append
        self.go(1.0)

    def state(self) -> SessionState:
        return self.session.state

    def go(self, duration_s: float) -> None:
        for _ in range(round(duration_s / 0.05)):
            while self.worker.run_once():
                pass
            self.clock.advance_s(0.05)
            self.steps += self.session.tick(0.05)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OUT_OF_MEMORY, DeviceFault.OUT_OF_MEMORY),
        (MemoryError(), DeviceFault.OUT_OF_MEMORY),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), DeviceFault.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: out of memory"), DeviceFault.OUT_OF_MEMORY),
        (DEVICE_LOST, DeviceFault.DEVICE_LOST),
        (RuntimeError("HIP error: the operation cannot be performed"), DeviceFault.DEVICE_LOST),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceFault.DEVICE_LOST),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("out of memory, says a value"), None),
        (NonFiniteError("frame 3 came out as NaN"), None),
    ],
)
def test_fault_classification(error: Exception, kind: DeviceFault | None) -> None:
    assert classify_fault(error) is kind


def test_torch_out_of_memory_error_is_recognized_and_reported_in_one_line() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    error = as_worldsim_error(caught.value)
    assert error.message == "out of memory" and "close other programs" in error.hint
    assert isinstance(as_worldsim_error(DEVICE_LOST), DeviceError)
    assert "\n" not in as_worldsim_error(DEVICE_LOST).message


def test_out_of_memory_falls_back_to_fewer_steps_then_to_the_cpu_with_warnings() -> None:
    play = Play()
    play.device.room_steps = 3
    play.go(1.0)
    assert play.state() is SessionState.PLAYING
    assert play.told == ["out of memory: reduced from 4 to 1 denoising step"]
    assert play.worker.counters.num_steps == 1 == play.steps[-1].num_steps
    play.device.room_steps = 0
    play.go(1.0)
    assert play.told[1:] == ["out of memory: continuing on the CPU (slower)"]
    assert [step.index for step in play.steps] == list(range(len(play.steps))), "a frame is missing or repeated"
    expected = FakeSimulator("cuda")
    assert np.array_equal(expected.reset(0).frame, play.steps[0].frame)
    for step in play.steps[1:]:
        if step.device == "cpu" and expected.device == "cuda":
            on_cpu = FakeSimulator("cpu")
            on_cpu.restore(expected.snapshot())
            expected = on_cpu
        expected.num_steps = step.num_steps
        assert np.array_equal(expected.step(step.action).frame, step.frame), f"frame {step.index}"
    assert expected.device == "cpu"


def test_raising_the_steps_again_retries_and_warns_again() -> None:
    play = Play(Device(room_steps=3))
    play.go(0.5)
    play.session.set_num_steps(2)
    play.go(0.5)
    assert play.worker.counters.num_steps == 2
    play.session.set_num_steps(8)
    play.go(0.5)
    assert play.told[-1] == "out of memory: reduced from 8 to 1 denoising step"


def test_without_another_fallback_play_fails_with_a_message_and_can_be_rewound() -> None:
    play = Play(has_other=False)
    play.device.room_steps = 0
    play.go(1.0)
    assert play.state() is SessionState.FAILED
    assert play.session.error is not None and play.session.error.message == "out of memory"
    play.device.room_steps = 1
    play.session.rewind(True)
    play.go(0.5)
    play.session.rewind(False)
    play.go(1.0)
    assert "not enough memory for its denoising steps" in play.told[-1]
    assert play.state() is SessionState.FAILED
    play.device.room_steps = 99
    play.session.rewind(True)
    play.session.rewind(False)
    play.go(1.0)
    assert play.state() is SessionState.PLAYING


def test_after_a_lost_device_context_resets_from_history_and_the_recording_is_exact(tmp_path: Path) -> None:
    play = Play(recorder=Recorder(folder=tmp_path / "recorded"))
    play.session.inputs.press("w")
    play.go(2.0)
    last = play.steps[-1]
    play.device.is_lost = True
    play.go(2.0)
    assert play.state() is SessionState.PLAYING
    assert play.told[-1] == "GPU lost: continuing on the CPU from the last 4 frames"
    assert play.steps[-1].index > last.index + 5
    play.session.recorder.close()
    session = open_session(tmp_path / "recorded")
    before, after = session.episodes
    assert session.is_complete and len(before.rows) == last.index + 1
    assert after.start.anchor is not None and after.start.first_index == last.index
    assert after.start.device == "cpu" and before.start.device == ""
    assert check(session, FakeSimulator("cuda"), on_device=FakeSimulator).is_exact


@pytest.mark.parametrize("moves_at_once", [False, True])
def test_recording_marks_the_frame_of_the_cpu_fallback_and_replay_follows(moves_at_once: bool, tmp_path: Path) -> None:
    play = Play(Device(room_steps=0 if moves_at_once else 99), recorder=Recorder(folder=tmp_path / "recorded"))
    play.session.inputs.press("w")
    play.go(1.0)
    play.device.room_steps = 0
    play.go(1.0)
    first = next(step.index for step in play.steps if step.device == "cpu")
    assert (first == 0) == moves_at_once
    play.session.recorder.start(tmp_path / "started on the CPU", replace(HEADER, device="cuda"))
    play.go(1.0)
    play.session.reset(2)
    play.go(1.0)
    play.session.recorder.close()

    session = open_session(tmp_path / "recorded")
    starts = [episode.start for episode in session.episodes]
    before = [] if moves_at_once else [(0, "")]
    assert [(start.first_index, start.device) for start in starts] == [*before, (first, "cpu")]
    (moved,) = device_changes(session)
    assert moved == f"episode {len(before)}, from frame {first} after its reset, was generated on cpu, not on cuda"
    later = open_session(tmp_path / "started on the CPU")
    assert [episode.start.device for episode in later.episodes] == ["cpu", "cpu"]
    assert {run.device for run in later.episodes[0].start.prelude} == ({"cpu"} if moves_at_once else {"", "cpu"})
    for recorded in (session, later):
        assert check(recorded, FakeSimulator("cuda"), on_device=FakeSimulator).is_exact
        assert not check(recorded, FakeSimulator("cuda")).is_exact, "bits differ between devices"


def test_nodes_on_a_lost_device_are_unreachable_and_play_stays_where_it_is() -> None:
    play = Play()
    play.device.is_lost = True
    play.go(1.0)
    play.session.rewind(True)
    play.go(2.0)
    play.session.rewind(False)
    play.go(0.5)
    assert play.told[-1] == "this state was on the lost device"
    assert play.state() is SessionState.PLAYING
    play.session.reset()
    play.go(1.0)
    assert play.state() is SessionState.PLAYING and play.session.error is None


def test_reset_needs_nothing_from_a_lost_device() -> None:
    device = Device()
    fallback = FallbackSimulator(OnDevice(device), lambda: OnCpu(device))
    fallback.reset(0)
    device.is_lost = True
    with pytest.raises(DeviceError, match="the model's state"):
        fallback.step(WALK)
    assert np.array_equal(fallback.reset(3).frame, FakeSimulator().reset(3).frame)


def test_other_errors_pass_through() -> None:
    fallback = FallbackSimulator(FakeSimulator(fail_at=1), lambda: FakeSimulator())
    fallback.reset(0)
    with pytest.raises(NonFiniteError):
        fallback.step(WALK)
    assert fallback.warning == "" and isinstance(fallback, SupportsContextReset)


def test_real_model_continues_on_the_cpu_from_the_same_state(tiny_preset_folder: Path) -> None:
    def simulator() -> Simulator:
        return Simulator(load_preset(tiny_preset_folder), num_steps=1)

    first, expected = simulator(), simulator()
    fallback = FallbackSimulator(first, simulator)
    for world in (fallback, expected):
        world.reset(0)
        world.step(WALK)

    def fail(*_: object) -> None:
        raise OUT_OF_MEMORY

    first._model.begin = fail  # type: ignore[assignment]  # the device's fault, injected
    assert np.array_equal(fallback.step(WALK).frame, expected.step(WALK).frame)
    assert "on the CPU" in fallback.warning


def test_replay_path_that_runs_out_of_memory_is_refused() -> None:
    simulator = FakeSimulator()
    simulator.num_steps = 4
    simulator.reset(0)
    start = simulator.snapshot()
    step = simulator.step(WALK)
    route = ReplayPath(snapshot=start, path=(step,), target=Position(step=step, seed=0))
    device = Device(room_steps=2)
    fallback = FallbackSimulator(OnDevice(device))
    fallback.reset(0)
    with pytest.raises(StateError, match="not enough memory"):
        replay_to(route, fallback)


class Kept:
    """A save store in memory."""

    def write(self, path: Path, saved: SaveRecord, snapshot: object) -> None:
        self._kept = Position(step=saved.step, snapshot=snapshot, seed=saved.seed, runs=saved.runs)

    def read(self, path: Path) -> Position:
        return self._kept


def tap_rewind(session: Session) -> None:
    session.rewind(True)
    session.rewind(False)


def other_branch(session: Session) -> None:
    assert session.change_branch(1) is not None


WAYS_OUT: dict[str, Callable[[Session], None]] = {
    "reset": lambda session: session.reset(1),
    "rewind": tap_rewind,
    "other branch": other_branch,
    "load": lambda session: session.load(SLOT),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_recovery_from_a_failure(way: str) -> None:
    play = Play()
    play.session.save(SLOT)
    play.go(0.5)
    tap_rewind(play.session)
    play.go(0.5)
    play.device.error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    play.go(0.5)
    assert play.state() is SessionState.FAILED
    play.device.error = None
    num_steps = len(play.steps)
    WAYS_OUT[way](play.session)
    play.go(1.0)
    assert play.state() is SessionState.PLAYING and play.session.error is None
    assert len(play.steps) > num_steps + 5


def test_repeated_failure_is_reported_again() -> None:
    play = Play()
    play.device.error = ValueError("damaged")
    play.go(0.5)
    play.session.rewind(True)
    play.session.rewind(False)
    play.go(0.5)
    assert play.state() is SessionState.FAILED
    assert isinstance(play.session.error, WorldsimError)
