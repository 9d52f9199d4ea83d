"""The key overlay: layout, filled keys, caching."""

from __future__ import annotations

import numpy as np
import pygame

from worldsim.actions.bindings import BINDINGS
from worldsim.app.hud import KeyCap, Panel
from worldsim.app.key_overlay import KeyOverlay, key_overlay_panel
from worldsim.app.text_renderer import CAP_FILLED, paint_key_caps
from worldsim.core.types import NO_ACTION, Action
from worldsim.engine.inputs import Inputs


def caps_of(panel: Panel) -> dict[str, KeyCap]:
    return {cap.label: cap for cap in panel.key_caps}


def test_keys_are_laid_out_as_on_a_keyboard_and_held_ones_filled() -> None:
    caps = caps_of(key_overlay_panel(BINDINGS, {"w": 1.0, "left": 1.0}, NO_ACTION, is_mouse_moving=False))
    assert caps["W"].y < caps["A"].y == caps["S"].y == caps["D"].y
    assert caps["A"].x < caps["S"].x < caps["D"].x < caps["<"].x < caps[">"].x
    assert {label for label, cap in caps.items() if cap.fill == (0.0, 1.0)} == {"W", "<"}
    places = [(cap.x, cap.y) for cap in caps.values()]
    assert len(set(places)) == len(places)


def test_mouse_and_axis_are_shown() -> None:
    caps = caps_of(key_overlay_panel(BINDINGS, {}, Action.of(turn=0.5), is_mouse_moving=True))
    assert caps["Mouse"].fill == (0.0, 1.0)
    assert caps["turn"].fill == (0.25, 0.5), "left is positive"
    assert caps_of(key_overlay_panel(BINDINGS, {}, Action.of(turn=-1.0), is_mouse_moving=False))["turn"].fill == (
        0.5,
        1.0,
    )


def test_gamepad_keys_are_shown_while_pressed() -> None:
    assert "Left stick up" not in caps_of(key_overlay_panel(BINDINGS, {}, NO_ACTION, is_mouse_moving=False))
    caps = caps_of(key_overlay_panel(BINDINGS, {"pad_lefty-": 0.62}, NO_ACTION, is_mouse_moving=False))
    assert caps["Left stick up"].fill == (0.0, 0.6)


def test_unchanged_overlay_is_the_same_panel() -> None:
    inputs, overlay = Inputs(BINDINGS), KeyOverlay()
    first = overlay.panel(inputs, NO_ACTION)
    assert overlay.panel(inputs, NO_ACTION) is first
    inputs.press("w")
    held = overlay.panel(inputs, NO_ACTION)
    assert caps_of(held)["W"].fill == (0.0, 1.0) and caps_of(first)["W"].fill == (0.0, 0.0)
    inputs.release("w")
    assert caps_of(overlay.panel(inputs, NO_ACTION))["W"].fill == (0.0, 1.0), "a tap is shown until its tick"
    inputs.sample()
    assert overlay.panel(inputs, NO_ACTION) == first


def test_filled_key_is_painted_in_its_place() -> None:
    pygame.font.init()
    caps = [KeyCap(label="", x=0.0, y=0.0), KeyCap(label="", x=2.0, y=1.0, fill=(0.0, 1.0))]
    pixels = paint_key_caps(caps, pygame.font.Font(None, 20), 30)
    assert pixels.shape == (70, 100, 4)
    is_filled = (pixels == CAP_FILLED).all(axis=2)
    rows, columns = np.flatnonzero(is_filled.any(axis=1)), np.flatnonzero(is_filled.any(axis=0))
    assert rows[0] >= 35 and columns[0] >= 65
