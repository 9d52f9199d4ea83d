"""Drawing into a framebuffer without a window."""

from __future__ import annotations

from collections.abc import Iterator

import moderngl
import numpy as np
import numpy.typing as npt
import pygame
import pytest

from worldsim.app.hud import Panel, PanelRow, Placement
from worldsim.app.renderer import (
    MARGIN_PX,
    GlRenderer,
    Interpolation,
    ScalingFilter,
    SdlRenderer,
    panel_rect,
    panel_rects,
    picture_rect,
)
from worldsim.app.window import is_software_renderer
from worldsim.core.types import Frame

Pixels = npt.NDArray[np.uint8]
WINDOW_PX = (200, 120)  # wider than 4:3: the frame is 160 x 120, with 20 black columns on each side
FRAME: Frame = np.random.default_rng(0).integers(1, 256, (6, 8, 3), dtype=np.uint8)
PANEL = Panel(Placement.BOTTOM, (PanelRow("hello"),))


class Canvas:
    """A renderer with its own framebuffer."""

    def __init__(self, context: moderngl.Context) -> None:
        self.target = context.simple_framebuffer(WINDOW_PX, 3)
        self.renderer = GlRenderer(context, self.target)
        self.renderer.supports_motion_interpolation = True

    def draw(self, *panels: Panel, fraction: float = 1.0) -> Pixels:
        """Shapes: returns [H, W, 3], top row first."""
        self.renderer.draw(panels, WINDOW_PX, fraction)
        pixels = np.frombuffer(self.target.read(components=3, alignment=1), dtype=np.uint8)
        return pixels.reshape(WINDOW_PX[1], WINDOW_PX[0], 3)[::-1]


@pytest.fixture(scope="module")
def context() -> Iterator[moderngl.Context]:
    try:
        context = moderngl.create_context(standalone=True, backend="egl", require=330)
    except Exception as error:
        pytest.skip(f"no OpenGL without a window here: {error}")
    yield context
    context.release()


@pytest.fixture
def canvas(context: moderngl.Context) -> Canvas:
    return Canvas(context)


@pytest.mark.parametrize("scaling_filter", ScalingFilter)
def test_texel_centers_equal_frame_pixels(canvas: Canvas, scaling_filter: ScalingFilter) -> None:
    canvas.renderer.scaling_filter = scaling_filter
    canvas.renderer.show(FRAME)
    picture = canvas.draw()[:, 20:180]
    middles = picture[9:120:20, 9:160:20].astype(int), picture[10:120:20, 10:160:20].astype(int)
    mean = sum(middles) / 2  # the center of a texel of 20 pixels is between two pixels
    assert np.abs(mean - FRAME).max() <= 3


def test_nearest_filter_enlarges_exactly(canvas: Canvas) -> None:
    canvas.renderer.scaling_filter = ScalingFilter.NEAREST
    canvas.renderer.show(FRAME)
    assert np.array_equal(canvas.draw()[:, 20:180], FRAME.repeat(20, 0).repeat(20, 1))


def test_sharp_filter_has_hard_edges_and_smooth_has_soft_ones(canvas: Canvas) -> None:
    columns: Frame = np.zeros((6, 8, 3), dtype=np.uint8)
    columns[:, 4:] = 200
    canvas.renderer.show(columns)
    between = {}
    for scaling_filter in (ScalingFilter.SHARP, ScalingFilter.SMOOTH):
        canvas.renderer.scaling_filter = scaling_filter
        row = canvas.draw()[60, 20:180, 0]
        between[scaling_filter] = int(((row > 5) & (row < 195)).sum())
    assert between[ScalingFilter.SHARP] <= 2 < between[ScalingFilter.SMOOTH]


def test_letterbox_is_black(canvas: Canvas) -> None:
    canvas.renderer.show(FRAME)
    pixels = canvas.draw()
    assert not pixels[:, :20].any()
    assert not pixels[:, 180:].any()


def test_frame_of_another_size_replaces_the_previous_one(canvas: Canvas) -> None:
    canvas.renderer.show(FRAME)
    canvas.draw()
    white: Frame = np.full((3, 4, 3), 255, dtype=np.uint8)
    canvas.renderer.show(white)
    assert (canvas.draw()[:, 20:180] == 255).all()


def test_panel_is_drawn_at_its_placement(canvas: Canvas) -> None:
    canvas.renderer.show(FRAME)
    changed = (canvas.draw(PANEL) != canvas.draw()).any(axis=2)
    rows = np.flatnonzero(changed.any(axis=1))
    assert 60 < rows[0] < rows[-1] < 120 - MARGIN_PX
    assert changed.any(axis=0)[100]


