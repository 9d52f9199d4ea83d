"""Panels of text as pictures, drawn into RGBA arrays. Works without a window.

Owns: fonts, colours, sizes, where in a panel each row lies. Does not own: the words (`app.hud`, `app.menu_pages`),
where a panel lies (`app.renderer`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pygame

from worldsim.app.assets import asset_path
from worldsim.app.hud import Panel, PanelRow, Placement, Style
from worldsim.app.key_cap_painter import paint_key_caps

BACKGROUND = (12, 14, 18, 214)
COLORS = {
    Style.PLAIN: (236, 238, 242),
    Style.MUTED: (160, 168, 180),
    Style.STRONG: (255, 214, 120),
    Style.ERROR: (255, 120, 110),
}
FOCUS = (255, 214, 120, 40)
RULE = (255, 214, 120, 110)

MIN_LINE_PX, LINE_PX_AT_480, LINE_PX_PER_PX = 15, 17, 0.019
"""A line of text grows with the window, but not as fast: a large window is for seeing more."""
CENTER_SCALES = (1.3, 1.15, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Sizes of the text in the middle of the window, the first that fits. Elsewhere it is 1."""
FONT_PER_LINE, DENSE_FONT_PER_LINE = 0.7, 0.82
DENSE_ROWS = 24
"""With more rows than that, lines stand closer: rather that than smaller letters."""
HEADING_SCALE = 1.3
LINES_PER_HEADING = 1.9
LINES_PER_CAP = 1.5
"""Width and height of a drawn key."""
MENU_LINES_WIDE = 22
"""A menu is at least so wide: it should not jump when it is scrolled."""
MAX_WINDOW_FRACTION = 0.94
"""Of the window, for one panel."""
SMALL_LINE_PX = 30
"""Text smaller than this is drawn larger and reduced: letters then sit where they belong, not on whole pixels."""


@dataclass(frozen=True)
class _Layout:
    """Fonts and sizes, as they are drawn: `oversampling` times as large as they are seen."""

    font: pygame.font.Font
    heading_font: pygame.font.Font
    line_px: int
    oversampling: int
    num_columns: int = 1

    @property
    def pad_px(self) -> int:
        return self.line_px // 2


@dataclass(frozen=True)
class _RenderedPanel:
    pixels: npt.NDArray[np.uint8]
    bounds: tuple[tuple[float, float], ...]
    """Of each row: where it begins and ends, as shares of the height."""


class TextRenderer:
    """Remembers its fonts and the panels of the last call, since most panels stay the same from draw to draw."""

    def __init__(self) -> None:
        pygame.font.init()
        self._fonts: dict[tuple[str, int], pygame.font.Font] = {}
        self._window_px = (0, 0)
        self._rendered: dict[Panel, _RenderedPanel] = {}

    def render(self, panels: tuple[Panel, ...], window_px: tuple[int, int]) -> list[npt.NDArray[np.uint8]]:
        """Shapes: one [H, W, 4] per panel, RGBA with straight alpha. The same array object while nothing changed."""
        if window_px != self._window_px:
            self._window_px, self._rendered, self._fonts = window_px, {}, {}
        self._rendered = {p: self._rendered[p] if p in self._rendered else self._render(p) for p in panels}
        return [self._rendered[panel].pixels for panel in panels]

    def row_at(self, panel: Panel, fraction: float) -> int | None:
        """The row of a painted panel at this fraction of its height, from the top; None beside the rows."""
        if panel not in self._rendered:
            return None
        bounds = self._rendered[panel].bounds
        return next((place for place, (begin, end) in enumerate(bounds) if begin <= fraction < end), None)

    def _render(self, panel: Panel) -> _RenderedPanel:
        if panel.key_caps:
            line_px = text_line_px(self._window_px)
            font = self._font("DejaVuSansCondensed", line_px * FONT_PER_LINE)
            return _RenderedPanel(paint_key_caps(panel.key_caps, font, round(line_px * LINES_PER_CAP)), ())
        max_size_px = (self._window_px[0] * MAX_WINDOW_FRACTION, self._window_px[1] * MAX_WINDOW_FRACTION)
        for layout in self._layouts(panel):
            width_px, height_px = _size_px(panel, layout)
            if width_px <= max_size_px[0] * layout.oversampling and height_px <= max_size_px[1] * layout.oversampling:
                break
        return _rendered(panel, layout, round(max_size_px[0] * layout.oversampling) if _is_menu(panel) else width_px)

    def _layouts(self, panel: Panel) -> Iterator[_Layout]:
        """From the best to the least."""
        line_px = text_line_px(self._window_px)
        font_per_line = FONT_PER_LINE if len(panel.rows) <= DENSE_ROWS else DENSE_FONT_PER_LINE
        for size in CENTER_SCALES if panel.placement is Placement.CENTER else (1.0,):
            for num_columns in (1,) if _is_menu(panel) or panel.placement is not Placement.CENTER else (1, 2):
                is_small = size * line_px < SMALL_LINE_PX and not panel.is_live
                yield self._layout(size * line_px, font_per_line, num_columns, oversampling=2 if is_small else 1)

    def _layout(self, seen_line_px: float, font_per_line: float, num_columns: int, *, oversampling: int) -> _Layout:
        line_px = round(seen_line_px * oversampling)
        return _Layout(
            font=self._font("DejaVuSansCondensed", line_px * font_per_line),
            heading_font=self._font("DejaVuSansCondensed-Bold", line_px * FONT_PER_LINE * HEADING_SCALE),
            line_px=line_px,
            oversampling=oversampling,
            num_columns=num_columns,
        )

    def _font(self, name: str, size_px: float) -> pygame.font.Font:
        key = (name, round(size_px))
        if key not in self._fonts:
            self._fonts[key] = pygame.font.Font(str(asset_path(f"fonts/{name}.ttf")), key[1])
        return self._fonts[key]


