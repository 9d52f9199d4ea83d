"""What is said of time control, and the keys of it in the loop: from key events to the screen's text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pygame
import pytest

from tests.app.test_application import NOTHING, Play, down
from tests.app.test_recording_control import HEADER, recorded_play, said
from tests.engine.fakes import SPEC, FakeSimulator
from worldsim.app.hud import PanelRow, Style
from worldsim.app.input_handler import scancode
from worldsim.app.timeline import MAX_BRANCHES, branch_rows, slot_rows
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


def test_backspace_rewinds_while_it_is_held_and_the_screen_says_so() -> None:
    play = Play()
    play.run(*PLAYING, [down("backspace")], *[NOTHING] * 10)
    assert play.session.state is SessionState.REWINDING
    assert "<< rewinding" in said(play)
    assert np.array_equal(play.renderer.frames[-1], play.session.shown_step.frame)  # type: ignore[union-attr]  # there is one
    shown = [frame.tobytes() for frame in play.renderer.frames]
    assert shown[-1] in shown[:-2], "an old frame is seen again"


def test_letting_it_go_plays_on_and_the_rewound_frames_do_not_count_as_made_or_shown() -> None:
    play = Play()
    report = play.run(*PLAYING, [down("backspace")], *[NOTHING] * 10, [up("backspace")], *PLAYING)
    assert play.session.state is SessionState.PLAYING
    assert "branch 2" in said(play)
    assert report.frames_shown <= report.hits + report.misses
    assert len(play.renderer.frames) > report.frames_shown + 5


def test_losing_the_focus_ends_rewinding() -> None:
    play = Play()
    play.run(*PLAYING, [down("backspace")], *[NOTHING] * 5, [pygame.event.Event(pygame.WINDOWFOCUSLOST)], *PLAYING)
    assert play.session.state is SessionState.PLAYING


def test_the_speed_is_said_while_it_is_not_the_worlds_own() -> None:
    play = Play()
    play.run(*PLAYING, [down("equals")], *PLAYING)
    assert "speed 2x" in said(play)
    play = Play()
    play.run(*PLAYING, [down("equals"), down("minus")], *PLAYING)
    assert "speed" not in said(play)


def test_tab_lists_the_branches_and_the_brackets_change_them() -> None:
    play = Play()
    rewind = ([down("backspace")], *[NOTHING] * 10, [up("backspace")])
    play.run(*PLAYING, *rewind, *PLAYING, [down("tab")], *PLAYING, [down("leftbracket")], *[NOTHING] * 20)
    assert "> 1: seed 0 at 0:00" in said(play)
    assert "2: left 1 at" in said(play)
    play = Play()
    play.run(*PLAYING, [down("tab")], *PLAYING, [down("tab")], *PLAYING)
    assert "Branches" not in said(play)


def test_a_world_without_saves_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    play = recorded_play(HEADER)
    play.run(*PLAYING, [down("f5")], *[NOTHING] * 5)
    assert "saving is not available" in said(play)
    assert play.said.count("saving is not available in this world") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_message_goes_away() -> None:
    play = Play()
    play.run(*PLAYING, [down("rightbracket")], *[NOTHING] * 5)
    assert "only one branch" in said(play)
    play = Play()
    play.run(*PLAYING, [down("rightbracket")], *[NOTHING] * 200)
    assert "only one branch" not in said(play)
    assert "Branches" not in said(play)


def test_f6_shows_the_slots_and_then_goes_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    play = recorded_play(HEADER)
    play.run(*PLAYING, [down("f6")], *[NOTHING] * 3, [down("f6")], *[NOTHING] * 3)
    assert "Slot 2 of 5" in said(play)
    assert said(play).count("empty") == 5


def test_a_slot_has_its_picture_its_time_and_its_seed_and_a_damaged_one_says_so() -> None:
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


def test_a_branch_stands_under_the_one_it_left() -> None:
    world, history = played(20)
    for _ in range(2):
        moment = history.head
        assert moment is not None and moment.parent is not None
        history.move_to(moment.parent, replay_to(history.route(moment.parent), world).snapshot)
        for _ in range(2):
            history.add(world.step(Action.of("left")), world.snapshot())
    rows = [row.left for row in branch_rows(history, 1.0)]
    assert rows[1].strip() == "1: seed 4 at 0:00, up to 0:20"
    assert "      2: left 1 at 0:20" in rows[2]
    assert rows[3].startswith(">       3: left 2 at 0:21")


def test_of_many_branches_those_round_the_present_one_are_listed() -> None:
    world, history = played(3)
    root = history.head
    assert root is not None
    for _ in range(30):
        history.move_to(root, world.snapshot())
        history.add(world.step(Action.of("left")), world.snapshot())
    rows = branch_rows(history, 1.0)
    assert len(rows) == MAX_BRANCHES + 2
    assert any(row.left.startswith("> ") for row in rows)
