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
from worldsim.app.hud import Panel, Placement
from worldsim.app.text_renderer import TextRenderer
from worldsim.app.window import is_software_renderer
from worldsim.core.types import Frame

BACKGROUND = (0, 0, 0)
MARGIN_PX = 10
LOWER_EDGE_FRACTION = 0.88
"""Share of the window's height at which a low panel ends: above the status line."""
MAX_MOTION_SIZE_PX = (64, 48)
"""The most places at which motion is looked for."""


class PictureFilter(Enum):
    """How the picture is enlarged; the values are the shader's."""

    SHARP = 0
    SMOOTH = 1
    NEAREST = 2


class Interpolation(Enum):
    """What is drawn between two frames of the world; the screen is then one tick behind."""

    OFF = "off"
    BLEND = "blend"
    MOTION = "motion"


class Renderer(Protocol):
    """`show` sets the frame, `draw` puts it with the panels on the screen (without flipping it)."""

    name: str
    picture_filter: PictureFilter
    integer_scale: bool
    """Whether the picture is enlarged by whole numbers only."""
    interpolation: Interpolation
    supports_motion_interpolation: bool
    """Whether `Interpolation.MOTION` is more than `BLEND` here."""

    def show(self, frame: Frame) -> None: ...

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float = 1.0) -> None:
        """`fraction`: of the way from the frame that was shown before; only with `interpolation`."""
        ...

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        """Which row of `panel` was drawn at a point of the window; None where it was not."""
        ...


