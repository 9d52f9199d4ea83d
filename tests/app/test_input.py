"""pygame events to inputs and commands."""

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
from worldsim.app.input import InputHandler, gamepad_axes, gamepad_buttons, key_name, scancode
from worldsim.core.types import NO_ACTION, Action, ActionSpec
from worldsim.engine.inputs import Inputs

KEYS = {*SPARE_KEYS, *SPARE_PAD_BUTTONS, *SPARE_PAD_AXES, *(key for row in BINDINGS for key in row.keys)} - {MOUSE_X}
PAD_KEYS = {key for key in KEYS if key.startswith(PAD)}
KEYBOARD = KEYS - PAD_KEYS


class Harness:
    """An InputHandler with its inputs, and the mouse capture calls."""

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
def harness() -> Harness:
    return Harness()


def test_every_bound_key_has_a_unique_scancode() -> None:
    assert len({scancode(key) for key in KEYBOARD}) == len(KEYBOARD)


def test_key_name_inverts_scancode() -> None:
    assert {key_name(scancode(key)) for key in KEYBOARD} == KEYBOARD
    assert key_name(0) is None


def test_commands_follow_key_overrides(harness: Harness) -> None:
    harness.handler.bind(
        apply_overrides((KeyOverride(name="reset", keys=("f8",)), KeyOverride(name="quit", keys=("w",))))
    )
    assert harness.key("f8") == [(Command.RESET, 0)]
    assert harness.key("r") == []
    ctrl_w = pygame.event.Event(pygame.KEYDOWN, scancode=scancode("w"), mod=pygame.KMOD_LCTRL)
    assert harness.handler.is_quit_event(ctrl_w)
    assert not harness.handler.is_quit_event(pygame.event.Event(pygame.KEYDOWN, scancode=scancode("q"), mod=0))


def test_spare_key_works(harness: Harness) -> None:
    harness.inputs.bindings = available_bindings(ActionSpec(buttons=("jump",)))
    harness.key(SPARE_KEYS[0])
    assert harness.inputs.sample() == Action.of("jump")


def test_key_is_held_until_released(harness: Harness) -> None:
    harness.key("w")
    harness.inputs.sample()
    assert harness.inputs.sample() == Action.of("forward")
    harness.key("w", down=False)
    assert harness.inputs.sample() == NO_ACTION


@pytest.mark.parametrize(
    ("key", "request_"), [("r", (Command.RESET, 0)), ("4", (Command.NUM_STEPS, 8)), ("f1", (Command.HELP, 0))]
)
def test_command_key_returns_its_command(harness: Harness, key: str, request_: tuple[Command, int]) -> None:
    assert harness.key(key) == [request_]
    assert harness.inputs.sample() == NO_ACTION


def test_ctrl_q_quits_and_q_turns(harness: Harness) -> None:
    assert harness.key("q", mod=pygame.KMOD_LCTRL) == [(Command.QUIT, 0)]
    assert harness.inputs.sample() == NO_ACTION
    assert harness.key("q") == []
    assert harness.inputs.sample() == Action.of(turn=1.0)


def test_ctrl_with_a_game_key_is_ignored(harness: Harness) -> None:
    harness.key("w", mod=pygame.KMOD_RCTRL)
    assert harness.inputs.sample() == NO_ACTION


def test_window_close_quits(harness: Harness) -> None:
    assert harness.event(pygame.QUIT) == [(Command.QUIT, 0)]


def test_mouse_turns_only_after_a_click_captures_it(harness: Harness) -> None:
    harness.event(pygame.MOUSEMOTION, rel=(30, 0))
    assert harness.inputs.sample() == NO_ACTION
    harness.event(pygame.MOUSEBUTTONDOWN, button=pygame.BUTTON_LEFT)
    harness.event(pygame.MOUSEMOTION, rel=(30, 5))
    assert harness.inputs.sample().axis("turn") == pytest.approx(-0.5)
    assert harness.handler.free_mouse()
    assert not harness.handler.free_mouse()
    assert harness.captures == [True, False]


def test_focus_loss_releases_keys_and_mouse(harness: Harness) -> None:
    harness.event(pygame.MOUSEBUTTONDOWN, button=pygame.BUTTON_LEFT)
    harness.key("w")
    harness.event(pygame.WINDOWFOCUSLOST)
    assert harness.inputs.sample() == NO_ACTION
    assert harness.captures == [True, False]


def test_unbound_key_does_nothing(harness: Harness) -> None:
    assert harness.event(pygame.KEYDOWN, scancode=pygame.KSCAN_Z, mod=0) == []


def test_hold_command_is_issued_on_press_and_release(harness: Harness) -> None:
    assert harness.key("backspace") == [(Command.REWIND, 1)]
    assert harness.key("backspace", down=False) == [(Command.REWIND, 0)]
    assert harness.key("backspace", down=False) == []


def test_focus_loss_ends_a_held_command_once(harness: Harness) -> None:
    harness.key("backspace")
    assert harness.event(pygame.WINDOWFOCUSLOST) == [(Command.REWIND, 0)]
    assert harness.key("backspace", down=False) == []


