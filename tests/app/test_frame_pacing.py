"""Frame pacing: interpolation over one tick, never at the cost of the next tick."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.app.frame_pacing import INTERPOLATION_PERIOD_S, MAX_OVERLAY_DELAY_S, FramePacer
from worldsim.app.hud import Panel
from worldsim.app.renderer import Interpolation, ScalingFilter
from worldsim.core.clock import ManualClock
from worldsim.core.types import Frame
from worldsim.engine.worker import WorkerCounters

FRAME: Frame = np.zeros((2, 2, 3), dtype=np.uint8)
TICK_S = 0.06


class SlowRenderer:
    """Renderer and window in one; drawing takes time."""

    name = "fake"
    scaling_filter = ScalingFilter.SHARP
    integer_scale = supports_motion_interpolation = False
    size_px = (320, 240)

    def __init__(self, clock: ManualClock, interpolation: Interpolation, draw_s: float) -> None:
        self.interpolation, self.fractions = interpolation, list[float]()
        self._clock, self._draw_s = clock, draw_s

    def show(self, frame: Frame) -> None:
        self._clock.advance_s(0.001)

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float = 1.0) -> None:
        self.fractions.append(fraction)
        self._clock.advance_s(self._draw_s)

    def flip(self) -> None:
        self._clock.advance_s(0.002)

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> None:
        return None


class Play:
    def __init__(self, interpolation: Interpolation, draw_s: float = 0.001) -> None:
        self.clock = ManualClock()
        self.renderer = SlowRenderer(self.clock, interpolation, draw_s)
        self.pacer = FramePacer(self.renderer, self.renderer, self.clock)  # type: ignore[arg-type]  # stands in for the window

    def one_tick(self) -> list[float]:
        """Shows a frame and draws until the next tick. Returns: the interpolation fractions."""
        end_ns = self.clock.now_ns() + round(TICK_S * 1e9)
        begin = len(self.renderer.fractions)
        self.pacer.show(FRAME, period_s=TICK_S)
        self.pacer.draw(())
        while (due_s := self.pacer.next_due_s((end_ns - self.clock.now_ns()) / 1e9)) is not None:
            self.clock.advance_s(due_s)
            self.pacer.draw(())
        assert self.clock.now_ns() <= end_ns, "a draw delayed the tick"
        self.clock.advance_s((end_ns - self.clock.now_ns()) / 1e9)
        return self.renderer.fractions[begin:]


@pytest.mark.parametrize("interpolation", [Interpolation.BLEND, Interpolation.MOTION])
def test_interpolates_for_one_tick_at_display_rate(interpolation: Interpolation) -> None:
    play = Play(interpolation)
    play.one_tick()
    fractions = play.one_tick()
    assert fractions == sorted(fractions)
    assert len(fractions) == 4
    assert fractions[0] == 0.0 and fractions[-1] > 0.8
    assert np.allclose(np.diff(fractions), INTERPOLATION_PERIOD_S / TICK_S, atol=1e-3)


def test_without_interpolation_every_frame_is_drawn_once() -> None:
    play = Play(Interpolation.OFF)
    assert play.one_tick() == [1.0]


def test_draws_that_would_delay_the_tick_are_skipped() -> None:
    play = Play(Interpolation.BLEND, draw_s=0.03)
    play.one_tick()
    assert len(play.one_tick()) == 1


def test_jump_is_shown_immediately_and_pause_ends_a_transition() -> None:
    play = Play(Interpolation.BLEND)
    play.pacer.show(FRAME, period_s=None)
    play.pacer.draw(())
    assert play.renderer.fractions == [1.0]
    play.pacer.show(FRAME, period_s=TICK_S)
    play.pacer.draw(())
    play.pacer.end_transition()
    assert play.pacer.next_due_s(None) == 0.0
    play.pacer.draw(())
    assert play.renderer.fractions[1:] == [0.0, 1.0]
    assert play.pacer.next_due_s(None) is None


def test_draw_time_is_measured() -> None:
    play = Play(Interpolation.OFF, draw_s=0.004)
    play.pacer.meter.sample(0, WorkerCounters(), 0)
    play.one_tick()
    play.pacer.meter.sample(1_000_000_000, WorkerCounters(), 1)
    stats = play.pacer.meter.stats
    assert (stats.upload_ms, stats.draw_ms, stats.flip_ms) == pytest.approx((1.0, 4.0, 2.0))
    assert stats.drawn_per_s == 1.0


def test_overlay_change_waits_for_the_next_frame_up_to_a_limit() -> None:
    pacer = Play(Interpolation.OFF).pacer
    clock = pacer._clock
    assert isinstance(clock, ManualClock)
    assert not pacer.is_due(False, True, 0.05, is_playing=True)
    assert pacer.next_due_s(0.05) == MAX_OVERLAY_DELAY_S
    clock.advance_s(MAX_OVERLAY_DELAY_S / 2)
    assert pacer.is_due(True, False, 0.05, is_playing=True), "a new frame does not wait"
    assert not pacer.is_due(False, False, 0.05, is_playing=True)
    clock.advance_s(MAX_OVERLAY_DELAY_S / 2)
    assert pacer.is_due(False, False, 0.05, is_playing=True)
    pacer.draw(())
    assert pacer.next_due_s(0.05) is None
    assert pacer.is_due(False, True, None, is_playing=False), "while paused no frame would come"