def picture_rect(
    frame_px: tuple[int, int], window_px: tuple[int, int], *, integer_scale: bool = False
) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the largest picture of that shape in the middle of the window. Sizes are (W, H).

    `integer_scale`: a whole number of times larger, unless the window is too small for the frame itself.
    """
    scale = min(window_px[0] / frame_px[0], window_px[1] / frame_px[1])
    scale = float(int(scale)) if integer_scale and scale >= 1 else scale
    width_px, height_px = round(frame_px[0] * scale), round(frame_px[1] * scale)
    return (window_px[0] - width_px) // 2, (window_px[1] - height_px) // 2, width_px, height_px


def panel_rect(
    placement: Placement, panel_px: tuple[int, int], window_px: tuple[int, int]
) -> tuple[int, int, int, int]:
    """(left, top, width, height). A panel larger than the window is made smaller, so that all of it can be read."""
    room = (max(1, window_px[0] - 2 * MARGIN_PX), max(1, window_px[1] - 2 * MARGIN_PX))
    scale = min(1.0, room[0] / panel_px[0], room[1] / panel_px[1])
    width_px, height_px = round(panel_px[0] * scale), round(panel_px[1] * scale)
    middle_x, middle_y = (window_px[0] - width_px) // 2, (window_px[1] - height_px) // 2
    left_px, top_px = {
        Placement.CENTER: (middle_x, middle_y),
        Placement.TOP_LEFT: (MARGIN_PX, MARGIN_PX),
        Placement.TOP_RIGHT: (window_px[0] - width_px - MARGIN_PX, MARGIN_PX),
        Placement.LOWER_RIGHT: (
            window_px[0] - width_px - MARGIN_PX,
            max(MARGIN_PX, round(window_px[1] * LOWER_EDGE_FRACTION) - height_px),
        ),
        Placement.BOTTOM: (middle_x, window_px[1] - height_px - MARGIN_PX),
    }[placement]
    return left_px, top_px, width_px, height_px


class _RendererBase:
    """What both have in common: the text, and what a person chose."""

    def __init__(self) -> None:
        self._text_renderer = TextRenderer()
        self.picture_filter = PictureFilter.SHARP
        self.integer_scale, self.interpolation = False, Interpolation.OFF

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        (pixels,) = self._text_renderer.render((panel,), window_px)
        left, top, width, height = panel_rect(panel.placement, (pixels.shape[1], pixels.shape[0]), window_px)
        if not (left <= point_px[0] < left + width and top <= point_px[1] < top + height):
            return None
        return self._text_renderer.row_at(panel, (point_px[1] - top) / height)


class GlRenderer(_RendererBase):
    """moderngl. `target` is the window's own framebuffer, or one of a test. Where the CPU plays the graphics card, to
    look for motion takes a second: frames are blended there."""

    def __init__(self, context: moderngl.Context, target: moderngl.Framebuffer | None = None) -> None:
        super().__init__()
        self.name = f"OpenGL ({context.info['GL_RENDERER']})"
        self.supports_motion_interpolation = not is_software_renderer(context.info["GL_RENDERER"])
        self._context = context
        self._target = target
        self._frame: moderngl.Texture | None = None
        self._before: moderngl.Texture | None = None
        self._motion: tuple[moderngl.Framebuffer, moderngl.Texture] | None = None
        self._is_motion_current = False
        self._panels: list[tuple[npt.NDArray[np.uint8], moderngl.Texture]] = []
        quad = asset_path("shaders/quad.vert").read_text()
        self._frame_program, self._panel_program, self._motion_program = (
            context.program(vertex_shader=quad, fragment_shader=asset_path(f"shaders/{name}.frag").read_text())
            for name in ("frame", "panel", "motion")
        )
        self._frame_quad, self._panel_quad, self._motion_quad = (
            context.vertex_array(program, [])
            for program in (self._frame_program, self._panel_program, self._motion_program)
        )
        for program in (self._frame_program, self._motion_program):
            program["before"] = 1
        self._frame_program["motion"] = 2

    def show(self, frame: Frame) -> None:
        size_px = (frame.shape[1], frame.shape[0])
        if self._frame is not None and self._frame.size != size_px:
            self._release_frames()
        self._before, self._frame = self._frame, self._before
        if self._frame is None:
            self._frame = self._context.texture(size_px, 3, alignment=1)
            self._frame.repeat_x = self._frame.repeat_y = False
        self._frame.write(np.ascontiguousarray(frame).tobytes(), alignment=1)
        self._is_motion_current = False

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float = 1.0) -> None:
        fraction = 1.0 if self.interpolation is Interpolation.OFF or self._before is None else fraction
        if fraction < 1.0 and self._uses_motion:
            self._estimate_motion()
        target = self._target or self._context.screen
        target.use()
        self._context.viewport = (0, 0, *window_px)
        target.clear(0.0, 0.0, 0.0, 1.0)
        if self._frame is not None:
            self._draw_frame(self._frame, window_px, fraction)
        self._context.enable(moderngl.BLEND)
        self._context.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
        self._upload(self._text_renderer.render(panels, window_px))
        for panel, (_, texture) in zip(panels, self._panels, strict=True):
            texture.use(0)
            self._panel_program["place"] = _fractions(panel_rect(panel.placement, texture.size, window_px), window_px)
            self._panel_quad.render(moderngl.TRIANGLE_STRIP, vertices=4)

    def _draw_frame(self, frame: moderngl.Texture, window_px: tuple[int, int], fraction: float) -> None:
        self._context.disable(moderngl.BLEND)
        rect = picture_rect(frame.size, window_px, integer_scale=self.integer_scale)
        frame.use(0)
        if self._before is not None:
            self._before.use(1)
        if self._motion is not None:
            self._motion[1].use(2)
        self._frame_program["share"] = fraction
        self._frame_program["is_motion_known"] = self._uses_motion
        self._frame_program["picture_px"] = frame.size
        self._frame_program["screen_px"] = rect[2:]
        self._frame_program["picture_filter"] = self.picture_filter.value
        self._frame_program["place"] = _fractions(rect, window_px)
        self._frame_quad.render(moderngl.TRIANGLE_STRIP, vertices=4)

    @property
    def _uses_motion(self) -> bool:
        return self.supports_motion_interpolation and self.interpolation is Interpolation.MOTION

    def _estimate_motion(self) -> None:
        """Once for two frames, in a texture of bounded size: what it costs does not depend on the size of frames."""
        if self._is_motion_current:
            return
        assert self._frame is not None and self._before is not None
        shrink = max(1.0, self._frame.width / MAX_MOTION_SIZE_PX[0], self._frame.height / MAX_MOTION_SIZE_PX[1])
        size_px = (round(self._frame.width / shrink), round(self._frame.height / shrink))
        if self._motion is None:
            texture = self._context.texture(size_px, 2, dtype="f2")
            texture.repeat_x = texture.repeat_y = False
            self._motion = self._context.framebuffer([texture]), texture
        self._motion[0].use()
        self._context.viewport = (0, 0, *size_px)
        self._context.disable(moderngl.BLEND)
        self._frame.use(0)
        self._before.use(1)
        self._motion_program["cell"] = (1 / size_px[0], 1 / size_px[1])
        self._motion_program["place"] = (0.0, 1.0, 1.0, -1.0)
        self._motion_quad.render(moderngl.TRIANGLE_STRIP, vertices=4)
        self._is_motion_current = True

    def _release_frames(self) -> None:
        for held in (self._frame, self._before, *(self._motion or ())):
            if held is not None:
                held.release()
        self._frame = self._before = self._motion = None

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


class _Panel:
    """A painted panel as the window's surface likes it best. Holds the pixels, so that their id stays theirs."""

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self.pixels = pixels
        size_px = (pixels.shape[1], pixels.shape[0])
        self._surface = pygame.image.frombytes(pixels.tobytes(), size_px, "RGBA").convert_alpha()

    def scaled(self, size_px: tuple[int, int]) -> pygame.Surface:
        if self._surface.get_size() != size_px:
            self._surface = pygame.transform.smoothscale(self._surface, size_px)
        return self._surface


