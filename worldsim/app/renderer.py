"""Draws one frame and the panels over it, with OpenGL or with SDL; recovers from a lost OpenGL context. UI thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

import moderngl
import numpy as np
import numpy.typing as npt
import pygame

from worldsim.app.hud import Panel, Placement
from worldsim.app.text_renderer import TextRenderer
from worldsim.app.window import Window, is_software_renderer
from worldsim.core.errors import GraphicsError
from worldsim.core.files import asset_path
from worldsim.core.types import Frame

_log = logging.getLogger(__name__)

BACKGROUND = (0, 0, 0)
MARGIN_PX = 10
LOWER_EDGE_FRACTION = 0.88
"""Bottom of the lower-right panel, as a fraction of the window's height: above the status line."""
CORNERS = (Placement.TOP_LEFT, Placement.TOP_RIGHT, Placement.LOWER_RIGHT)
CORNER_SCALE_STEPS = 16
MAX_MOTION_SIZE_PX = (64, 48)
"""Maximum resolution of the motion field."""
MAX_CONTEXT_LOSSES = 2
"""Lost contexts that are recreated; after that SDL draws, since the next context would be lost, too."""
NO_ERROR = "GL_NO_ERROR"


class ScalingFilter(Enum):
    """How the frame is enlarged; the values are those of the shader."""

    SHARP = 0
    SMOOTH = 1
    NEAREST = 2


class Interpolation(Enum):
    """What is drawn between two frames. Anything but OFF delays the picture by one tick."""

    OFF = "off"
    BLEND = "blend"
    MOTION = "motion"


class Renderer(Protocol):
    """`show` sets the frame; `draw` draws it and the panels, without flipping."""

    name: str
    scaling_filter: ScalingFilter
    integer_scale: bool
    """Enlarge by integer factors only."""
    interpolation: Interpolation
    supports_motion_interpolation: bool
    """If False, `Interpolation.MOTION` is the same as `BLEND`."""

    def show(self, frame: Frame) -> None: ...

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float = 1.0) -> None:
        """`fraction`: from the previous frame (0) to the current one (1); used with `interpolation` only."""
        ...

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        """The row of `panel` that is drawn at a point in the window, if any."""
        ...


