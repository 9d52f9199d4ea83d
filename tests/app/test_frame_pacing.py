"""When to draw between two frames: a way of one tick, never in the way of the next tick."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.app.frame_pacing import BETWEEN_S, STALE_S, Screen
from worldsim.app.hud import Panel
from worldsim.app.renderer import Between, PictureFilter
from worldsim.core.clock import ManualClock
from worldsim.core.types import Frame
from worldsim.engine.messages import WorkerCounters

FRAME: Frame = np.zeros((2, 2, 3), dtype=np.uint8)
TICK_S = 0.06


class SlowPaper:
    """A renderer and a window in one; drawing takes its time."""

    name = "paper"
    picture_filter = PictureFilter.SHARP
    is_whole = knows_motion = False
    size_px = (320, 240)

    def __init__(self, clock: ManualClock, between: Between, draw_s: float) -> None:
        self.between, self.shares = between, list[float]()
        self._clock, self._draw_s = clock, draw_s

    def show(self, frame: Frame) -> None:
        self._clock.advance_s(0.001)

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], share: float = 1.0) -> None:
        self.shares.append(share)
        self._clock.advance_s(self._draw_s)

    def flip(self) -> None:
        self._clock.advance_s(0.002)

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> None:
        return None


class Play:
    def __init__(self, between: Between, draw_s: float = 0.001) -> None:
        self.clock = ManualClock()
        self.paper = SlowPaper(self.clock, between, draw_s)
        self.screen = Screen(self.paper, self.paper, self.clock)  # type: ignore[arg-type]  # stands in for the window

    def one_tick(self) -> list[float]:
        """A new frame, then whatever is drawn until the next tick. Returns: the shares of the way."""
        end_ns = self.clock.now_ns() + round(TICK_S * 1e9)
        begin = len(self.paper.shares)
        self.screen.show(FRAME, period_s=TICK_S)
        self.screen.draw(())
        while (due_s := self.screen.next_due_s((end_ns - self.clock.now_ns()) / 1e9)) is not None:
            self.clock.advance_s(due_s)
            self.screen.draw(())
        assert self.clock.now_ns() <= end_ns, "a drawing made the tick late"
        self.clock.advance_s((end_ns - self.clock.now_ns()) / 1e9)
        return self.paper.shares[begin:]


@pytest.mark.parametrize("between", [Between.BLEND, Between.MOTION])
def test_a_frame_is_on_its_way_for_one_tick_at_the_pace_of_a_screen(between: Between) -> None:
    play = Play(between)
    play.one_tick()
    shares = play.one_tick()
    assert shares == sorted(shares)
    assert len(shares) == 4
    assert shares[0] == 0.0 and shares[-1] > 0.8
    assert np.allclose(np.diff(shares), BETWEEN_S / TICK_S, atol=1e-3)


def test_without_it_every_frame_is_drawn_once_as_it_is() -> None:
    play = Play(Between.OFF)
    assert play.one_tick() == [1.0]


def test_drawings_that_would_make_the_tick_late_are_left_out() -> None:
    play = Play(Between.BLEND, draw_s=0.03)
    play.one_tick()
    assert len(play.one_tick()) == 1


def test_a_frame_of_somewhere_else_is_there_at_once_and_a_pause_ends_the_way() -> None:
    play = Play(Between.BLEND)
    play.screen.show(FRAME, period_s=None)
    play.screen.draw(())
    assert play.paper.shares == [1.0]
    play.screen.show(FRAME, period_s=TICK_S)
    play.screen.draw(())
    play.screen.arrive()
    assert play.screen.next_due_s(None) == 0.0
    play.screen.draw(())
    assert play.paper.shares[1:] == [0.0, 1.0]
    assert play.screen.next_due_s(None) is None


def test_what_drawing_takes_is_measured() -> None:
    play = Play(Between.OFF, draw_s=0.004)
    play.screen.meter.sample(0, WorkerCounters(), 0)
    play.one_tick()
    play.screen.meter.sample(1_000_000_000, WorkerCounters(), 1)
    rates = play.screen.meter.rates
    assert (rates.ms_upload, rates.ms_draw, rates.ms_flip) == pytest.approx((1.0, 4.0, 2.0))
    assert rates.drawn_per_s == 1.0


def test_in_play_what_lies_over_the_picture_waits_for_the_next_frame_for_a_while() -> None:
    screen = Play(Between.OFF).screen
    clock = screen._clock
    assert isinstance(clock, ManualClock)
    assert not screen.is_due(False, True, 0.05, is_playing=True)
    assert screen.next_due_s(0.05) == STALE_S
    clock.advance_s(STALE_S / 2)
    assert screen.is_due(True, False, 0.05, is_playing=True), "a new frame does not wait"
    assert not screen.is_due(False, False, 0.05, is_playing=True)
    clock.advance_s(STALE_S / 2)
    assert screen.is_due(False, False, 0.05, is_playing=True)
    screen.draw(())
    assert screen.next_due_s(0.05) is None
    assert screen.is_due(False, True, None, is_playing=False), "in a pause nothing would come"
