"""Rendering panels without a window."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.app.hud import InlineImage, Panel, PanelRow, Placement, Style
from worldsim.app.text_renderer import BACKGROUND, TextRenderer

TABLE = Panel(
    Placement.CENTER, (PanelRow("title", style=Style.STRONG), PanelRow("W", "walk forward"), PanelRow("Ctrl+Q", "quit"))
)


def test_text_is_light_on_a_translucent_background() -> None:
    (pixels,) = TextRenderer().render((TABLE,), (960, 720))
    assert pixels.shape[2] == 4
    assert np.abs(pixels[len(pixels) // 2, 1].astype(int) - BACKGROUND).max() <= 3
    assert pixels[0, 0, 3] < 50, "corners are not rounded"
    assert pixels[..., :3].max() > 200


def test_unchanged_panel_is_cached() -> None:
    painter = TextRenderer()
    (first,) = painter.render((TABLE,), (960, 720))
    (second,) = painter.render((TABLE,), (960, 720))
    assert second is first


def test_text_size_grows_with_the_window() -> None:
    painter = TextRenderer()
    (small,) = painter.render((TABLE,), (480, 360))
    (large,) = painter.render((TABLE,), (1920, 1440))
    assert large.shape[0] > 2 * small.shape[0]


def test_right_column_is_aligned() -> None:
    (pixels,) = TextRenderer().render(
        (Panel(Placement.CENTER, (PanelRow("W", "H"), PanelRow("Ctrl+Q", "H"))),), (960, 720)
    )
    lit = pixels[..., 0] > 200
    upper, lower = lit[: len(lit) // 2], lit[len(lit) // 2 :]
    assert np.flatnonzero(upper.any(axis=0))[-1] == np.flatnonzero(lower.any(axis=0))[-1]


def test_image_is_left_of_its_row_and_makes_it_taller() -> None:
    rows = (PanelRow("slot", image=InlineImage(2, 1, bytes([255, 0, 0, 0, 0, 255]))), PanelRow("empty"))
    (pixels,) = TextRenderer().render((Panel(Placement.TOP_RIGHT, rows),), (960, 720))
    (plain,) = TextRenderer().render((Panel(Placement.TOP_RIGHT, (PanelRow("slot"), PanelRow("empty"))),), (960, 720))
    assert pixels.shape[0] > plain.shape[0] + 20 and pixels.shape[1] > plain.shape[1]
    pixels = pixels.astype(np.int16)
    red, blue = pixels[..., 0] > pixels[..., 2] + 150, pixels[..., 2] > pixels[..., 0] + 150
    assert red.any() and blue.any()
    assert np.flatnonzero(red.any(axis=0)).max() < np.flatnonzero(blue.any(axis=0)).min()


@pytest.mark.parametrize("window_px", [(640, 480), (1280, 720), (1920, 1080), (1080, 1920), (3840, 2160)])
def test_no_panel_exceeds_the_window(window_px: tuple[int, int]) -> None:
    below = ("what it is, described at length " * 9, "facts")
    long = PanelRow("a name", sublines=below, is_focus=True, image=InlineImage(4, 3, bytes(36)))
    lines = [
        PanelRow(f"key {n} / Left stick / other key", "what it does, in a few words and some more") for n in range(34)
    ]
    table = Panel(Placement.CENTER, (PanelRow("help"), *lines))
    for panel in (Panel(Placement.CENTER, (PanelRow("menu"), long, *[PanelRow("more")] * 9)), table):
        (pixels,) = TextRenderer().render((panel,), window_px)
        height_px, width_px, _ = pixels.shape
        assert width_px <= window_px[0] and height_px <= window_px[1], (width_px, height_px)
        assert max(width_px / window_px[0], height_px / window_px[1]) > 0.5, "smaller than necessary"


def test_long_table_uses_two_columns_if_it_fits() -> None:
    table = Panel(
        Placement.CENTER, (PanelRow("help"), *[PanelRow(f"K{n}", "what it does, in words") for n in range(30)])
    )
    (wide,) = TextRenderer().render((table,), (1280, 480))
    (tall,) = TextRenderer().render((table,), (640, 1280))
    assert wide.shape[1] > 1.2 * wide.shape[0] and tall.shape[0] > tall.shape[1]


def test_focused_row_is_highlighted_and_menu_width_is_constant() -> None:
    menus = [
        Panel(
            Placement.CENTER,
            (PanelRow("menu"), *[PanelRow(name, is_focus=place == focus) for place, name in enumerate("abc")]),
        )
        for focus in range(3)
    ]
    first, second, _ = (TextRenderer().render((menu,), (960, 720))[0].astype(int) for menu in menus)
    assert first.shape == second.shape
    changed = np.abs(first - second).max(axis=2) > 8
    assert changed.any(axis=0).mean() > 0.9 and changed.any(axis=1).mean() < 0.6


def test_sublines_belong_to_their_row() -> None:
    panel = Panel(Placement.CENTER, (PanelRow("title"), PanelRow("a", sublines=("b", "c")), PanelRow("d")))
    painter = TextRenderer()
    painter.render((panel,), (640, 480))
    found = [painter.row_at(panel, fraction / 100) for fraction in range(101)]
    assert found.count(1) > 2 * found.count(2) > 0


def test_row_at_finds_rendered_rows() -> None:
    picture = InlineImage(4, 3, bytes(36))
    rows = (PanelRow("title"), PanelRow("with a picture", image=picture), PanelRow("below", "it"))
    painter = TextRenderer()
    panel = Panel(Placement.CENTER, rows)
    assert painter.row_at(panel, 0.5) is None, "nothing was rendered yet"
    painter.render((panel,), (640, 480))
    found = [painter.row_at(panel, fraction / 100) for fraction in range(101)]
    assert found[0] is None and found[-1] is None
    inside = [row for row in found if row is not None]
    assert inside == sorted(inside) and set(inside) == {0, 1, 2}
    assert inside.count(1) > inside.count(0) > inside.count(2), "an image, a heading, a line"
