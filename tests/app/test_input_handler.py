"""pygame events, as a window would give them, to inputs and commands."""

from __future__ import annotations

import pygame
import pytest

from worldsim.actions.bindings import (
    BINDINGS,
    MOUSE_X,
    PAD,
    SPARE_KEYS,
    SPARE_PAD_AXES,
    SPARE_PAD_BUTTONS,
    Command,
    KeyOverride,
    apply_overrides,
    available_bindings,
)
from worldsim.app.gamepad import gamepad_axes, gamepad_buttons
from worldsim.app.input_handler import InputHandler, key_name, scancode
from worldsim.core.types import NO_ACTION, Action, ActionSpec
from worldsim.engine.inputs import Inputs

KEYS = {*SPARE_KEYS, *SPARE_PAD_BUTTONS, *SPARE_PAD_AXES, *(key for row in BINDINGS for key in row.keys)} - {MOUSE_X}
PAD_KEYS = {key for key in KEYS if key.startswith(PAD)}
KEYBOARD = KEYS - PAD_KEYS


class Desk:
    """InputHandler with their inputs, and what they asked the mouse to do."""

    def __init__(self) -> None:
        self.inputs = Inputs(BINDINGS)
        self.captures: list[bool] = []
        self.handler = InputHandler(self.inputs, self.captures.append)

    def key(self, name: str, *, down: bool = True, mod: int = 0) -> list[tuple[Command, int]]:
        kind = pygame.KEYDOWN if down else pygame.KEYUP
        return self.handler.handle([pygame.event.Event(kind, scancode=scancode(name), mod=mod)])

    def event(self, kind: int, **values: object) -> list[tuple[Command, int]]:
        return self.handler.handle([pygame.event.Event(kind, **values)])

    def pad(self, button: int, *, down: bool = True) -> list[tuple[Command, int]]:
        kind = pygame.CONTROLLERBUTTONDOWN if down else pygame.CONTROLLERBUTTONUP
        return self.event(kind, instance_id=7, button=button)

    def stick(self, axis: int, place: float, pad: int = 7) -> list[tuple[Command, int]]:
        return self.event(pygame.CONTROLLERAXISMOTION, instance_id=pad, axis=axis, value=round(place * 32767))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_every_key_of_the_table_has_a_scancode_of_its_own() -> None:
    assert len({scancode(key) for key in KEYBOARD}) == len(KEYBOARD)


def test_every_key_of_the_table_is_heard_under_its_own_name() -> None:
    assert {key_name(scancode(key)) for key in KEYBOARD} == KEYBOARD
    assert key_name(0) is None


def test_commands_follow_a_persons_own_keys(desk: Desk) -> None:
    desk.handler.bind(apply_overrides((KeyOverride(name="reset", keys=("f8",)), KeyOverride(name="quit", keys=("w",)))))
    assert desk.key("f8") == [(Command.RESET, 0)]
    assert desk.key("r") == []
    ctrl_w = pygame.event.Event(pygame.KEYDOWN, scancode=scancode("w"), mod=pygame.KMOD_LCTRL)
    assert desk.handler.is_quit_event(ctrl_w)
    assert not desk.handler.is_quit_event(pygame.event.Event(pygame.KEYDOWN, scancode=scancode("q"), mod=0))


def test_a_spare_key_is_heard(desk: Desk) -> None:
    desk.inputs.bindings = available_bindings(ActionSpec(buttons=("jump",)))
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
    assert desk.handler.free_mouse()
    assert not desk.handler.free_mouse()
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


def test_every_key_of_the_table_that_is_a_gamepads_is_one_of_sdls() -> None:
    axes = {f"{axis}{direction}" for axis in gamepad_axes().values() for direction in "-+"}
    assert PAD_KEYS and not PAD_KEYS - axes - set(gamepad_buttons().values())


def test_a_gamepads_buttons_are_keys_of_the_table(desk: Desk) -> None:
    assert desk.pad(pygame.CONTROLLER_BUTTON_Y) == [(Command.RESET, 0)]
    assert desk.pad(pygame.CONTROLLER_BUTTON_Y, down=False) == []
    desk.inputs.bindings = available_bindings(ActionSpec(buttons=("jump",)))
    desk.pad(pygame.CONTROLLER_BUTTON_A)
    desk.pad(pygame.CONTROLLER_BUTTON_A, down=False)
    assert desk.inputs.sample() == Action.of("jump"), "a tap between two ticks"
    assert desk.inputs.sample() == NO_ACTION


