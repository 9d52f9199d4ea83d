"""A renderer that outlives its graphics context: a lost one is made anew, and in the end SDL draws.

Owns: noticing the loss, what is drawn with from then on. Does not own: the drawing (`app.renderer`), the window and
its context (`app.window`). UI thread.
"""

from __future__ import annotations

from collections.abc import Callable

import moderngl
import pygame

from worldsim.app.hud import Panel
from worldsim.app.renderer import Between, GlRenderer, PictureFilter, Renderer, SdlRenderer
from worldsim.app.window import Window
from worldsim.core.errors import GraphicsError
from worldsim.core.types import Frame

MAX_LOST = 2
"""So many contexts are made anew; whatever takes them away would take the next one, too."""
NO_ERROR = "GL_NO_ERROR"


class LastingRenderer:
    """`say` is told, in one line, what was lost and what draws now."""

    def __init__(self, window: Window, say: Callable[[str], None]) -> None:
        self.say = say
        self.picture_filter, self.is_whole, self.between = PictureFilter.SHARP, False, Between.OFF
        self._window, self._num_lost = window, 0
        self._frame: Frame | None = None
        self._take(_renderer_of(window))

    def show(self, frame: Frame) -> None:
        self._frame = frame
        try:
            self._inner.show(frame)
        except (moderngl.Error, pygame.error) as error:
            self._begin_anew(str(error))

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], share: float = 1.0) -> None:
        """Raises: GraphicsError when nothing draws any more."""
        trouble = self._drawn(panels, window_px, share)
        while trouble:
            self._begin_anew(trouble)
            trouble = self._drawn(panels, self._window.size_px, 1.0)

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        return self._inner.row_at(panel, window_px, point_px)

    def _drawn(self, panels: tuple[Panel, ...], window_px: tuple[int, int], share: float) -> str:
        """Returns: what went wrong; nothing if it was drawn."""
        inner = self._inner
        inner.picture_filter, inner.is_whole, inner.between = self.picture_filter, self.is_whole, self.between
        try:
            inner.draw(panels, window_px, share)
        except (moderngl.Error, pygame.error) as error:
            return str(error) or type(error).__name__
        context = self._window.context
        found = context.error if context is not None else NO_ERROR
        return "" if found == NO_ERROR else found

    def _begin_anew(self, trouble: str) -> None:
        """Nothing of the old context is released: its names may be those of the new one."""
        self._num_lost += 1
        if self._num_lost > MAX_LOST + 1:
            raise GraphicsError(f"the window cannot be drawn on any more: {trouble}", hint="start the program again")
        self._window.reopen(can_use_opengl=self._num_lost <= MAX_LOST)
        self._take(_renderer_of(self._window))
        if self._frame is not None:
            self._inner.show(self._frame)
        self.say(f"the graphics context was lost ({trouble}): drawing goes on with {self.name}")

    def _take(self, inner: Renderer) -> None:
        self._inner, self.name, self.knows_motion = inner, inner.name, inner.knows_motion


def _renderer_of(window: Window) -> Renderer:
    return GlRenderer(window.context) if window.context is not None else SdlRenderer()
