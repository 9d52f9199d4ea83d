"""Long play on a simulated clock: nothing grows or slows down, and the statistics would show it."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.fakes import FakeSimulator, fake_load
from worldsim.core.errors import NonFiniteError
from worldsim.core.types import Action, Step
from worldsim.engine.bench import _image_stats, run_soak
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.memory import features
from worldsim.engine.simulator import Simulator
from worldsim.presets.store import load_preset


class Diary(FakeSimulator):
    """Logs its actions; becomes slower and larger by `leak` numbers per frame."""

    def __init__(self, leak: int = 0) -> None:
        super().__init__()
        self.actions: list[Action] = []
        self._leak, self._kept = leak, list[np.ndarray]()

    def step(self, action: Action) -> Step:
        self.actions.append(action)
        if self._leak:
            # Pages of its own: what the heap has free from earlier tests would hide them.
            self._kept.append(np.frombuffer(mmap.mmap(-1, 8 * self._leak)))
            self._kept[-1][:] = 1.0
            sum(float(kept.sum()) for kept in self._kept)
        return super().step(action)


def loaded_of(simulator: FakeSimulator, ticks_per_s: float = 10.0) -> LoadedWorld:
    return fake_load(simulator, ticks_per_s=ticks_per_s)(lambda stage: None)


def test_idle_sends_no_input_and_play_sends_synthetic_input() -> None:
    still, busy = Diary(), Diary()
    endured = run_soak(loaded_of(still), is_idle=True, num_ticks=100, every=20)
    assert set(still.actions) == {Action()}
    assert [point.tick for point in endured.points] == [20, 40, 60, 80, 100]
    assert len(endured.tick_ms) == 100 and still.is_closed
    run_soak(loaded_of(busy), is_idle=False, num_ticks=100, every=50)
    assert len(set(busy.actions)) > 5
    assert any("forward" in action.buttons for action in busy.actions)


def test_synthetic_input_continues_after_the_first_minute() -> None:
    late = Diary()
    run_soak(loaded_of(late, ticks_per_s=2.0), is_idle=False, num_ticks=180, every=90)
    assert len(set(late.actions[-50:])) > 5


def test_slowdown_and_memory_growth_are_detected() -> None:
    endured = run_soak(loaded_of(Diary(leak=30_000)), is_idle=True, num_ticks=150, every=15)
    first, last = endured.points[1], endured.points[-1]
    assert last.ms_p50 > 2 * first.ms_p50
    assert last.rss_bytes > first.rss_bytes + 100 * 30_000 * 8


def test_world_failure_ends_the_run_with_its_error() -> None:
    with pytest.raises(NonFiniteError):
        run_soak(loaded_of(FakeSimulator(fail_at=20)), is_idle=True, num_ticks=50, every=10)


def test_image_statistics() -> None:
    rows = np.zeros((8, 8, 3), np.uint8)
    rows[::2] = (40, 80, 120)
    look = _image_stats([features(rows)])
    assert look.rgb == pytest.approx((20, 40, 60), abs=0.1)
    assert look.sharpness == pytest.approx(80, rel=0.01)
    assert look.contrast == pytest.approx(40, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("is_idle", [True, False])
def test_minutes_of_a_real_model_neither_grow_nor_slow_down(tiny_preset_folder: Path, is_idle: bool) -> None:
    preset = load_preset(tiny_preset_folder)
    loaded = replace(
        loaded_of(FakeSimulator()),
        playable=Simulator(preset),
        snapshot_bytes=preset.model.initial_state(1, 0).num_bytes,
        start_frames=tuple(start.frames for start in preset.starts),
    )
    endured = run_soak(loaded, is_idle=is_idle, num_ticks=1500, every=75)
    early, late = endured.tick_ms[150:450], endured.tick_ms[-300:]
    for share, most in (
        (50, 1.4),
        (95, 2.0),
    ):  # other load on the machine makes a tick 50 % longer
        ratio = np.percentile(late, share) / np.percentile(early, share)
        assert ratio < most, f"p{share} of a tick's time grew {ratio:.2f} times"
    middle, end = endured.points[9], endured.points[-1]
    beside_history = (end.rss_bytes - end.history_bytes) - (middle.rss_bytes - middle.history_bytes)
    assert beside_history < 16 * 2**20, f"{beside_history / 1e6:.0f} MB more than the history"