def test_every_bound_gamepad_key_exists_in_sdl() -> None:
    axes = {f"{axis}{direction}" for axis in gamepad_axes().values() for direction in "-+"}
    assert PAD_KEYS and not PAD_KEYS - axes - set(gamepad_buttons().values())


def test_gamepad_buttons_act_as_keys(harness: Harness) -> None:
    assert harness.pad(pygame.CONTROLLER_BUTTON_Y) == [(Command.RESET, 0)]
    assert harness.pad(pygame.CONTROLLER_BUTTON_Y, down=False) == []
    harness.inputs.bindings = available_bindings(ActionSpec(buttons=("jump",)))
    harness.pad(pygame.CONTROLLER_BUTTON_A)
    harness.pad(pygame.CONTROLLER_BUTTON_A, down=False)
    assert harness.inputs.sample() == Action.of("jump"), "a tap between two ticks"
    assert harness.inputs.sample() == NO_ACTION


def test_stick_turns_in_proportion_beyond_the_dead_zone(harness: Harness) -> None:
    harness.handler.bind(BINDINGS, dead_zone=0.2)
    turns = []
    for place in (0.0, 0.19, 0.6, 1.0, -0.6, -1.0, -0.1):
        harness.stick(pygame.CONTROLLER_AXIS_RIGHTX, place)
        harness.inputs.sample()  # a tap on the way counts for one tick
        turns.append(harness.inputs.sample().axis("turn"))
    assert turns == [0.0, 0.0, -0.5, -1.0, 0.5, 1.0, 0.0]


def test_stick_jitter_gives_one_action(harness: Harness) -> None:
    actions = set()
    for place in (0.6, 0.605, 0.61, 0.598):
        harness.stick(pygame.CONTROLLER_AXIS_RIGHTX, place)
        actions.add(harness.inputs.sample())
    assert len(actions) == 1


def test_stick_presses_buttons_beyond_half_deflection(harness: Harness) -> None:
    harness.stick(pygame.CONTROLLER_AXIS_LEFTY, -0.4)
    assert harness.inputs.sample() == NO_ACTION
    harness.stick(pygame.CONTROLLER_AXIS_LEFTY, -0.8)
    harness.stick(pygame.CONTROLLER_AXIS_LEFTX, -0.8)
    assert harness.inputs.sample() == Action.of("forward", "left")


def test_trigger_issues_a_hold_command_on_press_and_release(harness: Harness) -> None:
    places = (0.3, 0.7, 0.45, 0.55, 0.9, 0.2, 0.0)  # no flutter at the threshold
    requests = [harness.stick(pygame.CONTROLLER_AXIS_TRIGGERLEFT, place) for place in places]
    assert requests == [[], [(Command.REWIND, 1)], [], [], [], [(Command.REWIND, 0)], []]


def test_unplugging_releases_held_keys(harness: Harness) -> None:
    harness.stick(pygame.CONTROLLER_AXIS_LEFTY, -1.0)
    harness.stick(pygame.CONTROLLER_AXIS_RIGHTX, 1.0, pad=8)
    harness.stick(pygame.CONTROLLER_AXIS_TRIGGERLEFT, 1.0)
    assert harness.inputs.sample() == Action.of("forward", turn=-1.0)
    assert harness.event(pygame.CONTROLLERDEVICEREMOVED, instance_id=7) == [(Command.REWIND, 0)]
    assert harness.inputs.sample() == Action.of(turn=-1.0), "the other gamepad still counts"


def test_stick_held_through_focus_loss_counts_again_when_it_moves(harness: Harness) -> None:
    harness.stick(pygame.CONTROLLER_AXIS_LEFTY, -1.0)
    harness.event(pygame.WINDOWFOCUSLOST)
    assert harness.inputs.sample() == NO_ACTION
    harness.stick(pygame.CONTROLLER_AXIS_LEFTY, -0.999)
    assert harness.inputs.sample() == Action.of("forward")


def test_key_held_when_focus_returns_is_held_again(harness: Harness) -> None:
    """SDL forgets held keys on focus loss; key repeat then presses them again."""
    harness.key("w")
    harness.event(pygame.WINDOWFOCUSLOST)
    harness.key("w", down=False)
    harness.event(pygame.WINDOWFOCUSGAINED)
    assert harness.inputs.sample() == NO_ACTION
    harness.key("w")
    harness.inputs.sample()
    assert harness.inputs.sample() == Action.of("forward")


def test_gamepad_button_can_be_a_key_override(harness: Harness) -> None:
    rows = apply_overrides(
        (KeyOverride(name="forward", keys=("pad_b",)), KeyOverride(name="quit", keys=("q", "pad_guide")))
    )
    harness.handler.bind(rows)
    harness.inputs.bindings = rows
    harness.pad(pygame.CONTROLLER_BUTTON_B)
    assert harness.inputs.sample() == Action.of("forward")
    assert harness.pad(pygame.CONTROLLER_BUTTON_GUIDE) == [], "a gamepad has no Ctrl"