def test_a_stick_turns_as_far_as_it_is_moved_beyond_the_dead_zone(desk: Desk) -> None:
    desk.handler.bind(BINDINGS, dead_zone=0.2)
    turns = []
    for place in (0.0, 0.19, 0.6, 1.0, -0.6, -1.0, -0.1):
        desk.stick(pygame.CONTROLLER_AXIS_RIGHTX, place)
        desk.inputs.sample()  # what was tapped on the way counts for one tick
        turns.append(desk.inputs.sample().axis("turn"))
    assert turns == [0.0, 0.0, -0.5, -1.0, 0.5, 1.0, 0.0]


def test_a_trembling_hand_gives_one_action(desk: Desk) -> None:
    actions = set()
    for place in (0.6, 0.605, 0.61, 0.598):
        desk.stick(pygame.CONTROLLER_AXIS_RIGHTX, place)
        actions.add(desk.inputs.sample())
    assert len(actions) == 1


def test_a_stick_walks_from_the_middle_of_its_way_on(desk: Desk) -> None:
    desk.stick(pygame.CONTROLLER_AXIS_LEFTY, -0.4)
    assert desk.inputs.sample() == NO_ACTION
    desk.stick(pygame.CONTROLLER_AXIS_LEFTY, -0.8)
    desk.stick(pygame.CONTROLLER_AXIS_LEFTX, -0.8)
    assert desk.inputs.sample() == Action.of("forward", "left")


def test_a_trigger_gives_a_held_command_once_down_and_once_up(desk: Desk) -> None:
    places = (0.3, 0.7, 0.45, 0.55, 0.9, 0.2, 0.0)  # at the edge it does not flutter
    told = [desk.stick(pygame.CONTROLLER_AXIS_TRIGGERLEFT, place) for place in places]
    assert told == [[], [(Command.REWIND, 1)], [], [], [], [(Command.REWIND, 0)], []]


def test_a_pad_that_is_pulled_out_lets_go_what_it_held(desk: Desk) -> None:
    desk.stick(pygame.CONTROLLER_AXIS_LEFTY, -1.0)
    desk.stick(pygame.CONTROLLER_AXIS_RIGHTX, 1.0, pad=8)
    desk.stick(pygame.CONTROLLER_AXIS_TRIGGERLEFT, 1.0)
    assert desk.inputs.sample() == Action.of("forward", turn=-1.0)
    assert desk.event(pygame.CONTROLLERDEVICEREMOVED, instance_id=7) == [(Command.REWIND, 0)]
    assert desk.inputs.sample() == Action.of(turn=-1.0), "the other one is there still"


def test_a_stick_that_is_held_through_a_loss_of_focus_counts_again_when_it_trembles(desk: Desk) -> None:
    desk.stick(pygame.CONTROLLER_AXIS_LEFTY, -1.0)
    desk.event(pygame.WINDOWFOCUSLOST)
    assert desk.inputs.sample() == NO_ACTION
    desk.stick(pygame.CONTROLLER_AXIS_LEFTY, -0.999)
    assert desk.inputs.sample() == Action.of("forward")


def test_a_key_that_is_held_when_the_focus_comes_back_is_held_again(desk: Desk) -> None:
    """SDL forgets held keys with the focus, and the keyboard's repetition then presses them anew."""
    desk.key("w")
    desk.event(pygame.WINDOWFOCUSLOST)
    desk.key("w", down=False)
    desk.event(pygame.WINDOWFOCUSGAINED)
    assert desk.inputs.sample() == NO_ACTION
    desk.key("w")
    desk.inputs.sample()
    assert desk.inputs.sample() == Action.of("forward")


def test_a_pads_button_can_be_a_row_s_own_key(desk: Desk) -> None:
    rows = apply_overrides(
        (KeyOverride(name="forward", keys=("pad_b",)), KeyOverride(name="quit", keys=("q", "pad_guide")))
    )
    desk.handler.bind(rows)
    desk.inputs.bindings = rows
    desk.pad(pygame.CONTROLLER_BUTTON_B)
    assert desk.inputs.sample() == Action.of("forward")
    assert desk.pad(pygame.CONTROLLER_BUTTON_GUIDE) == [], "there is no Ctrl on a pad"
