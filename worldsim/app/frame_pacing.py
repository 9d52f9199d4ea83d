"""When to draw: a new frame at once, interpolated frames in between, overlay changes with the next frame. UI thread."""

from __future__ import annotations

from dataclasses import dataclass

from worldsim.app.hud import Panel
from worldsim.app.metrics import FrameMeter
from worldsim.app.renderer import Interpolation, Renderer
from worldsim.app.window import Window
from worldsim.core.clock import Clock
from worldsim.core.types import Frame

MAX_OVERLAY_DELAY_S = 0.1
"""Longest time that an overlay change waits for the next frame."""
INTERPOLATION_PERIOD_S = 1 / 60
"""Time between interpolated frames; vsync may make it longer."""


@dataclass(frozen=True)
class _Transition:
    """From the previous frame to the current one, over one tick."""

    begin_ns: int
    period_ns: int

    def fraction(self, now_ns: int) -> float:
        return min(1.0, (now_ns - self.begin_ns) / self.period_ns)


class FramePacer:
    """`show` a new frame and `draw` it; afterwards draw again whenever `is_due`."""

    def __init__(self, window: Window, renderer: Renderer, clock: Clock) -> None:
        self.meter = FrameMeter()
        self._window, self._renderer, self._clock = window, renderer, clock
        self._transition: _Transition | None = None
        self._fraction, self._drawn_ns = 1.0, 0
        self._upload_ns: int | None = None
        self._stale_ns: int | None = None
        """Since when an overlay change has been waiting to be drawn."""

    def show(self, frame: Frame, *, period_s: float | None = None) -> None:
        """`period_s`: duration of a tick if the frame follows the previous one in play; None after a jump."""
        begin_ns = self._clock.now_ns()
        self._renderer.show(frame)
        end_ns = self._clock.now_ns()
        self._upload_ns = end_ns - begin_ns
        self._transition = None
        if period_s is not None and self._renderer.interpolation is not Interpolation.OFF:
            self._transition = _Transition(end_ns, max(1, round(period_s * 1e9)))

    def end_transition(self) -> None:
        """Shows the current frame itself, because play was interrupted."""
        self._transition = None

    def is_due(self, is_new: bool, is_stale: bool, until_tick_s: float | None, *, is_playing: bool) -> bool:
        """Whether to draw now. `is_new`: there is a new frame; `is_stale`: an overlay changed, which during play waits
        up to `MAX_OVERLAY_DELAY_S` for the next frame: a separate draw could delay the next tick."""
        now_ns = self._clock.now_ns()
        if is_stale and self._stale_ns is None:
            self._stale_ns = now_ns
        is_stale_long = self._stale_ns is not None and (
            now_ns - self._stale_ns >= MAX_OVERLAY_DELAY_S * 1e9 or not is_playing
        )
        return is_new or is_stale_long or self._until_interpolation_s(until_tick_s) == 0.0

    def next_due_s(self, until_tick_s: float | None) -> float | None:
        """Time until `is_due` becomes true without an event; None if it will not. `until_tick_s`: time to the next
        tick, which no draw may delay."""
        interpolation_due_s = self._until_interpolation_s(until_tick_s)
        if self._stale_ns is None:
            return interpolation_due_s
        stale_s = max(0.0, MAX_OVERLAY_DELAY_S - (self._clock.now_ns() - self._stale_ns) / 1e9)
        return stale_s if interpolation_due_s is None else min(stale_s, interpolation_due_s)

    def _until_interpolation_s(self, until_tick_s: float | None) -> float | None:
        if self._transition is None:
            return 0.0 if self._fraction < 1.0 else None
        if self._fraction >= 1.0 and self._drawn_ns >= self._transition.begin_ns:
            return None
        due_s = max(0.0, INTERPOLATION_PERIOD_S - (self._clock.now_ns() - self._drawn_ns) / 1e9)
        is_too_late = until_tick_s is not None and due_s + self.meter.draw_s > until_tick_s
        return None if is_too_late else due_s

    def draw(self, panels: tuple[Panel, ...]) -> None:
        begin_ns, self._stale_ns = self._clock.now_ns(), None
        self._fraction = self._transition.fraction(begin_ns) if self._transition is not None else 1.0
        self._renderer.draw(panels, self._window.size_px, self._fraction)
        drawn_ns = self._clock.now_ns()
        self._window.flip()
        flipped_ns = self._clock.now_ns()
        self.meter.on_draw(draw_ns=drawn_ns - begin_ns, flip_ns=flipped_ns - drawn_ns, upload_ns=self._upload_ns)
        self._drawn_ns, self._upload_ns = begin_ns, None
