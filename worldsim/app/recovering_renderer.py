"""A renderer that outlives its graphics context: a lost one is made anew, and in the end SDL draws.

Owns: noticing the loss, what is drawn with from then on. Does not own: the drawing (`app.renderer`), the window and
its context (`app.window`). UI thread.
"""

from __future__ import annotations

from collections.abc import Callable

import moderngl
import pygame

from worldsim.app.hud import Panel
from worldsim.app.renderer import GlRenderer, Interpolation, PictureFilter, Renderer, SdlRenderer
from worldsim.app.window import Window
from worldsim.core.errors import GraphicsError
from worldsim.core.types import Frame

MAX_CONTEXT_LOSSES = 2
"""So many contexts are made anew; whatever takes them away would take the next one, too."""
NO_ERROR = "GL_NO_ERROR"


class RecoveringRenderer:
    """`say` is told, in one line, what was lost and what draws now."""

    def __init__(self, window: Window, say: Callable[[str], None]) -> None:
        self.say = say
        self.picture_filter, self.integer_scale, self.interpolation = PictureFilter.SHARP, False, Interpolation.OFF
        self._window, self._num_losses = window, 0
        self._frame: Frame | None = None
        self._use(_create_renderer(window))

    def show(self, frame: Frame) -> None:
        self._frame = frame
        try:
            self._inner.show(frame)
        except (moderngl.Error, pygame.error) as error:
            self._recover(str(error))

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float = 1.0) -> None:
        """Raises: GraphicsError when nothing draws any more."""
        failure = self._try_draw(panels, window_px, fraction)
        while failure:
            self._recover(failure)
            failure = self._try_draw(panels, self._window.size_px, 1.0)

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        return self._inner.row_at(panel, window_px, point_px)

    def _try_draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float) -> str:
        """Returns: what went wrong; nothing if it was drawn."""
        inner = self._inner
        inner.picture_filter, inner.integer_scale, inner.interpolation = (
            self.picture_filter,
            self.integer_scale,
            self.interpolation,
        )
        try:
            inner.draw(panels, window_px, fraction)
        except (moderngl.Error, pygame.error) as error:
            return str(error) or type(error).__name__
        context = self._window.context
        found = context.error if context is not None else NO_ERROR
        return "" if found == NO_ERROR else found

    def _recover(self, failure: str) -> None:
        """Nothing of the old context is released: its names may be those of the new one."""
        self._num_losses += 1
        if self._num_losses > MAX_CONTEXT_LOSSES + 1:
            raise GraphicsError(f"the window cannot be drawn on any more: {failure}", hint="start the program again")
        self._window.reopen(can_use_opengl=self._num_losses <= MAX_CONTEXT_LOSSES)
        self._use(_create_renderer(self._window))
        if self._frame is not None:
            self._inner.show(self._frame)
        self.say(f"the graphics context was lost ({failure}): drawing goes on with {self.name}")

    def _use(self, inner: Renderer) -> None:
        self._inner, self.name, self.supports_motion_interpolation = (
            inner,
            inner.name,
            inner.supports_motion_interpolation,
        )


def _create_renderer(window: Window) -> Renderer:
    return GlRenderer(window.context) if window.context is not None else SdlRenderer()
