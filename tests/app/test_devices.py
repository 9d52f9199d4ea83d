"""pygame events, as a window would give them, to inputs and commands."""

from __future__ import annotations

import pygame
import pytest

from worldsim.actions.bindings import BINDINGS, MOUSE_X, SPARE_KEYS, Command, OwnKeys, offered, rebound
from worldsim.app.devices import Devices, key_name, scancode
from worldsim.core.types import NO_ACTION, Action, ActionSpec
from worldsim.engine.inputs import Inputs


class Desk:
    """Devices with their inputs, and what they asked the mouse to do."""

    def __init__(self) -> None:
        self.inputs = Inputs(BINDINGS)
        self.captures: list[bool] = []
        self.devices = Devices(self.inputs, self.captures.append)

    def key(self, name: str, *, down: bool = True, mod: int = 0) -> list[tuple[Command, int]]:
        kind = pygame.KEYDOWN if down else pygame.KEYUP
        return self.devices.handle([pygame.event.Event(kind, scancode=scancode(name), mod=mod)])

    def event(self, kind: int, **values: object) -> list[tuple[Command, int]]:
        return self.devices.handle([pygame.event.Event(kind, **values)])


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_every_key_of_the_table_has_a_scancode_of_its_own() -> None:
    keys = {*SPARE_KEYS, *(key for row in BINDINGS for key in row.keys)} - {MOUSE_X}
    assert len({scancode(key) for key in keys}) == len(keys)


def test_every_key_of_the_table_is_heard_under_its_own_name() -> None:
    keys = {*SPARE_KEYS, *(key for row in BINDINGS for key in row.keys)} - {MOUSE_X}
    assert {key_name(scancode(key)) for key in keys} == keys
    assert key_name(0) is None


def test_commands_follow_a_persons_own_keys(desk: Desk) -> None:
    desk.devices.bind(rebound((OwnKeys(name="reset", keys=("f8",)), OwnKeys(name="quit", keys=("w",)))))
    assert desk.key("f8") == [(Command.RESET, 0)]
    assert desk.key("r") == []
    ctrl_w = pygame.event.Event(pygame.KEYDOWN, scancode=scancode("w"), mod=pygame.KMOD_LCTRL)
    assert desk.devices.asks_to_quit(ctrl_w)
    assert not desk.devices.asks_to_quit(pygame.event.Event(pygame.KEYDOWN, scancode=scancode("q"), mod=0))


def test_a_spare_key_is_heard(desk: Desk) -> None:
    desk.inputs.bindings = offered(ActionSpec(buttons=("jump",)))
    desk.key(SPARE_KEYS[0])
    assert desk.inputs.sample() == Action.of("jump")


def test_a_held_key_is_held_until_it_is_up(desk: Desk) -> None:
    desk.key("w")
    desk.inputs.sample()
    assert desk.inputs.sample() == Action.of("forward")
    desk.key("w", down=False)
    assert desk.inputs.sample() == NO_ACTION


@pytest.mark.parametrize(
    ("key", "request_"), [("r", (Command.RESET, 0)), ("4", (Command.NUM_STEPS, 8)), ("f1", (Command.HELP, 0))]
)
def test_a_command_key_gives_its_command(desk: Desk, key: str, request_: tuple[Command, int]) -> None:
    assert desk.key(key) == [request_]
    assert desk.inputs.sample() == NO_ACTION


def test_ctrl_q_quits_and_q_alone_turns(desk: Desk) -> None:
    assert desk.key("q", mod=pygame.KMOD_LCTRL) == [(Command.QUIT, 0)]
    assert desk.inputs.sample() == NO_ACTION
    assert desk.key("q") == []
    assert desk.inputs.sample() == Action.of(turn=1.0)


def test_ctrl_with_a_game_key_is_not_play(desk: Desk) -> None:
    desk.key("w", mod=pygame.KMOD_RCTRL)
    assert desk.inputs.sample() == NO_ACTION


def test_closing_the_window_quits(desk: Desk) -> None:
    assert desk.event(pygame.QUIT) == [(Command.QUIT, 0)]


def test_the_mouse_turns_only_after_a_click_captured_it(desk: Desk) -> None:
    desk.event(pygame.MOUSEMOTION, rel=(30, 0))
    assert desk.inputs.sample() == NO_ACTION
    desk.event(pygame.MOUSEBUTTONDOWN, button=pygame.BUTTON_LEFT)
    desk.event(pygame.MOUSEMOTION, rel=(30, 5))
    assert desk.inputs.sample().axis("turn") == pytest.approx(-0.5)
    assert desk.devices.free_mouse()
    assert not desk.devices.free_mouse()
    assert desk.captures == [True, False]


def test_losing_the_focus_lets_keys_and_mouse_go(desk: Desk) -> None:
    desk.event(pygame.MOUSEBUTTONDOWN, button=pygame.BUTTON_LEFT)
    desk.key("w")
    desk.event(pygame.WINDOWFOCUSLOST)
    assert desk.inputs.sample() == NO_ACTION
    assert desk.captures == [True, False]


def test_a_key_of_no_row_does_nothing(desk: Desk) -> None:
    assert desk.event(pygame.KEYDOWN, scancode=pygame.KSCAN_Z, mod=0) == []


def test_a_key_that_is_held_for_a_command_gives_it_down_and_up(desk: Desk) -> None:
    assert desk.key("backspace") == [(Command.REWIND, 1)]
    assert desk.key("backspace", down=False) == [(Command.REWIND, 0)]
    assert desk.key("backspace", down=False) == []


def test_losing_the_focus_lets_a_held_command_go_once(desk: Desk) -> None:
    desk.key("backspace")
    assert desk.event(pygame.WINDOWFOCUSLOST) == [(Command.REWIND, 0)]
    assert desk.key("backspace", down=False) == []
