"""Panels as pictures, without a window."""

from __future__ import annotations

import numpy as np

from worldsim.app.hud import Anchor, Panel, Picture, Row, Tone
from worldsim.app.text import BACKGROUND, TextPainter

TABLE = Panel(Anchor.CENTRE, (Row("title", tone=Tone.STRONG), Row("W", "walk forward"), Row("Ctrl+Q", "quit")))


def test_text_is_light_on_a_see_through_ground() -> None:
    (pixels,) = TextPainter().paint((TABLE,), (960, 720))
    assert pixels.shape[2] == 4
    assert np.abs(pixels[0, 0].astype(int) - BACKGROUND).max() <= 3
    assert pixels[..., :3].max() > 200


def test_the_same_panel_is_the_same_picture_and_is_not_drawn_again() -> None:
    painter = TextPainter()
    (first,) = painter.paint((TABLE,), (960, 720))
    (second,) = painter.paint((TABLE,), (960, 720))
    assert second is first


def test_text_grows_with_the_window() -> None:
    painter = TextPainter()
    (small,) = painter.paint((TABLE,), (480, 360))
    (large,) = painter.paint((TABLE,), (1920, 1440))
    assert large.shape[0] > 2 * small.shape[0]


def test_the_right_column_begins_at_one_place() -> None:
    (pixels,) = TextPainter().paint((Panel(Anchor.CENTRE, (Row("W", "|"), Row("Ctrl+Q", "|"))),), (960, 720))
    lit = pixels[..., 0] > 200
    upper, lower = lit[: len(lit) // 2], lit[len(lit) // 2 :]
    assert np.flatnonzero(upper.any(axis=0))[-1] == np.flatnonzero(lower.any(axis=0))[-1]


def test_a_picture_stands_before_its_line_and_makes_it_higher() -> None:
    rows = (Row("slot", picture=Picture(2, 1, bytes([255, 0, 0, 0, 0, 255]))), Row("empty"))
    (pixels,) = TextPainter().paint((Panel(Anchor.TOP_RIGHT, rows),), (960, 720))
    (plain,) = TextPainter().paint((Panel(Anchor.TOP_RIGHT, (Row("slot"), Row("empty"))),), (960, 720))
    assert pixels.shape[0] > plain.shape[0] + 20 and pixels.shape[1] > plain.shape[1]
    pixels = pixels.astype(np.int16)
    red, blue = pixels[..., 0] > pixels[..., 2] + 150, pixels[..., 2] > pixels[..., 0] + 150
    assert red.any() and blue.any()
    assert np.flatnonzero(red.any(axis=0)).max() < np.flatnonzero(blue.any(axis=0)).min()


def test_a_row_is_found_again_where_it_was_painted() -> None:
    picture = Picture(4, 3, bytes(36))
    rows = (Row("title"), Row("with a picture", picture=picture), Row("below", "it"))
    painter = TextPainter()
    panel = Panel(Anchor.CENTRE, rows)
    assert painter.row_at(panel, 0.5) is None, "nothing was painted yet"
    painter.paint((panel,), (640, 480))
    found = [painter.row_at(panel, share / 100) for share in range(101)]
    assert found[0] is None and found[-1] is None
    inside = [row for row in found if row is not None]
    assert inside == sorted(inside) and set(inside) == {0, 1, 2}
    assert inside.count(1) > 2 * inside.count(0) and abs(inside.count(0) - inside.count(2)) <= 2
