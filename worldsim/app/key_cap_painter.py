"""Keys as a picture. Works without a window; the font is given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pygame

from worldsim.app.hud import KeyCap

BACKGROUND, KEY, FILLED, EDGE = (12, 14, 18, 150), (32, 36, 44, 230), (255, 214, 120, 255), (160, 168, 180, 255)
PARTIALLY_FILLED = (150, 116, 40, 255)
"""Dark enough for the light letters that lie half on it."""
LETTER, LETTER_ON = (236, 238, 242), (20, 22, 26)


def paint_key_caps(caps: Sequence[KeyCap], font: pygame.font.Font, unit_px: int) -> npt.NDArray[np.uint8]:
    """Shapes: [H, W, 4], RGBA with straight alpha. `unit_px`: the width of a letter's key; `font` is drawn as it is."""
    pad_px, gap_px = unit_px // 6, max(1, unit_px // 14)
    width = max(cap.x + cap.width for cap in caps)
    height = max(cap.y + 1.0 for cap in caps)
    size_px = (round(width * unit_px) + 2 * pad_px, round(height * unit_px) + 2 * pad_px)
    surface = pygame.Surface(size_px, pygame.SRCALPHA)
    surface.fill(BACKGROUND)
    for cap in caps:
        box_px = (round(cap.width * unit_px) - 2 * gap_px, unit_px - 2 * gap_px)
        place_px = (pad_px + round(cap.x * unit_px) + gap_px, pad_px + round(cap.y * unit_px) + gap_px)
        surface.blit(_paint_key_cap(cap.label, cap.fill, box_px, font), place_px)
    return np.frombuffer(pygame.image.tobytes(surface, "RGBA"), dtype=np.uint8).reshape(size_px[1], size_px[0], 4)


@lru_cache(maxsize=256)
def _paint_key_cap(
    label: str, fill: tuple[float, float], size_px: tuple[int, int], font: pygame.font.Font
) -> pygame.Surface:
    """Remembered: most keys stay as they are while one of them goes down."""
    surface = pygame.Surface(size_px, pygame.SRCALPHA)
    box, radius_px = surface.get_rect(), size_px[1] // 5
    pygame.draw.rect(surface, KEY, box, border_radius=radius_px)
    begin, end = fill
    if end > begin:
        filled = pygame.Rect(round(begin * box.width), 0, round((end - begin) * box.width), box.height)
        is_filled = fill == (0.0, 1.0)
        pygame.draw.rect(
            surface, FILLED if is_filled else PARTIALLY_FILLED, filled, border_radius=radius_px if is_filled else 0
        )
    pygame.draw.rect(surface, EDGE, box, width=max(1, box.height // 24), border_radius=radius_px)
    letter = font.render(label, True, LETTER_ON if fill == (0.0, 1.0) else LETTER)
    if letter.get_width() > box.width:
        height_px = max(1, letter.get_height() * box.width // letter.get_width())
        letter = pygame.transform.smoothscale(letter, (box.width, height_px))
    surface.blit(letter, letter.get_rect(center=box.center))
    return surface