def text_line_px(window_px: tuple[int, int]) -> int:
    """Height of a line of text in a window of that size."""
    height_px = min(window_px[1], window_px[0] * 3 / 4)
    return max(MIN_LINE_PX, round(LINE_PX_AT_480 + LINE_PX_PER_PX * (height_px - 480)))


def _is_menu(panel: Panel) -> bool:
    """What is too long in a menu is cut; of other panels all shall be read, however small."""
    return any(row.is_focus for row in panel.rows)


def _has_heading(panel: Panel) -> bool:
    return panel.placement is Placement.CENTER and not panel.rows[0].right


def _height_px(row: PanelRow, layout: _Layout, *, is_heading: bool) -> int:
    if is_heading:
        return round(LINES_PER_HEADING * layout.line_px)
    num_lines = max(1 + len(row.sublines), row.image.num_lines if row.image else 1)
    return num_lines * layout.line_px + (layout.line_px // 3 if num_lines > 1 else 0)


def _heights_px(panel: Panel, layout: _Layout) -> list[int]:
    has_heading = _has_heading(panel)
    return [_height_px(row, layout, is_heading=has_heading and not place) for place, row in enumerate(panel.rows)]


def _columns(panel: Panel, layout: _Layout) -> list[list[int]]:
    """The places of the rows in each column; a heading stands above them all."""
    places = list(range(int(_has_heading(panel)), len(panel.rows)))
    length = -(-len(places) // layout.num_columns)
    return [places[begin : begin + length] for begin in range(0, len(places), max(1, length))] or [[]]


def _indent_px(row: PanelRow, layout: _Layout) -> int:
    if row.image is None:
        return 0
    return row.image.num_lines * layout.line_px * row.image.width_px // row.image.height_px + layout.line_px // 2


def _left_px(rows: Sequence[PanelRow], layout: _Layout) -> int:
    """Width of the left column of a table."""
    return max((layout.font.size(row.left)[0] for row in rows if row.right), default=0)


def _width_px(row: PanelRow, layout: _Layout, left_px: int) -> int:
    text_px = layout.font.size(row.left)[0]
    if row.right:
        text_px = left_px + layout.line_px + layout.font.size(row.right)[0]
    return _indent_px(row, layout) + max(text_px, *(layout.font.size(line)[0] for line in row.sublines), 0)


def _column_px(rows: Sequence[PanelRow], layout: _Layout) -> int:
    left_px = _left_px(rows, layout)
    return max((_width_px(row, layout, left_px) for row in rows), default=0)


def _size_px(panel: Panel, layout: _Layout) -> tuple[int, int]:
    columns = [[panel.rows[place] for place in column] for column in _columns(panel, layout)]
    gaps_px = 2 * layout.pad_px + 2 * layout.line_px * (len(columns) - 1)
    width_px = sum(_column_px(rows, layout) for rows in columns) + gaps_px
    if _has_heading(panel):
        width_px = max(width_px, layout.heading_font.size(panel.rows[0].left)[0] + 2 * layout.pad_px)
    if _is_menu(panel):
        width_px = max(width_px, MENU_LINES_WIDE * layout.line_px)
    heights_px = _heights_px(panel, layout)
    tallest_px = max(sum(heights_px[place] for place in column) for column in _columns(panel, layout))
    heading_px = heights_px[0] if _has_heading(panel) else 0
    return width_px, heading_px + tallest_px + 2 * (layout.pad_px // 2)


def _rendered(panel: Panel, layout: _Layout, max_width_px: int) -> _RenderedPanel:
    """What is wider than `max_width_px` is cut."""
    full_width_px, height_px = _size_px(panel, layout)
    width_px, heights_px = min(full_width_px, max_width_px), _heights_px(panel, layout)
    surface = pygame.Surface((width_px, height_px), pygame.SRCALPHA)
    radius_px = layout.line_px // 3 if panel.placement is Placement.CENTER else 0
    pygame.draw.rect(surface, BACKGROUND, surface.get_rect(), border_radius=radius_px)
    top_px = layout.pad_px // 2
    bounds = [(0.0, 0.0)] * len(panel.rows)
    if _has_heading(panel):
        _draw_heading(surface, panel.rows[0], layout, top_px, heights_px[0])
        bounds[0] = (top_px / height_px, (top_px + heights_px[0]) / height_px)
        top_px += heights_px[0]
    x_px = layout.pad_px
    for column in _columns(panel, layout):
        rows, y_px = [panel.rows[place] for place in column], top_px
        column_px = _column_px(rows, layout) if layout.num_columns > 1 else width_px - 2 * layout.pad_px
        left_px = _left_px(rows, layout)
        for place, row in zip(column, rows, strict=True):
            _draw_row(surface, row, layout, pygame.Rect(x_px, y_px, column_px, heights_px[place]), left_px)
            bounds[place] = (y_px / height_px, (y_px + heights_px[place]) / height_px)
            y_px += heights_px[place]
        x_px += column_px + 2 * layout.line_px
    size_px = (max(1, width_px // layout.oversampling), max(1, height_px // layout.oversampling))
    reduced = pygame.transform.smoothscale(surface, size_px) if layout.oversampling > 1 else surface
    pixels = np.frombuffer(pygame.image.tobytes(reduced, "RGBA"), dtype=np.uint8)
    return _RenderedPanel(pixels.reshape(reduced.get_height(), reduced.get_width(), 4), tuple(bounds))


def _draw_heading(surface: pygame.Surface, row: PanelRow, layout: _Layout, top_px: int, height_px: int) -> None:
    width_px = surface.get_width() - 2 * layout.pad_px
    text = _ellipsize(row.left, layout.heading_font, width_px)
    drawn = layout.heading_font.render(text, True, COLORS[row.left_style or row.style])
    surface.blit(drawn, (layout.pad_px, top_px + (height_px - drawn.get_height()) // 2 - layout.line_px // 8))
    rule = (layout.pad_px, top_px + height_px - layout.line_px // 3, width_px, max(1, layout.line_px // 16))
    surface.fill(RULE, rule)


def _draw_row(surface: pygame.Surface, row: PanelRow, layout: _Layout, rect: pygame.Rect, left_px: int) -> None:
    if row.is_focus:
        bar = rect.inflate(layout.pad_px, 0)
        pygame.draw.rect(surface, COLORS[Style.STRONG], (bar.left, bar.top, max(2, layout.line_px // 10), bar.height))
        _draw_focus(surface, bar)
    indent_px = _indent_px(row, layout)
    if row.image is not None:
        height_px = row.image.num_lines * layout.line_px
        drawn = pygame.image.frombytes(row.image.pixels, (row.image.width_px, row.image.height_px), "RGB")
        scaled = pygame.transform.scale(drawn, (max(1, indent_px - layout.line_px // 2), height_px))
        surface.blit(scaled, (rect.left + layout.line_px // 8, rect.top + (rect.height - height_px) // 2))
    x_px, max_width_px = rect.left + indent_px, rect.width - indent_px
    y_px = rect.top + (rect.height - layout.line_px * (1 + len(row.sublines))) // 2
    left_style = row.left_style or (Style.STRONG if row.right else row.style)
    _draw_line(surface, row.left, layout, left_style, (x_px, y_px), max_width_px)
    if row.right:
        gap_px = left_px + layout.line_px
        _draw_line(surface, row.right, layout, row.style, (x_px + gap_px, y_px), max_width_px - gap_px)
    for number, line in enumerate(row.sublines, 1):
        style = Style.ERROR if row.style is Style.ERROR else Style.MUTED
        _draw_line(surface, line, layout, style, (x_px, y_px + number * layout.line_px), max_width_px)


def _draw_line(
    surface: pygame.Surface, text: str, layout: _Layout, style: Style, place_px: tuple[int, int], max_width_px: int
) -> None:
    drawn = layout.font.render(_ellipsize(text, layout.font, max_width_px), True, COLORS[style])
    surface.blit(drawn, (place_px[0], place_px[1] + (layout.line_px - drawn.get_height()) // 2))


def _draw_focus(surface: pygame.Surface, rect: pygame.Rect) -> None:
    """The place of the focus, lit."""
    shade = pygame.Surface(rect.size, pygame.SRCALPHA)
    shade.fill(FOCUS)
    surface.blit(shade, rect)


def _ellipsize(text: str, font: pygame.font.Font, max_width_px: int) -> str:
    """As much of `text` as there is room for."""
    if font.size(text)[0] <= max_width_px:
        return text
    while text and font.size(text + "\N{HORIZONTAL ELLIPSIS}")[0] > max_width_px:
        text = text[:-1]
    return text + "\N{HORIZONTAL ELLIPSIS}"