def test_text_is_readable_over_the_frame(canvas: Canvas) -> None:
    pixels = canvas.draw(PANEL)
    assert pixels.max() > 180, "no light letter on the dark panel"


def test_unchanged_panel_is_uploaded_once_and_a_removed_one_released(canvas: Canvas) -> None:
    canvas.draw(PANEL)
    (first,) = canvas.renderer._panels
    canvas.draw(PANEL)
    assert canvas.renderer._panels[0][1] is first[1]
    canvas.draw()
    assert canvas.renderer._panels == []


def test_panels_are_drawn_without_a_frame(canvas: Canvas) -> None:
    assert canvas.draw(PANEL).any()


@pytest.mark.parametrize("window_px", [(960, 720), (1920, 1080), (500, 900), (64, 48), (1, 1)])
def test_frame_keeps_its_aspect_ratio(window_px: tuple[int, int]) -> None:
    left, top, width, height = picture_rect((64, 48), window_px)
    assert width <= window_px[0]
    assert height <= window_px[1]
    assert abs(width * 48 - height * 64) <= 64
    assert abs(2 * left + width - window_px[0]) <= 1
    assert abs(2 * top + height - window_px[1]) <= 1


@pytest.mark.parametrize("window_px", [(960, 720), (1000, 700), (130, 97), (40, 30)])
def test_integer_scaling_leaves_a_border_and_a_small_window_is_filled(window_px: tuple[int, int]) -> None:
    left, top, width, height = picture_rect((64, 48), window_px, integer_scale=True)
    if width >= 64:
        assert width % 64 == height % 48 == 0
        assert width + 64 > window_px[0] or height + 48 > window_px[1], "could have been larger"
    else:
        assert (width, height) == (40, 30)
    assert abs(2 * left + width - window_px[0]) <= 1 and abs(2 * top + height - window_px[1]) <= 1


def test_integer_scaling_gives_equal_pixel_sizes(canvas: Canvas) -> None:
    canvas.renderer.integer_scale = True
    canvas.renderer.show(FRAME[:5, :7])  # a factor of 24 would fill the height
    assert np.array_equal(canvas.draw()[:, 16:184], FRAME[:5, :7].repeat(24, 0).repeat(24, 1))


BAR_AT: dict[int, Frame] = {}
"""A bright bar on a wall, 4 of 32 columns wide, with its left edge at a given column."""
for _column in (10, 18):
    BAR_AT[_column] = np.full((24, 32, 3), 40, dtype=np.uint8)
    BAR_AT[_column][:, _column : _column + 4] = 220


def bar_columns(pixels: Pixels) -> list[int]:
    """Mean position of bright pixels, in frame columns."""
    row = pixels[60, 20:180].reshape(32, 5, 3)[:, 2, 0]
    return list(np.flatnonzero(row > 170))


def test_motion_moves_a_bar_half_way_and_blend_shows_two(canvas: Canvas) -> None:
    seen: dict[Interpolation, Pixels] = {}
    for interpolation in Interpolation:
        canvas.renderer.interpolation = interpolation
        canvas.renderer.show(BAR_AT[10])
        canvas.renderer.show(BAR_AT[18])
        seen[interpolation] = canvas.draw(fraction=0.5)
    assert bar_columns(seen[Interpolation.OFF]) == [18, 19, 20, 21]
    assert bar_columns(seen[Interpolation.MOTION]) == [14, 15, 16, 17]
    assert bar_columns(seen[Interpolation.BLEND]) == []
    assert seen[Interpolation.BLEND][60, 20 + 12 * 5, 0] == pytest.approx(130, abs=3)


@pytest.mark.parametrize("interpolation", Interpolation)
def test_interpolation_endpoints_are_the_two_frames(canvas: Canvas, interpolation: Interpolation) -> None:
    canvas.renderer.scaling_filter, canvas.renderer.interpolation = ScalingFilter.NEAREST, interpolation
    other: Frame = 255 - FRAME
    canvas.renderer.show(other)
    canvas.renderer.show(FRAME)
    assert np.array_equal(canvas.draw(fraction=1.0)[:, 20:180], FRAME.repeat(20, 0).repeat(20, 1))
    if interpolation is Interpolation.BLEND:
        assert np.array_equal(canvas.draw(fraction=0.0)[:, 20:180], other.repeat(20, 0).repeat(20, 1))