class SdlRenderer(_RendererBase):
    """Blits onto the window's surface. Sharp is nearest here, which at these sizes looks the same, and frames are
    blended: to look for motion would take the processor from the model."""

    supports_motion_interpolation = False

    def __init__(self) -> None:
        super().__init__()
        self.name = "SDL"
        self._panels: dict[int, _Panel] = {}
        self._frame: pygame.Surface | None = None
        self._before: pygame.Surface | None = None

    def show(self, frame: Frame) -> None:
        height_px, width_px, _ = frame.shape
        self._before = self._frame
        self._frame = pygame.image.frombytes(frame.tobytes(), (width_px, height_px), "RGB").convert()

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float = 1.0) -> None:
        surface = pygame.display.get_surface()
        assert surface is not None, "the window is closed"
        rect = (
            picture_rect(self._frame.get_size(), window_px, integer_scale=self.integer_scale)
            if self._frame
            else (0, 0, 0, 0)
        )
        if rect[2:] != window_px:
            surface.fill(BACKGROUND)
        if self._frame is not None:
            is_smooth = self.picture_filter is PictureFilter.SMOOTH
            scale = pygame.transform.smoothscale if is_smooth else pygame.transform.scale
            surface.blit(scale(self._interpolated(self._frame, fraction), rect[2:]), rect[:2])
        pictures = self._text_renderer.render(panels, window_px)
        self._panels = {id(pixels): self._panels.get(id(pixels)) or _Panel(pixels) for pixels in pictures}
        for panel, pixels in zip(panels, pictures, strict=True):
            rect = panel_rect(panel.placement, (pixels.shape[1], pixels.shape[0]), window_px)
            surface.blit(self._panels[id(pixels)].scaled(rect[2:]), rect[:2])

    def _interpolated(self, frame: pygame.Surface, fraction: float) -> pygame.Surface:
        before = self._before
        if (
            self.interpolation is Interpolation.OFF
            or fraction >= 1.0
            or before is None
            or before.get_size() != frame.get_size()
        ):
            return frame
        mixed = frame.copy()
        veil = before.copy()
        veil.set_alpha(round(255 * (1.0 - fraction)))
        mixed.blit(veil, (0, 0))
        return mixed


def _fractions(rect: tuple[int, int, int, int], window_px: tuple[int, int]) -> tuple[float, float, float, float]:
    return rect[0] / window_px[0], rect[1] / window_px[1], rect[2] / window_px[0], rect[3] / window_px[1]
