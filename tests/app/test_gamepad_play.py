"""Play with a gamepad only: walking, rewinding, the menu, key bindings."""

from __future__ import annotations

from pathlib import Path

import pygame

from tests.app.test_application import NOTHING, Play, down, keys
from worldsim.app.application import ExitAction
from worldsim.app.settings import SettingsFile
from worldsim.core.types import NO_ACTION
from worldsim.engine.session import SessionState


def button(number: int, *, is_down: bool = True) -> pygame.event.Event:
    kind = pygame.CONTROLLERBUTTONDOWN if is_down else pygame.CONTROLLERBUTTONUP
    return pygame.event.Event(kind, instance_id=0, button=number)


def push(*numbers: int) -> list[list[pygame.event.Event]]:
    """One `wait` per button press and release."""
    return [[button(number), button(number, is_down=False)] for number in numbers]


def lean(axis: int, place: float) -> list[pygame.event.Event]:
    return [pygame.event.Event(pygame.CONTROLLERAXISMOTION, instance_id=0, axis=axis, value=round(place * 32767))]


def actions(play: Play) -> list[tuple[float, ...]]:
    """The distinct encoded actions in play order: forward, back, left, right, turn."""
    assert play.session.history is not None and play.session.history.head is not None
    return [run.action for run in play.session.history.head.runs()]


def test_sticks_walk_and_turn_until_unplugged() -> None:
    play = Play()
    pulled = [pygame.event.Event(pygame.CONTROLLERDEVICEREMOVED, instance_id=0)]
    walk, turn = lean(pygame.CONTROLLER_AXIS_LEFTY, -1.0), lean(pygame.CONTROLLER_AXIS_RIGHTX, -0.6)
    play.run(*[NOTHING] * 6, walk + turn, *[NOTHING] * 6, pulled, *[NOTHING] * 4)
    first, moved, last = actions(play)
    assert first == last == (0.0,) * 5
    assert moved[:4] == (1.0, 0.0, 0.0, 0.0) and 0.4 < moved[4] < 0.6


def test_trigger_rewinds_while_held() -> None:
    play = Play()
    states = []
    play.window._meanwhile = lambda: (play._model(), states.append(play.session.state))  # type: ignore[assignment, return-value]
    trigger = pygame.CONTROLLER_AXIS_TRIGGERLEFT
    play.run(*[NOTHING] * 10, lean(trigger, 1.0), *[NOTHING] * 5, lean(trigger, 0.0), *[NOTHING] * 5)
    assert SessionState.REWINDING in states and states[-1] is not SessionState.REWINDING


def test_gamepad_start_opens_the_menu_and_leads_to_the_title_screen(tmp_path: Path) -> None:
    play = Play(settings=SettingsFile(tmp_path / "settings.json"))
    up, a = pygame.CONTROLLER_BUTTON_DPAD_UP, pygame.CONTROLLER_BUTTON_A
    play.run(*[NOTHING] * 10, *push(pygame.CONTROLLER_BUTTON_START), NOTHING, *push(up, up, a), NOTHING)
    assert play.application.exit_action is ExitAction.TITLE


def test_gamepad_b_returns_to_play() -> None:
    play = Play()
    play.run(*[NOTHING] * 10, *push(pygame.CONTROLLER_BUTTON_START, pygame.CONTROLLER_BUTTON_B), NOTHING)
    assert play.session.state is SessionState.PLAYING


def test_help_lists_gamepad_keys_once_one_is_used() -> None:
    play = Play()
    play.run(*[NOTHING] * 10, *keys("f1"), NOTHING)
    assert "Left stick up" not in play.renderer.text
    play = Play()
    play.run(*[NOTHING] * 10, lean(pygame.CONTROLLER_AXIS_LEFTX, 0.1), *keys("f1"), NOTHING)
    assert "W / Up / Left stick up" in play.renderer.text


def test_gamepad_button_can_be_bound_and_works_immediately(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    play = Play(settings=file)
    # Settings; last row: key bindings; walk forward; add key; A; and back.
    more = keys("escape down down return up return return down down down return")
    jump = pygame.CONTROLLER_BUTTON_A
    play.run(*[NOTHING] * 10, *more, *push(jump), *keys("escape escape escape escape"), [button(jump)], *[NOTHING] * 4)
    (own,) = file.current.key_overrides
    assert own.keys == ("w", "up", "pad_lefty-", "pad_a")
    assert (1.0, 0.0, 0.0, 0.0, 0.0) in actions(play)


def test_key_released_in_the_menu_is_released() -> None:
    play = Play()
    up = [pygame.event.Event(pygame.KEYUP, scancode=pygame.KSCAN_W, mod=0)]
    play.run(*[NOTHING] * 6, [down("w")], *keys("escape"), up, *keys("escape"), *[NOTHING] * 4)
    assert play.session.inputs.expected() == NO_ACTION
