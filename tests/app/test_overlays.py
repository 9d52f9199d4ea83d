"""What is drawn over the picture and between pictures, in the loop: figures, keys, screenshots, the way to a frame."""

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


def said(play: Play, placement: Placement) -> str:
    panels = [panel for panel in play.renderer.panels[-1] if panel.placement is placement]
    return "\n".join(f"{row.left}: {row.right}" for panel in panels for row in panel.rows)


def test_f3_leads_to_the_figures_of_play() -> None:
    play = Play()
    play.run(*BEGIN, *keys("f3 f3"), *[NOTHING] * 30, [down("w")], *[NOTHING] * 40)
    text = said(play, Placement.TOP_LEFT)
    assert "frame to frame (100): 100.0   100.0   100.0" in text
    assert "tick jitter: " in text
    assert "input to screen: 0.0   0.0" not in text, "W was pressed"
    assert "MB" in text


def test_f2_shows_the_keys_as_they_go_down_and_up() -> None:
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


def test_keys_are_drawn_at_once_even_in_a_pause() -> None:
    play = Play()
    play.run(*BEGIN, *keys("f2 p"), *[NOTHING] * 20, [down("d")], NOTHING)
    (panel,) = [panel for panel in play.renderer.panels[-1] if panel.key_caps]
    assert {cap.label for cap in panel.key_caps if cap.fill == (0.0, 1.0)} == {"D"}


def test_in_a_flight_the_turn_that_is_drawn_is_that_of_the_keys() -> None:
    play = Play(FakePoseControlled())
    play.run(*BEGIN, [down("f2")], NOTHING, [down("left")], *[NOTHING] * 8)
    (panel,) = [panel for panel in play.renderer.panels[-1] if panel.key_caps]
    assert {cap.label: cap.fill for cap in panel.key_caps}["turn"] == (0.0, 0.5)
    assert play.session.shown_step is not None and play.session.shown_step.action.axis("sin") > 0


def test_f12_writes_a_screenshot_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_PICTURES_DIR", str(tmp_path))
    play = Play()
    play.run(*BEGIN, *keys("f12"), NOTHING)
    (path,) = (tmp_path / "worldsim").iterdir()
    assert all(part in said(play, Placement.BOTTOM) for part in ("screenshot", str(path)))
    assert play.said[-1] == f"screenshot {path}"
    play = Play()
    play.run(*BEGIN, *keys("f12"), *[NOTHING] * 99)
    assert "screenshot" not in said(play, Placement.BOTTOM)


def test_between_frames_the_screen_is_drawn_at_its_own_pace(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    file.change(between="blend")
    play = Play(settings=file)
    play.renderer.interpolation = Interpolation.BLEND
    play.run(*[NOTHING] * 200)
    num_between = sum(0.0 < fraction < 1.0 for fraction in play.renderer.fractions)
    assert num_between >= 4 * (len(play.renderer.frames) - 3)
    play = Play()
    play.run(*[NOTHING] * 200)
    assert set(play.renderer.fractions) == {1.0}


def test_a_pause_shows_the_frame_itself() -> None:
    play = Play()
    play.renderer.interpolation = Interpolation.BLEND
    play.run(*[NOTHING] * 60, [down("p")], *[NOTHING] * 5)
    assert play.renderer.fractions[-1] == 1.0


def test_whole_numbers_and_what_is_between_are_settings_that_apply_at_once(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    play = Play(settings=file)
    play.run(*BEGIN, *keys("escape down down return down right down right right"), *[NOTHING] * 3)
    assert play.renderer.integer_scale and play.renderer.interpolation is Interpolation.MOTION
    assert (file.current.is_whole_scale, file.current.between) == (True, "motion")
    assert any("blended" in text for text in play.said), "the fake renderer has no motion interpolation"