def test_motion_is_estimated_once_per_pair_at_bounded_resolution(canvas: Canvas) -> None:
    large: Frame = np.random.default_rng(1).integers(0, 256, (192, 256, 3), dtype=np.uint8)
    canvas.renderer.interpolation = Interpolation.MOTION
    canvas.renderer.show(large)
    canvas.renderer.show(large)
    first = canvas.draw(fraction=0.3)
    assert canvas.renderer._motion is not None and canvas.renderer._motion[1].size == (64, 48)
    canvas.renderer._motion_quad = None  # type: ignore[assignment]  # a second estimation would fail
    assert np.abs(canvas.draw(fraction=0.6).astype(int) - first).max() <= 3, "nothing moved"
    canvas.renderer.show(FRAME)
    assert canvas.draw(fraction=0.5).any(), "no motion after a change of frame size"


def test_software_opengl_skips_motion_estimation(context: moderngl.Context) -> None:
    renderer = GlRenderer(context, context.simple_framebuffer(WINDOW_PX, 3))
    assert renderer.supports_motion_interpolation is not is_software_renderer(context.info["GL_RENDERER"])
    renderer.supports_motion_interpolation, renderer.interpolation = False, Interpolation.MOTION
    renderer.show(BAR_AT[10])
    renderer.show(BAR_AT[18])
    renderer.draw((), WINDOW_PX, 0.5)
    assert renderer._motion is None


@pytest.fixture
def sdl() -> Iterator[SdlRenderer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDL_VIDEODRIVER", "dummy")
        pygame.display.init()
        pygame.display.set_mode(WINDOW_PX)
        yield SdlRenderer()
        pygame.display.quit()


def test_sdl_supports_integer_scaling_and_blending_but_not_motion(sdl: SdlRenderer) -> None:
    def drawn(fraction: float) -> Pixels:
        sdl.draw((), WINDOW_PX, fraction)
        return pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)

    sdl.integer_scale, sdl.interpolation = True, Interpolation.MOTION
    assert not sdl.supports_motion_interpolation
    black: Frame = np.zeros((5, 7, 3), dtype=np.uint8)
    sdl.show(black)
    sdl.show(FRAME[:5, :7])
    assert np.array_equal(drawn(1.0)[:, 16:184], FRAME[:5, :7].repeat(24, 0).repeat(24, 1))
    half = FRAME[:5, :7].repeat(24, 0).repeat(24, 1) * 0.5
    assert np.abs(drawn(0.5)[:, 16:184] - half).max() <= 2
    sdl.interpolation = Interpolation.OFF
    assert np.array_equal(drawn(0.5)[:, 16:184], FRAME[:5, :7].repeat(24, 0).repeat(24, 1))


@pytest.mark.parametrize("placement", Placement)
def test_panel_larger_than_the_window_is_scaled_down(placement: Placement) -> None:
    left, top, width, height = panel_rect(placement, (900, 300), (320, 240))
    assert min(left, top) >= MARGIN_PX
    assert left + width <= 320 - MARGIN_PX
    assert top + height <= 240 - MARGIN_PX
    assert width / height == pytest.approx(3.0, rel=0.02)


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return all(one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2] for axis in (0, 1))


@pytest.mark.parametrize("window_px", [(320, 240), (400, 300), (640, 480), (1280, 720)])
def test_panels_shown_together_do_not_cover_each_other(window_px: tuple[int, int]) -> None:
    rows = (PanelRow("text"),)
    placements = (Placement.BOTTOM, Placement.TOP_LEFT, Placement.TOP_RIGHT, Placement.LOWER_RIGHT)
    shown = [Panel(placement, rows) for placement in placements]
    rects = panel_rects(shown, [(390, 42), (370, 250), (210, 200), (160, 90)], window_px)
    assert not any(overlap(one, other) for index, one in enumerate(rects) for other in rects[:index]), rects
    covering = [Panel(Placement.BOTTOM, rows), Panel(Placement.CENTER, rows)]
    assert not overlap(*panel_rects(covering, [(390, 42), (270, 262)], window_px))


def test_panels_keep_their_size_where_there_is_room() -> None:
    shown = [Panel(placement, (PanelRow("text"),)) for placement in (Placement.TOP_LEFT, Placement.TOP_RIGHT)]
    rects = panel_rects(shown, [(370, 250), (210, 200)], (800, 600))
    assert [rect[2:] for rect in rects] == [(370, 250), (210, 200)]
