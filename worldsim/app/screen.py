"""The picture on the window: shown when it is new, and on its way there in between; what that takes is measured.

Owns: when to draw between two frames of the world, and the times of drawing. Does not own: how (`app.renderer`), what
panels say (`app.hud`), when there is a new frame (`engine.session`). UI thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from worldsim.app.hud import Panel
from worldsim.app.rates import RateMeter
from worldsim.app.renderer import Between, Renderer
from worldsim.app.window import Window
from worldsim.core.clock import Clock
from worldsim.core.types import Frame

BETWEEN_S = 1 / 60
"""Between two frames, so long from one drawing to the next. A screen with vsync may make it longer."""


@dataclass(frozen=True)
class _Way:
    """From the frame before to the one shown, in the time of one tick."""

    begin_ns: int
    period_ns: int

    def share(self, now_ns: int) -> float:
        return min(1.0, (now_ns - self.begin_ns) / self.period_ns)


class Screen:
    """`show` a new frame, `draw`; in between, draw again whenever `next_due_s` is 0."""

    def __init__(self, window: Window, renderer: Renderer, clock: Clock) -> None:
        self.meter = RateMeter()
        self._window, self._renderer, self._clock = window, renderer, clock
        self._way: _Way | None = None
        self._share, self._drawn_ns = 1.0, 0
        self._upload_ns: int | None = None

    def show(self, frame: Frame, *, period_s: float | None = None) -> None:
        """`period_s`: of a tick, where the frame follows the one before in play; None where it is somewhere else."""
        begin_ns = self._clock.now_ns()
        self._renderer.show(frame)
        end_ns = self._clock.now_ns()
        self._upload_ns = end_ns - begin_ns
        is_on_way = period_s is not None and self._renderer.between is not Between.OFF
        self._way = _Way(end_ns, max(1, round(period_s * 1e9))) if is_on_way and period_s is not None else None

    def arrive(self) -> None:
        """Time stands still: what is shown is the frame itself."""
        self._way = None

    def next_due_s(self, until_tick_s: float | None) -> float | None:
        """How long until a picture in between; None where none is worth it. `until_tick_s`: to the next tick, which
        no drawing shall make late."""
        if self._way is None:
            return 0.0 if self._share < 1.0 else None
        if self._share >= 1.0 and self._drawn_ns >= self._way.begin_ns:
            return None
        due_s = max(0.0, BETWEEN_S - (self._clock.now_ns() - self._drawn_ns) / 1e9)
        is_too_late = until_tick_s is not None and due_s + self.meter.draw_s > until_tick_s
        return None if is_too_late else due_s

    def draw(self, panels: tuple[Panel, ...]) -> None:
        begin_ns = self._clock.now_ns()
        self._share = self._way.share(begin_ns) if self._way is not None else 1.0
        self._renderer.draw(panels, self._window.size_px, self._share)
        drawn_ns = self._clock.now_ns()
        self._window.flip()
        flipped_ns = self._clock.now_ns()
        self.meter.drawn(draw_ns=drawn_ns - begin_ns, flip_ns=flipped_ns - drawn_ns, upload_ns=self._upload_ns)
        self._drawn_ns, self._upload_ns = begin_ns, None
