"""The drawing itself, into a framebuffer without a window."""

from __future__ import annotations

from collections.abc import Iterator

import moderngl
import numpy as np
import numpy.typing as npt
import pytest

from worldsim.app.hud import Anchor, Panel, Row
from worldsim.app.renderer import MARGIN_PX, GlRenderer, PictureFilter, panel_rect, picture_rect
from worldsim.core.types import Frame

Pixels = npt.NDArray[np.uint8]
WINDOW_PX = (200, 120)  # wider than 4:3: the picture is 160 x 120, with 20 black columns at each side
FRAME: Frame = np.random.default_rng(0).integers(1, 256, (6, 8, 3), dtype=np.uint8)
PANEL = Panel(Anchor.BOTTOM, (Row("hello"),))


class Canvas:
    """A renderer on a framebuffer of its own."""

    def __init__(self, context: moderngl.Context) -> None:
        self.target = context.simple_framebuffer(WINDOW_PX, 3)
        self.renderer = GlRenderer(context, self.target)

    def draw(self, *panels: Panel) -> Pixels:
        """Shapes: [H, W, 3], the top row first."""
        self.renderer.draw(panels, WINDOW_PX)
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


@pytest.mark.parametrize("picture_filter", PictureFilter)
def test_the_middle_of_every_texel_is_the_frames_own_pixel(canvas: Canvas, picture_filter: PictureFilter) -> None:
    canvas.renderer.picture_filter = picture_filter
    canvas.renderer.show(FRAME)
    picture = canvas.draw()[:, 20:180]
    middles = picture[9:120:20, 9:160:20].astype(int), picture[10:120:20, 10:160:20].astype(int)
    mean = sum(middles) / 2  # a texel of 20 pixels has its middle between two
    assert np.abs(mean - FRAME).max() <= 3


def test_nearest_is_the_frame_enlarged(canvas: Canvas) -> None:
    canvas.renderer.picture_filter = PictureFilter.NEAREST
    canvas.renderer.show(FRAME)
    assert np.array_equal(canvas.draw()[:, 20:180], FRAME.repeat(20, 0).repeat(20, 1))


def test_sharp_has_hard_edges_and_smooth_has_not(canvas: Canvas) -> None:
    columns: Frame = np.zeros((6, 8, 3), dtype=np.uint8)
    columns[:, 4:] = 200
    canvas.renderer.show(columns)
    between = {}
    for picture_filter in (PictureFilter.SHARP, PictureFilter.SMOOTH):
        canvas.renderer.picture_filter = picture_filter
        row = canvas.draw()[60, 20:180, 0]
        between[picture_filter] = int(((row > 5) & (row < 195)).sum())
    assert between[PictureFilter.SHARP] <= 2 < between[PictureFilter.SMOOTH]


def test_beside_the_picture_it_is_black(canvas: Canvas) -> None:
    canvas.renderer.show(FRAME)
    pixels = canvas.draw()
    assert not pixels[:, :20].any()
    assert not pixels[:, 180:].any()


def test_a_frame_of_another_size_replaces_the_one_before(canvas: Canvas) -> None:
    canvas.renderer.show(FRAME)
    canvas.draw()
    white: Frame = np.full((3, 4, 3), 255, dtype=np.uint8)
    canvas.renderer.show(white)
    assert (canvas.draw()[:, 20:180] == 255).all()


def test_a_panel_lies_over_the_picture_where_it_belongs(canvas: Canvas) -> None:
    canvas.renderer.show(FRAME)
    changed = (canvas.draw(PANEL) != canvas.draw()).any(axis=2)
    rows = np.flatnonzero(changed.any(axis=1))
    assert 60 < rows[0] < rows[-1] < 120 - MARGIN_PX
    assert changed.any(axis=0)[100]


def test_text_can_be_read_on_it(canvas: Canvas) -> None:
    pixels = canvas.draw(PANEL)
    assert pixels.max() > 180, "no light letter on the dark panel"


def test_an_unchanged_panel_is_uploaded_once_and_a_gone_one_let_go(canvas: Canvas) -> None:
    canvas.draw(PANEL)
    (first,) = canvas.renderer._panels
    canvas.draw(PANEL)
    assert canvas.renderer._panels[0][1] is first[1]
    canvas.draw()
    assert canvas.renderer._panels == []


def test_without_a_frame_there_is_still_something_to_read(canvas: Canvas) -> None:
    assert canvas.draw(PANEL).any()


@pytest.mark.parametrize("window_px", [(960, 720), (1920, 1080), (500, 900), (64, 48), (1, 1)])
def test_the_picture_keeps_its_shape_in_every_window(window_px: tuple[int, int]) -> None:
    left, top, width, height = picture_rect((64, 48), window_px)
    assert width <= window_px[0]
    assert height <= window_px[1]
    assert abs(width * 48 - height * 64) <= 64
    assert abs(2 * left + width - window_px[0]) <= 1
    assert abs(2 * top + height - window_px[1]) <= 1


@pytest.mark.parametrize("anchor", Anchor)
def test_a_panel_too_large_for_the_window_is_made_smaller(anchor: Anchor) -> None:
    left, top, width, height = panel_rect(anchor, (900, 300), (320, 240))
    assert min(left, top) >= MARGIN_PX
    assert left + width <= 320 - MARGIN_PX
    assert top + height <= 240 - MARGIN_PX
    assert width / height == pytest.approx(3.0, rel=0.02)
