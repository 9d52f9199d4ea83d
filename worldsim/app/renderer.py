"""Draws one frame and the panels over it: with OpenGL, or with SDL alone where there is none.

Owns: textures, shaders, layout of the window. Does not own: the window, its context, or what the panels say. UI thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import moderngl
import numpy as np
import numpy.typing as npt
import pygame

from worldsim.app.assets import asset_path
from worldsim.app.hud import Anchor, Panel
from worldsim.app.text import TextPainter
from worldsim.core.types import Frame

BACKGROUND = (0, 0, 0)
MARGIN_PX = 10


class PictureFilter(Enum):
    """How the picture is enlarged; the values are the shader's."""

    SHARP = 0
    SMOOTH = 1
    NEAREST = 2


class Renderer(Protocol):
    """`show` sets the frame, `draw` puts it with the panels on the screen (without flipping it)."""

    name: str
    picture_filter: PictureFilter

    def show(self, frame: Frame) -> None: ...

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int]) -> None: ...

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        """Which row of `panel` was drawn at a point of the window; None where it was not."""
        ...


def picture_rect(frame_px: tuple[int, int], window_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the largest picture of that shape in the middle of the window. Sizes are (W, H)."""
    scale = min(window_px[0] / frame_px[0], window_px[1] / frame_px[1])
    width_px, height_px = round(frame_px[0] * scale), round(frame_px[1] * scale)
    return (window_px[0] - width_px) // 2, (window_px[1] - height_px) // 2, width_px, height_px


def panel_rect(anchor: Anchor, panel_px: tuple[int, int], window_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, width, height). A panel larger than the window is made smaller, so that all of it can be read."""
    room = (max(1, window_px[0] - 2 * MARGIN_PX), max(1, window_px[1] - 2 * MARGIN_PX))
    scale = min(1.0, room[0] / panel_px[0], room[1] / panel_px[1])
    width_px, height_px = round(panel_px[0] * scale), round(panel_px[1] * scale)
    middle_x, middle_y = (window_px[0] - width_px) // 2, (window_px[1] - height_px) // 2
    left_px, top_px = {
        Anchor.CENTRE: (middle_x, middle_y),
        Anchor.TOP_LEFT: (MARGIN_PX, MARGIN_PX),
        Anchor.TOP_RIGHT: (window_px[0] - width_px - MARGIN_PX, MARGIN_PX),
        Anchor.BOTTOM: (middle_x, window_px[1] - height_px - MARGIN_PX),
    }[anchor]
    return left_px, top_px, width_px, height_px


class _Painting:
    """What both have in common: the text."""

    def __init__(self) -> None:
        self._painter = TextPainter()

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        (pixels,) = self._painter.paint((panel,), window_px)
        left, top, width, height = panel_rect(panel.anchor, (pixels.shape[1], pixels.shape[0]), window_px)
        if not (left <= point_px[0] < left + width and top <= point_px[1] < top + height):
            return None
        return self._painter.row_at(panel, (point_px[1] - top) / height)


class GlRenderer(_Painting):
    """moderngl. `target` is the window's own framebuffer, or one of a test."""

    def __init__(self, context: moderngl.Context, target: moderngl.Framebuffer | None = None) -> None:
        super().__init__()
        self.name = f"OpenGL ({context.info['GL_RENDERER']})"
        self.picture_filter = PictureFilter.SHARP
        self._context = context
        self._target = target
        self._frame: moderngl.Texture | None = None
        self._panels: list[tuple[npt.NDArray[np.uint8], moderngl.Texture]] = []
        quad = asset_path("shaders/quad.vert").read_text()
        self._frame_program, self._panel_program = (
            context.program(vertex_shader=quad, fragment_shader=asset_path(f"shaders/{name}.frag").read_text())
            for name in ("frame", "panel")
        )
        self._frame_quad = context.vertex_array(self._frame_program, [])
        self._panel_quad = context.vertex_array(self._panel_program, [])

    def show(self, frame: Frame) -> None:
        height_px, width_px, _ = frame.shape
        if self._frame is None or self._frame.size != (width_px, height_px):
            if self._frame is not None:
                self._frame.release()
            self._frame = self._context.texture((width_px, height_px), 3, alignment=1)
            self._frame.repeat_x = self._frame.repeat_y = False
        self._frame.write(np.ascontiguousarray(frame).tobytes(), alignment=1)

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int]) -> None:
        target = self._target or self._context.screen
        target.use()
        self._context.viewport = (0, 0, *window_px)
        target.clear(0.0, 0.0, 0.0, 1.0)
        if self._frame is not None:
            self._context.disable(moderngl.BLEND)
            rect = picture_rect(self._frame.size, window_px)
            self._frame.use(0)
            self._frame_program["picture_px"] = self._frame.size
            self._frame_program["screen_px"] = rect[2:]
            self._frame_program["picture_filter"] = self.picture_filter.value
            self._frame_program["place"] = _shares(rect, window_px)
            self._frame_quad.render(moderngl.TRIANGLE_STRIP, vertices=4)
        self._context.enable(moderngl.BLEND)
        self._context.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
        self._upload(self._painter.paint(panels, window_px))
        for panel, (_, texture) in zip(panels, self._panels, strict=True):
            texture.use(0)
            self._panel_program["place"] = _shares(panel_rect(panel.anchor, texture.size, window_px), window_px)
            self._panel_quad.render(moderngl.TRIANGLE_STRIP, vertices=4)

    def _upload(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> None:
        known = {id(pixels): (pixels, texture) for pixels, texture in self._panels}
        uploaded = []
        for pixels in pictures:
            if id(pixels) in known:
                uploaded.append(known.pop(id(pixels)))
            else:
                size_px = (pixels.shape[1], pixels.shape[0])
                uploaded.append((pixels, self._context.texture(size_px, 4, pixels.tobytes())))
        for _, texture in known.values():
            texture.release()
        self._panels = uploaded


class SdlRenderer(_Painting):
    """Blits onto the window's surface. Sharp is nearest here, which at these sizes looks the same."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "SDL"
        self.picture_filter = PictureFilter.SHARP
        self._frame: pygame.Surface | None = None

    def show(self, frame: Frame) -> None:
        height_px, width_px, _ = frame.shape
        self._frame = pygame.image.frombytes(frame.tobytes(), (width_px, height_px), "RGB").convert()

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int]) -> None:
        surface = pygame.display.get_surface()
        assert surface is not None, "the window is closed"
        surface.fill(BACKGROUND)
        if self._frame is not None:
            rect = picture_rect(self._frame.get_size(), window_px)
            is_smooth = self.picture_filter is PictureFilter.SMOOTH
            scale = pygame.transform.smoothscale if is_smooth else pygame.transform.scale
            surface.blit(scale(self._frame, rect[2:]), rect[:2])
        for panel, pixels in zip(panels, self._painter.paint(panels, window_px), strict=True):
            picture = pygame.image.frombytes(pixels.tobytes(), (pixels.shape[1], pixels.shape[0]), "RGBA")
            rect = panel_rect(panel.anchor, picture.get_size(), window_px)
            surface.blit(pygame.transform.smoothscale(picture, rect[2:]), rect[:2])


def _shares(rect: tuple[int, int, int, int], window_px: tuple[int, int]) -> tuple[float, float, float, float]:
    return rect[0] / window_px[0], rect[1] / window_px[1], rect[2] / window_px[0], rect[3] / window_px[1]
