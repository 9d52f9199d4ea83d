"""Draws panels (rows of text, or key caps) into RGBA arrays. Needs no window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pygame

from worldsim.app.hud import KeyCap, Panel, PanelRow, Placement, Style
from worldsim.core.files import asset_path

BACKGROUND = (12, 14, 18, 214)
COLORS = {
    Style.PLAIN: (236, 238, 242),
    Style.MUTED: (160, 168, 180),
    Style.STRONG: (255, 214, 120),
    Style.ERROR: (255, 120, 110),
}
FOCUS = (255, 214, 120, 40)
RULE = (255, 214, 120, 110)
CAP_BACKGROUND, CAP, CAP_EDGE = (12, 14, 18, 150), (32, 36, 44, 230), (160, 168, 180, 255)
CAP_FILLED, CAP_PARTIALLY_FILLED = (255, 214, 120, 255), (150, 116, 40, 255)
"""The second is dark enough for the light letter that overlaps it."""
CAP_LETTER, CAP_LETTER_FILLED = (236, 238, 242), (20, 22, 26)

MIN_LINE_PX, LINE_PX_AT_480, LINE_PX_PER_PX = 15, 17, 0.019
"""Text grows with the window, but more slowly: a large window should show more."""
CENTER_SCALES = (1.3, 1.15, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Text scales tried for centered panels, until one fits. All other panels use 1."""
FONT_PER_LINE, DENSE_FONT_PER_LINE = 0.7, 0.82
DENSE_ROWS = 24
"""With more rows than this, lines are closer together; better than smaller letters."""
HEADING_SCALE = 1.3
LINES_PER_HEADING = 1.9
LINES_PER_CAP = 1.5
"""Size of a key cap."""
MENU_LINES_WIDE = 22
"""Minimum width of a menu, so that it does not change while scrolling."""
MAX_WINDOW_FRACTION = 0.94
"""Maximum size of a panel, as a fraction of the window."""
SMALL_LINE_PX = 30
"""Text smaller than this is drawn at 2x and reduced, which places letters at subpixel positions."""


@dataclass(frozen=True)
class _Layout:
    """Fonts and sizes as drawn, which is `oversampling` times as large as shown."""

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
    """Top and bottom of each row, as fractions of the height."""


class TextRenderer:
    """Caches fonts, and the panels of the last call: most panels do not change from draw to draw."""

    def __init__(self) -> None:
        pygame.font.init()
        self._fonts: dict[tuple[str, int], pygame.font.Font] = {}
        self._window_px = (0, 0)
        self._rendered: dict[Panel, _RenderedPanel] = {}

    def render(self, panels: tuple[Panel, ...], window_px: tuple[int, int]) -> list[npt.NDArray[np.uint8]]:
        """Shapes: one [H, W, 4] per panel, RGBA, straight alpha. An unchanged panel returns the same array object."""
        if window_px != self._window_px:
            self._window_px, self._rendered, self._fonts = window_px, {}, {}
        self._rendered = {p: self._rendered[p] if p in self._rendered else self._render(p) for p in panels}
        return [self._rendered[panel].pixels for panel in panels]

    def row_at(self, panel: Panel, fraction: float) -> int | None:
        """The row of a rendered panel at this fraction of its height; None outside of the rows."""
        if panel not in self._rendered:
            return None
        bounds = self._rendered[panel].bounds
        return next((index for index, (begin, end) in enumerate(bounds) if begin <= fraction < end), None)

    def _render(self, panel: Panel) -> _RenderedPanel:
        if panel.key_caps:
            line_px = text_line_px(self._window_px)
            font = self._font("DejaVuSansCondensed", line_px * FONT_PER_LINE)
            return _RenderedPanel(paint_key_caps(panel.key_caps, font, round(line_px * LINES_PER_CAP)), ())
        # Menus cut long lines; other panels shrink until everything fits.
        max_size_px = (self._window_px[0] * MAX_WINDOW_FRACTION, self._window_px[1] * MAX_WINDOW_FRACTION)
        for layout in self._layouts(panel):
            width_px, height_px = _size_px(panel, layout)
            if width_px <= max_size_px[0] * layout.oversampling and height_px <= max_size_px[1] * layout.oversampling:
                break
        return _rendered(panel, layout, round(max_size_px[0] * layout.oversampling) if panel.is_menu else width_px)

    def _layouts(self, panel: Panel) -> Iterator[_Layout]:
        """Candidates, best first."""
        line_px = text_line_px(self._window_px)
        font_per_line = FONT_PER_LINE if len(panel.rows) <= DENSE_ROWS else DENSE_FONT_PER_LINE
        for size in CENTER_SCALES if panel.placement is Placement.CENTER else (1.0,):
            for num_columns in (1,) if panel.is_menu or panel.placement is not Placement.CENTER else (1, 2):
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


def _has_heading(panel: Panel) -> bool:
    return panel.placement is Placement.CENTER and not panel.rows[0].right


