"""Draws the window icon: a corridor in perspective with light at its end.

    python tools/icon.py            writes assets/icon/icon.png

Original work under the license of worldsim.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

TARGET = Path(__file__).parent.parent / "assets" / "icon" / "icon.png"
SIZE_PX, DRAWN_PX = 256, 1024
CEILING, LEFT, RIGHT, FLOOR = (38, 44, 58), (92, 84, 70), (120, 106, 84), (52, 88, 60)
LIGHT, GROUND = (255, 214, 120), (12, 14, 18)


def icon() -> Image.Image:
    """Drawn large and downscaled to smooth slanted edges."""
    image = Image.new("RGBA", (DRAWN_PX, DRAWN_PX))
    draw = ImageDraw.Draw(image)
    near, far = 90, 400
    end = DRAWN_PX - far
    draw.rounded_rectangle((0, 0, DRAWN_PX - 1, DRAWN_PX - 1), radius=180, fill=GROUND)
    outer = [(near, near), (DRAWN_PX - near, near), (DRAWN_PX - near, DRAWN_PX - near), (near, DRAWN_PX - near)]
    inner = [(far, far), (end, far), (end, end), (far, end)]
    for side, color in enumerate((CEILING, RIGHT, FLOOR, LEFT)):
        after = (side + 1) % 4
        draw.polygon((outer[side], outer[after], inner[after], inner[side]), fill=color)
    draw.rectangle((far, far, end, end), fill=LIGHT)
    for share in (0.45, 0.75):  # lines on the floor
        x = near + (far - near) * share
        draw.line(((x, DRAWN_PX - x), (DRAWN_PX - x, DRAWN_PX - x)), fill=GROUND, width=10)
    return image.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    icon().save(TARGET, optimize=True)
