"""Time control in the loop: from key events to the text on screen; branch and slot lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pygame
import pytest

from tests.app.test_application import NOTHING, Play, down
from tests.app.test_recording_control import HEADER, recorded_play, shown_text
from tests.engine.fakes import SPEC, FakeSimulator
from worldsim.app.hud import PanelRow, Style
from worldsim.app.input import scancode
from worldsim.app.overlays import MAX_BRANCHES, branch_rows, slot_rows
from worldsim.core.types import Action, Step
from worldsim.engine.history import PlayHistory, replay_to
from worldsim.engine.interfaces import Position
from worldsim.engine.saves import SaveRecord, SaveSlot
from worldsim.engine.session import SessionState

PLAYING = [NOTHING] * 60


def up(key: str) -> pygame.event.Event:
    return pygame.event.Event(pygame.KEYUP, scancode=scancode(key), mod=0)


def played(num_frames: int) -> tuple[FakeSimulator, PlayHistory]:
    world = FakeSimulator()
    history = PlayHistory(spec=SPEC, snapshot_bytes=100)
    step = world.reset(4)
    history.begin(Position(step=step, snapshot=world.snapshot(), seed=4))
    for _ in range(num_frames):
        history.add(world.step(Action()), world.snapshot())
    return world, history


def test_backspace_rewinds_while_held_and_shows_it() -> None:
    play = Play()
    play.run(*PLAYING, [down("backspace")], *[NOTHING] * 10)
    assert play.session.state is SessionState.REWINDING
    assert "Rewinding: " in shown_text(play)
    assert np.array_equal(play.renderer.frames[-1], play.session.shown_step.frame)  # type: ignore[union-attr]  # there is one
    shown = [frame.tobytes() for frame in play.renderer.frames]
    assert shown[-1] in shown[:-2], "an earlier frame is shown again"


def test_releasing_rewind_resumes_and_rewound_frames_are_not_counted() -> None:
    play = Play()
    report = play.run(*PLAYING, [down("backspace")], *[NOTHING] * 10, [up("backspace")], *PLAYING)
    assert play.session.state is SessionState.PLAYING
    assert "Branch 2" in shown_text(play)
    assert report.frames_shown <= report.hits + report.misses
    assert len(play.renderer.frames) > report.frames_shown + 5


def test_focus_loss_ends_rewinding() -> None:
    play = Play()
    play.run(*PLAYING, [down("backspace")], *[NOTHING] * 5, [pygame.event.Event(pygame.WINDOWFOCUSLOST)], *PLAYING)
    assert play.session.state is SessionState.PLAYING


def test_changed_speed_is_shown() -> None:
    play = Play()
    play.run(*PLAYING, [down("equals")], *PLAYING)
    assert "Speed 2x" in shown_text(play)
    play = Play()
    play.run(*PLAYING, [down("equals"), down("minus")], *PLAYING)
    assert "Speed" not in shown_text(play)


def test_tab_lists_branches_and_brackets_switch() -> None:
    play = Play()
    rewind = ([down("backspace")], *[NOTHING] * 10, [up("backspace")])
    play.run(*PLAYING, *rewind, *PLAYING, [down("tab")], *PLAYING, [down("leftbracket")], *[NOTHING] * 20)
    assert "> 1: seed 0 at 0:00" in shown_text(play)
    assert "2: from branch 1 at" in shown_text(play)
    play = Play()
    play.run(*PLAYING, [down("tab")], *PLAYING, [down("tab")], *PLAYING)
    assert "Branches" not in shown_text(play)


def test_world_without_saves_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    play = recorded_play(HEADER)
    play.run(*PLAYING, [down("f5")], *[NOTHING] * 5)
    assert "Saving is not available" in shown_text(play)
    assert play.logged.count("saving is not available in this world") == 1
    assert list(tmp_path.iterdir()) == []


def test_notification_expires() -> None:
    play = Play()
    play.run(*PLAYING, [down("rightbracket")], *[NOTHING] * 5)
    assert "Only one branch" in shown_text(play)
    play = Play()
    play.run(*PLAYING, [down("rightbracket")], *[NOTHING] * 200)
    assert "Only one branch" not in shown_text(play)
    assert "Branches" not in shown_text(play)


def test_f6_shows_slots_then_selects_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    play = recorded_play(HEADER)
    play.run(*PLAYING, [down("f6")], *[NOTHING] * 3, [down("f6")], *[NOTHING] * 3)
    assert "Slot 2 of 5" in shown_text(play)
    assert shown_text(play).count("empty") == 5


def test_slot_shows_image_time_and_seed_or_damage() -> None:
    frame = FakeSimulator().reset(0).frame
    saved = SaveRecord(header=HEADER, seed=3, step=Step(index=750, action=Action(), frame=frame), runs=())
    slots = (
        SaveSlot(number=1, path=Path("1"), saved=saved),
        SaveSlot(number=2, path=Path("2"), error="it is damaged"),
        SaveSlot(number=3, path=Path("3")),
    )
    _, first, second, third, _ = slot_rows(slots, 2, 0.1)
    assert first.left.endswith("1  1:15, seed 3") and first.image is not None
    assert (first.image.width_px, first.image.height_px, first.image.pixels) == (64, 48, frame.tobytes())
    assert second == PanelRow("> 2  damaged", style=Style.ERROR)
    assert third.left.endswith("3  empty")


def test_branch_is_indented_below_its_parent() -> None:
    world, history = played(20)
    for _ in range(2):
        moment = history.head
        assert moment is not None and moment.parent is not None
        history.move_to(moment.parent, replay_to(history.route(moment.parent), world).snapshot)
        for _ in range(2):
            history.add(world.step(Action.of("left")), world.snapshot())
    rows = [row.left for row in branch_rows(history, 1.0)]
    assert rows[1].strip() == "1: seed 4 at 0:00, length 0:20"
    assert "      2: from branch 1 at 0:20" in rows[2]
    assert rows[3].startswith(">       3: from branch 2 at 0:21")


def test_branches_near_the_current_one_are_listed() -> None:
    world, history = played(3)
    root = history.head
    assert root is not None
    for _ in range(30):
        history.move_to(root, world.snapshot())
        history.add(world.step(Action.of("left")), world.snapshot())
    rows = branch_rows(history, 1.0)
    assert len(rows) == MAX_BRANCHES + 2
    assert any(row.left.startswith("> ") for row in rows)
