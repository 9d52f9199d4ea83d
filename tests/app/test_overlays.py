"""Overlays, screenshots and interpolation in the loop."""

from __future__ import annotations

from pathlib import Path

import pygame
import pytest

from tests.app.test_application import NOTHING, Play, down, keys
from tests.engine.fakes import FakePoseControlled
from worldsim.app.hud import Placement
from worldsim.app.renderer import Interpolation
from worldsim.app.settings import SettingsFile

BEGIN = [NOTHING] * 10


def shown_text(play: Play, placement: Placement) -> str:
    panels = [panel for panel in play.renderer.panels[-1] if panel.placement is placement]
    return "\n".join(f"{row.left}: {row.right}" for panel in panels for row in panel.rows)


def test_f3_shows_the_performance_panel() -> None:
    play = Play()
    play.run(*BEGIN, *keys("f3 f3"), *[NOTHING] * 30, [down("w")], *[NOTHING] * 40)
    text = shown_text(play, Placement.TOP_LEFT)
    assert "frame interval (target 100): 100.0   100.0   100.0" in text
    assert "tick jitter: " in text
    assert "input to display: 0.0   0.0" not in text, "W was pressed"
    assert "MB" in text


def test_f2_shows_held_keys() -> None:
    def filled(play: Play) -> list[set[str]]:
        caps = [p.key_caps for panels in play.renderer.panels for p in panels if p.placement is Placement.LOWER_RIGHT]
        return [{cap.label for cap in panel if cap.fill == (0.0, 1.0)} for panel in caps]

    up = pygame.event.Event(pygame.KEYUP, scancode=down("w").scancode, mod=0)
    play = Play()
    play.run(*BEGIN, [down("f2")], NOTHING, [down("w")], *[NOTHING] * 8, [up], *[NOTHING] * 20)
    seen = filled(play)
    assert seen[0] == set() and {"W"} in seen and seen[-1] == set()
    play = Play()
    play.run(*BEGIN, [down("f2")], NOTHING, [down("f2")], *[NOTHING] * 9)
    assert not any(panel.key_caps for panel in play.renderer.panels[-1])


def test_key_overlay_updates_while_paused() -> None:
    play = Play()
    play.run(*BEGIN, *keys("f2 p"), *[NOTHING] * 20, [down("d")], NOTHING)
    (panel,) = [panel for panel in play.renderer.panels[-1] if panel.key_caps]
    assert {cap.label for cap in panel.key_caps if cap.fill == (0.0, 1.0)} == {"D"}


def test_key_overlay_shows_key_turn_in_pose_controlled_worlds() -> None:
    play = Play(FakePoseControlled())
    play.run(*BEGIN, [down("f2")], NOTHING, [down("left")], *[NOTHING] * 8)
    (panel,) = [panel for panel in play.renderer.panels[-1] if panel.key_caps]
    assert {cap.label: cap.fill for cap in panel.key_caps}["turn"] == (0.0, 0.5)
    assert play.session.shown_step is not None and play.session.shown_step.action.axis("sin") > 0


def test_f12_saves_a_screenshot_and_shows_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_PICTURES_DIR", str(tmp_path))
    play = Play()
    play.run(*BEGIN, *keys("f12"), NOTHING)
    (path,) = (tmp_path / "worldsim").iterdir()
    assert all(part in shown_text(play, Placement.BOTTOM) for part in ("Screenshot saved", str(path)))
    assert play.logged[-1] == f"screenshot saved: {path}"
    play = Play()
    play.run(*BEGIN, *keys("f12"), *[NOTHING] * 99)
    assert "Screenshot" not in shown_text(play, Placement.BOTTOM)


def test_interpolated_frames_are_drawn_at_display_rate(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    file.change(frame_interpolation="blend")
    play = Play(settings=file)
    play.renderer.interpolation = Interpolation.BLEND
    play.run(*[NOTHING] * 200)
    num_between = sum(0.0 < fraction < 1.0 for fraction in play.renderer.fractions)
    assert num_between >= 4 * (len(play.renderer.frames) - 3)
    play = Play()
    play.run(*[NOTHING] * 200)
    assert set(play.renderer.fractions) == {1.0}


def test_pause_shows_the_current_frame() -> None:
    play = Play()
    play.renderer.interpolation = Interpolation.BLEND
    play.run(*[NOTHING] * 60, [down("p")], *[NOTHING] * 5)
    assert play.renderer.fractions[-1] == 1.0


def test_integer_scaling_and_interpolation_apply_immediately(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    play = Play(settings=file)
    play.run(*BEGIN, *keys("escape down down return down right down right right"), *[NOTHING] * 3)
    assert play.renderer.integer_scale and play.renderer.interpolation is Interpolation.MOTION
    assert (file.current.integer_scale, file.current.frame_interpolation) == (True, "motion")
    assert any("blending frames" in text for text in play.logged), "the fake renderer has no motion interpolation"