def picture_rect(
    frame_px: tuple[int, int], window_px: tuple[int, int], *, integer_scale: bool = False
) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the frame enlarged to fit and centered in the window. Sizes are (W, H).

    `integer_scale`: only by an integer factor, unless the window is smaller than the frame.
    """
    scale = min(window_px[0] / frame_px[0], window_px[1] / frame_px[1])
    scale = float(int(scale)) if integer_scale and scale >= 1 else scale
    width_px, height_px = round(frame_px[0] * scale), round(frame_px[1] * scale)
    return (window_px[0] - width_px) // 2, (window_px[1] - height_px) // 2, width_px, height_px


def panel_rect(
    placement: Placement, panel_px: tuple[int, int], window_px: tuple[int, int]
) -> tuple[int, int, int, int]:
    """(left, top, width, height). A panel larger than the window is scaled down to fit."""
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


def panel_rects(
    panels: Sequence[Panel], sizes_px: Sequence[tuple[int, int]], window_px: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """`panel_rect` of panels that are shown together, scaled down where one would cover another in a small window.

    A menu may cover the others: it takes the input.
    """
    rects = [panel_rect(panel.placement, size, window_px) for panel, size in zip(panels, sizes_px, strict=True)]
    bottom_px = min(
        (rect[1] for panel, rect in zip(panels, rects, strict=True) if panel.placement is Placement.BOTTOM),
        default=window_px[1],
    )
    scale = _corner_scale(panels, sizes_px, (window_px[0], bottom_px))
    for index, (panel, (width_px, height_px)) in enumerate(zip(panels, sizes_px, strict=True)):
        if panel.placement in CORNERS:
            size_px = (round(width_px * scale), round(height_px * scale))
            left, top, width, height = panel_rect(panel.placement, size_px, window_px)
            rects[index] = left, max(MARGIN_PX, min(top, bottom_px - MARGIN_PX - height)), width, height
        elif panel.placement is Placement.CENTER and not panel.is_menu:
            left, top, width, height = panel_rect(panel.placement, (width_px, height_px), (window_px[0], bottom_px))
            is_free = rects[index][1] + rects[index][3] <= bottom_px
            rects[index] = rects[index] if is_free else (left, top, width, height)
    return rects


def _corner_scale(panels: Sequence[Panel], sizes_px: Sequence[tuple[int, int]], room_px: tuple[int, int]) -> float:
    """One scale for all corner panels: at most 1, in coarse steps, because their sizes change with the numbers."""
    corners = [(panel.placement, size) for panel, size in zip(panels, sizes_px, strict=True)]
    left = [size for placement, size in corners if placement is Placement.TOP_LEFT]
    right = [size for placement, size in corners if placement in (Placement.TOP_RIGHT, Placement.LOWER_RIGHT)]
    columns = [column for column in (left, right) if column]
    if not columns:
        return 1.0
    width_px = room_px[0] - MARGIN_PX * (1 + len(columns))
    scales = [width_px / sum(max(width for width, _ in column) for column in columns)]
    scales += [(room_px[1] - MARGIN_PX * (1 + len(column))) / sum(height for _, height in column) for column in columns]
    return min(1.0, max(1, int(min(scales) * CORNER_SCALE_STEPS)) / CORNER_SCALE_STEPS)


class _RendererBase:
    """Text and display settings, shared by both renderers."""

    def __init__(self) -> None:
        self._text_renderer = TextRenderer()
        self.scaling_filter = ScalingFilter.SHARP
        self.integer_scale, self.interpolation = False, Interpolation.OFF

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        (pixels,) = self._text_renderer.render((panel,), window_px)
        left, top, width, height = panel_rect(panel.placement, (pixels.shape[1], pixels.shape[0]), window_px)
        if not (left <= point_px[0] < left + width and top <= point_px[1] < top + height):
            return None
        return self._text_renderer.row_at(panel, (point_px[1] - top) / height)


class GlRenderer(_RendererBase):
    """Draws with moderngl. `target` defaults to the window. With a software OpenGL, motion estimation would take a
    second per frame, so frames are blended."""

    def __init__(self, context: moderngl.Context, target: moderngl.Framebuffer | None = None) -> None:
        super().__init__()
        self.name = f"OpenGL ({context.info['GL_RENDERER']})"
        self.supports_motion_interpolation = not is_software_renderer(context.info["GL_RENDERER"])
        self._context = context
        self._target = target
        self._frame: moderngl.Texture | None = None
        self._previous: moderngl.Texture | None = None
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
            program["previous"] = 1
        self._frame_program["motion"] = 2

    def show(self, frame: Frame) -> None:
        size_px = (frame.shape[1], frame.shape[0])
        if self._frame is not None and self._frame.size != size_px:
            self._release_frames()
        self._previous, self._frame = self._frame, self._previous
        if self._frame is None:
            self._frame = self._context.texture(size_px, 3, alignment=1)
            self._frame.repeat_x = self._frame.repeat_y = False
        self._frame.write(np.ascontiguousarray(frame).tobytes(), alignment=1)
        self._is_motion_current = False

    def draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float = 1.0) -> None:
        fraction = 1.0 if self.interpolation is Interpolation.OFF or self._previous is None else fraction
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
        rects = panel_rects(panels, [texture.size for _, texture in self._panels], window_px)
        for rect, (_, texture) in zip(rects, self._panels, strict=True):
            texture.use(0)
            self._panel_program["rect"] = _fractions(rect, window_px)
            self._panel_quad.render(moderngl.TRIANGLE_STRIP, vertices=4)

    def _draw_frame(self, frame: moderngl.Texture, window_px: tuple[int, int], fraction: float) -> None:
        self._context.disable(moderngl.BLEND)
        rect = picture_rect(frame.size, window_px, integer_scale=self.integer_scale)
        frame.use(0)
        if self._previous is not None:
            self._previous.use(1)
        if self._motion is not None:
            self._motion[1].use(2)
        self._frame_program["fraction"] = fraction
        self._frame_program["has_motion"] = self._uses_motion
        self._frame_program["frame_px"] = frame.size
        self._frame_program["screen_px"] = rect[2:]
        self._frame_program["scaling_filter"] = self.scaling_filter.value
        self._frame_program["rect"] = _fractions(rect, window_px)
        self._frame_quad.render(moderngl.TRIANGLE_STRIP, vertices=4)

    @property
    def _uses_motion(self) -> bool:
        return self.supports_motion_interpolation and self.interpolation is Interpolation.MOTION

    def _estimate_motion(self) -> None:
        """Once per pair of frames, in a texture of bounded size: the cost does not depend on the frame size."""
        if self._is_motion_current:
            return
        assert self._frame is not None and self._previous is not None
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
        self._previous.use(1)
        self._motion_program["cell"] = (1 / size_px[0], 1 / size_px[1])
        self._motion_program["rect"] = (0.0, 1.0, 1.0, -1.0)
        self._motion_quad.render(moderngl.TRIANGLE_STRIP, vertices=4)
        self._is_motion_current = True

    def _release_frames(self) -> None:
        for held in (self._frame, self._previous, *(self._motion or ())):
            if held is not None:
                held.release()
        self._frame = self._previous = self._motion = None

    def _upload(self, images: Sequence[npt.NDArray[np.uint8]]) -> None:
        known = {id(pixels): (pixels, texture) for pixels, texture in self._panels}
        uploaded = []
        for pixels in images:
            if id(pixels) in known:
                uploaded.append(known.pop(id(pixels)))
            else:
                size_px = (pixels.shape[1], pixels.shape[0])
                uploaded.append((pixels, self._context.texture(size_px, 4, pixels.tobytes())))
        for _, texture in known.values():
            texture.release()
        self._panels = uploaded


class _PanelSurface:
    """A rendered panel in the window's pixel format. Holds the pixels, so that their id is not reused."""

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self.pixels = pixels
        size_px = (pixels.shape[1], pixels.shape[0])
        self._surface = self._scaled = pygame.image.frombytes(pixels.tobytes(), size_px, "RGBA").convert_alpha()

    def scaled(self, size_px: tuple[int, int]) -> pygame.Surface:
        if self._scaled.get_size() != size_px:
            self._scaled = pygame.transform.smoothscale(self._surface, size_px)
        return self._scaled