def _height_px(row: PanelRow, layout: _Layout, *, is_heading: bool) -> int:
    if is_heading:
        return round(LINES_PER_HEADING * layout.line_px)
    num_lines = max(1 + len(row.sublines), row.image.num_lines if row.image else 1)
    return num_lines * layout.line_px + (layout.line_px // 3 if num_lines > 1 else 0)


def _heights_px(panel: Panel, layout: _Layout) -> list[int]:
    has_heading = _has_heading(panel)
    return [_height_px(row, layout, is_heading=has_heading and not index) for index, row in enumerate(panel.rows)]


def _columns(panel: Panel, layout: _Layout) -> list[list[int]]:
    """Row indices of each column, without the heading, which spans them."""
    indices = list(range(int(_has_heading(panel)), len(panel.rows)))
    length = -(-len(indices) // layout.num_columns)
    return [indices[begin : begin + length] for begin in range(0, len(indices), max(1, length))] or [[]]


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
    columns = [[panel.rows[index] for index in column] for column in _columns(panel, layout)]
    gaps_px = 2 * layout.pad_px + 2 * layout.line_px * (len(columns) - 1)
    width_px = sum(_column_px(rows, layout) for rows in columns) + gaps_px
    if _has_heading(panel):
        width_px = max(width_px, layout.heading_font.size(panel.rows[0].left)[0] + 2 * layout.pad_px)
    if panel.is_menu:
        width_px = max(width_px, MENU_LINES_WIDE * layout.line_px)
    heights_px = _heights_px(panel, layout)
    tallest_px = max(sum(heights_px[index] for index in column) for column in _columns(panel, layout))
    heading_px = heights_px[0] if _has_heading(panel) else 0
    return width_px, heading_px + tallest_px + 2 * (layout.pad_px // 2)


def _rendered(panel: Panel, layout: _Layout, max_width_px: int) -> _RenderedPanel:
    """Cuts lines that are wider than `max_width_px`."""
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
        rows, y_px = [panel.rows[index] for index in column], top_px
        column_px = _column_px(rows, layout) if layout.num_columns > 1 else width_px - 2 * layout.pad_px
        left_px = _left_px(rows, layout)
        for index, row in zip(column, rows, strict=True):
            _draw_row(surface, row, layout, pygame.Rect(x_px, y_px, column_px, heights_px[index]), left_px)
            bounds[index] = (y_px / height_px, (y_px + heights_px[index]) / height_px)
            y_px += heights_px[index]
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
    surface: pygame.Surface, text: str, layout: _Layout, style: Style, left_top_px: tuple[int, int], max_width_px: int
) -> None:
    drawn = layout.font.render(_ellipsize(text, layout.font, max_width_px), True, COLORS[style])
    surface.blit(drawn, (left_top_px[0], left_top_px[1] + (layout.line_px - drawn.get_height()) // 2))


def _draw_focus(surface: pygame.Surface, rect: pygame.Rect) -> None:
    """Highlights the focused row."""
    shade = pygame.Surface(rect.size, pygame.SRCALPHA)
    shade.fill(FOCUS)
    surface.blit(shade, rect)


def _ellipsize(text: str, font: pygame.font.Font, max_width_px: int) -> str:
    """As much of `text` as fits."""
    if font.size(text)[0] <= max_width_px:
        return text
    while text and font.size(text + "\N{HORIZONTAL ELLIPSIS}")[0] > max_width_px:
        text = text[:-1]
    return text + "\N{HORIZONTAL ELLIPSIS}"


def paint_key_caps(caps: Sequence[KeyCap], font: pygame.font.Font, unit_px: int) -> npt.NDArray[np.uint8]:
    """Shapes: returns [H, W, 4], RGBA with straight alpha. `unit_px`: size of a letter key."""
    pad_px, gap_px = unit_px // 6, max(1, unit_px // 14)
    width = max(cap.x + cap.width for cap in caps)
    height = max(cap.y + 1.0 for cap in caps)
    size_px = (round(width * unit_px) + 2 * pad_px, round(height * unit_px) + 2 * pad_px)
    surface = pygame.Surface(size_px, pygame.SRCALPHA)
    surface.fill(CAP_BACKGROUND)
    for cap in caps:
        box_px = (round(cap.width * unit_px) - 2 * gap_px, unit_px - 2 * gap_px)
        left_top_px = (pad_px + round(cap.x * unit_px) + gap_px, pad_px + round(cap.y * unit_px) + gap_px)
        surface.blit(_paint_key_cap(cap.label, cap.fill, box_px, font), left_top_px)
    return np.frombuffer(pygame.image.tobytes(surface, "RGBA"), dtype=np.uint8).reshape(size_px[1], size_px[0], 4)


@lru_cache(maxsize=256)
def _paint_key_cap(
    label: str, fill: tuple[float, float], size_px: tuple[int, int], font: pygame.font.Font
) -> pygame.Surface:
    """Cached: most caps stay the same when one key is pressed."""
    surface = pygame.Surface(size_px, pygame.SRCALPHA)
    box, radius_px = surface.get_rect(), size_px[1] // 5
    pygame.draw.rect(surface, CAP, box, border_radius=radius_px)
    begin, end = fill
    if end > begin:
        filled = pygame.Rect(round(begin * box.width), 0, round((end - begin) * box.width), box.height)
        is_filled = fill == (0.0, 1.0)
        pygame.draw.rect(
            surface,
            CAP_FILLED if is_filled else CAP_PARTIALLY_FILLED,
            filled,
            border_radius=radius_px if is_filled else 0,
        )
    pygame.draw.rect(surface, CAP_EDGE, box, width=max(1, box.height // 24), border_radius=radius_px)
    letter = font.render(label, True, CAP_LETTER_FILLED if fill == (0.0, 1.0) else CAP_LETTER)
    if letter.get_width() > box.width:
        height_px = max(1, letter.get_height() * box.width // letter.get_width())
        letter = pygame.transform.smoothscale(letter, (box.width, height_px))
    surface.blit(letter, letter.get_rect(center=box.center))
    return surface
