"""Painted walls: our own textures for colours that Freedoom lacks, as patches in the engine's picture format.

A wall of 128x128 has a dark wainscot, a light field above it and one broad stripe: big shapes, no noise, and enough
to tell how one stands to it. Colours are indices into the engine's palette.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SIZE_PX = 128
WAINSCOT_TOP_PX = 84
STRIPE_PX = (48, 80)


@dataclass(frozen=True, kw_only=True)
class PaintedTexture:
    """Three palette indices."""

    field: int
    stripe: int
    wainscot: int


PAINTED_TEXTURES = {
    "WSYELLOW": PaintedTexture(field=162, stripe=161, wainscot=164),
    "WSLILAC": PaintedTexture(field=194, stripe=193, wainscot=196),
}


def patch_bytes(texture: PaintedTexture) -> bytes:
    """Picture format: width, height, offsets; then where each column starts; then columns of one post each."""
    columns = []
    for x in range(SIZE_PX):
        upper = texture.stripe if STRIPE_PX[0] <= x < STRIPE_PX[1] else texture.field
        pixels = bytes([upper] * WAINSCOT_TOP_PX + [texture.wainscot] * (SIZE_PX - WAINSCOT_TOP_PX))
        # A post: first row, length, a byte of padding to either side of the pixels; 255 ends the column.
        columns.append(bytes([0, SIZE_PX, 0]) + pixels + bytes([0, 255]))
    first = 8 + 4 * SIZE_PX
    offsets = [first + x * len(columns[0]) for x in range(SIZE_PX)]
    return struct.pack("<4h", SIZE_PX, SIZE_PX, 0, 0) + struct.pack(f"<{SIZE_PX}i", *offsets) + b"".join(columns)