class SdlRenderer(_RendererBase):
    """Blits onto the window's surface. SHARP is the same as NEAREST here, which looks alike at these sizes. Frames are
    blended: motion estimation would compete with the model for the CPU."""

    supports_motion_interpolation = False

    def __init__(self) -> None:
        super().__init__()
        self.name = "SDL"
        self._panels: dict[int, _PanelSurface] = {}
        self._frame: pygame.Surface | None = None
        self._previous: pygame.Surface | None = None

    def show(self, frame: Frame) -> None:
        height_px, width_px, _ = frame.shape
        self._previous = self._frame
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
            is_smooth = self.scaling_filter is ScalingFilter.SMOOTH
            scale = pygame.transform.smoothscale if is_smooth else pygame.transform.scale
            surface.blit(scale(self._interpolated(self._frame, fraction), rect[2:]), rect[:2])
        images = self._text_renderer.render(panels, window_px)
        self._panels = {id(pixels): self._panels.get(id(pixels)) or _PanelSurface(pixels) for pixels in images}
        rects = panel_rects(panels, [(pixels.shape[1], pixels.shape[0]) for pixels in images], window_px)
        for rect, pixels in zip(rects, images, strict=True):
            surface.blit(self._panels[id(pixels)].scaled(rect[2:]), rect[:2])

    def _interpolated(self, frame: pygame.Surface, fraction: float) -> pygame.Surface:
        previous, is_off = self._previous, self.interpolation is Interpolation.OFF or fraction >= 1.0
        if is_off or previous is None or previous.get_size() != frame.get_size():
            return frame
        blended = frame.copy()
        faded = previous.copy()
        faded.set_alpha(round(255 * (1.0 - fraction)))
        blended.blit(faded, (0, 0))
        return blended


def _fractions(rect: tuple[int, int, int, int], window_px: tuple[int, int]) -> tuple[float, float, float, float]:
    return rect[0] / window_px[0], rect[1] / window_px[1], rect[2] / window_px[0], rect[3] / window_px[1]


class RecoveringRenderer:
    """Recreates a lost OpenGL context, and falls back to SDL after several losses. `notify` is called for each."""

    def __init__(self, window: Window) -> None:
        self.notify: Callable[[str], None] = _log.warning
        """Replaced during play, where the message is shown on screen."""
        self.scaling_filter, self.integer_scale, self.interpolation = ScalingFilter.SHARP, False, Interpolation.OFF
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
        """Raises: GraphicsError when SDL cannot draw either."""
        failure = self._try_draw(panels, window_px, fraction)
        while failure:
            self._recover(failure)
            failure = self._try_draw(panels, self._window.size_px, 1.0)

    def row_at(self, panel: Panel, window_px: tuple[int, int], point_px: tuple[int, int]) -> int | None:
        return self._inner.row_at(panel, window_px, point_px)

    def _try_draw(self, panels: tuple[Panel, ...], window_px: tuple[int, int], fraction: float) -> str:
        """Returns: the error, or an empty string."""
        inner = self._inner
        inner.scaling_filter, inner.integer_scale = self.scaling_filter, self.integer_scale
        inner.interpolation = self.interpolation
        try:
            inner.draw(panels, window_px, fraction)
        except (moderngl.Error, pygame.error) as error:
            return str(error) or type(error).__name__
        context = self._window.context
        found = context.error if context is not None else NO_ERROR
        return "" if found == NO_ERROR else found

    def _recover(self, failure: str) -> None:
        """Releases nothing of the old context: the new one may reuse its object names."""
        self._num_losses += 1
        if self._num_losses > MAX_CONTEXT_LOSSES + 1:
            raise GraphicsError(f"cannot draw to the window: {failure}", hint="restart worldsim")
        self._window.reopen(can_use_opengl=self._num_losses <= MAX_CONTEXT_LOSSES)
        self._use(_create_renderer(self._window))
        if self._frame is not None:
            self._inner.show(self._frame)
        self.notify(f"OpenGL context lost ({failure}); continuing with {self.name}")

    def _use(self, inner: Renderer) -> None:
        self._inner, self.name = inner, inner.name
        self.supports_motion_interpolation = inner.supports_motion_interpolation


def _create_renderer(window: Window) -> Renderer:
    return GlRenderer(window.context) if window.context is not None else SdlRenderer()
