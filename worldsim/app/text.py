"""Panels of text as pictures: pygame's own font, drawn into RGBA arrays. Works without a window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pygame

from worldsim.app.hud import Panel, Row, Tone

BACKGROUND = (12, 14, 18, 200)
COLOURS = {
    Tone.PLAIN: (236, 238, 242),
    Tone.QUIET: (160, 168, 180),
    Tone.STRONG: (255, 214, 120),
    Tone.BAD: (255, 120, 110),
}
OVERSAMPLING = 2
"""Text is drawn this much larger and reduced: letters then sit where they belong, not on whole pixels."""
LINES_PER_WINDOW = 34
"""A window is this many lines of text high; it sets the size of the font."""

LINES_PER_PICTURE = 3
"""Height of a small picture beside a line."""


class TextPainter:
    """Remembers its font and the panels of the last call, since most panels stay the same from draw to draw."""

    def __init__(self) -> None:
        pygame.font.init()
        self._font: pygame.font.Font | None = None
        self._line_px = 0
        self._painted: dict[Panel, npt.NDArray[np.uint8]] = {}

    def paint(self, panels: tuple[Panel, ...], window_px: tuple[int, int]) -> list[npt.NDArray[np.uint8]]:
        """Shapes: one [H, W, 4] per panel, RGBA with straight alpha. The same array object while nothing changed."""
        width_px, height_px = window_px
        line_px = max(12, min(height_px // LINES_PER_WINDOW, width_px // 44))
        if line_px != self._line_px or self._font is None:
            self._font, self._line_px, self._painted = (
                pygame.font.Font(None, round(line_px * OVERSAMPLING * 1.05)),
                line_px,
                {},
            )
        font = self._font
        self._painted = {p: self._painted[p] if p in self._painted else _paint(p, font) for p in panels}
        return [self._painted[panel] for panel in panels]

    def row_at(self, panel: Panel, share: float) -> int | None:
        """The row of a painted panel at this share of its height, from the top; None beside the rows."""
        if self._font is None:
            return None
        line_px, pad_px = _line_px(self._font), _line_px(self._font) // 2 // 2
        heights_px = [_row_px(row, line_px) for row in panel.rows]
        y_px = share * (sum(heights_px) + 2 * pad_px) - pad_px
        for place, height_px in enumerate(heights_px):
            if 0 <= y_px < height_px:
                return place
            y_px -= height_px
        return None


def _line_px(font: pygame.font.Font) -> int:
    return font.get_linesize() + 3 * OVERSAMPLING


def _row_px(row: Row, line_px: int) -> int:
    return LINES_PER_PICTURE * line_px + line_px // 4 if row.picture else line_px


def _paint(panel: Panel, font: pygame.font.Font) -> npt.NDArray[np.uint8]:
    line_px = _line_px(font)
    pad_px, gap_px = line_px // 2, line_px
    left_px = max(font.size(row.left)[0] for row in panel.rows if row.right) if any(r.right for r in panel.rows) else 0
    pictures = [_picture(row, line_px) for row in panel.rows]
    indents_px = [p.get_width() + gap_px // 2 if p else 0 for p in pictures]
    heights_px = [_row_px(row, line_px) for row in panel.rows]

    def width_px(row: Row) -> int:
        return left_px + gap_px + font.size(row.right)[0] if row.right else font.size(row.left)[0]

    widths_px = [indent_px + width_px(row) for row, indent_px in zip(panel.rows, indents_px, strict=True)]
    size_px = (max(widths_px) + 2 * pad_px, sum(heights_px) + 2 * (pad_px // 2))
    surface = pygame.Surface(size_px, pygame.SRCALPHA)
    surface.fill(BACKGROUND)
    y_px = pad_px // 2
    for row, picture, indent_px, height_px in zip(panel.rows, pictures, indents_px, heights_px, strict=True):
        if picture is not None:
            surface.blit(picture, (pad_px, y_px))
        x_px, text_y_px = pad_px + indent_px, y_px + (height_px - line_px) // 2
        left_tone = row.left_tone or (Tone.STRONG if row.right else row.tone)
        surface.blit(font.render(row.left, True, COLOURS[left_tone]), (x_px, text_y_px))
        if row.right:
            surface.blit(font.render(row.right, True, COLOURS[row.tone]), (x_px + left_px + gap_px, text_y_px))
        y_px += height_px
    width, height = size_px[0] // OVERSAMPLING, size_px[1] // OVERSAMPLING
    reduced = pygame.transform.smoothscale(surface, (width, height))
    return np.frombuffer(pygame.image.tobytes(reduced, "RGBA"), dtype=np.uint8).reshape(height, width, 4)


def _picture(row: Row, line_px: int) -> pygame.Surface | None:
    if row.picture is None:
        return None
    size_px = (row.picture.width_px, row.picture.height_px)
    height_px = LINES_PER_PICTURE * line_px
    drawn = pygame.image.frombytes(row.picture.pixels, size_px, "RGB")
    return pygame.transform.scale(drawn, (max(1, height_px * size_px[0] // size_px[1]), height_px))
