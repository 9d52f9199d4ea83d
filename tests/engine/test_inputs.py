"""The action that results from keys and mouse in one tick."""

from __future__ import annotations

import pytest

from worldsim.actions.bindings import BINDINGS
from worldsim.core.types import NO_ACTION, Action
from worldsim.engine.inputs import Inputs


@pytest.fixture
def inputs() -> Inputs:
    return Inputs(BINDINGS)


def test_mouse_motion_accumulates_within_a_tick_only(inputs: Inputs) -> None:
    inputs.move_mouse(-10)
    inputs.move_mouse(-20)
    assert inputs.sample().axis("turn") == pytest.approx(0.5)
    assert inputs.sample() == NO_ACTION


def test_motion_beyond_the_axis_range_is_clipped_not_carried_over(inputs: Inputs) -> None:
    inputs.move_mouse(10_000)
    assert inputs.sample().axis("turn") == -1.0
    assert inputs.sample() == NO_ACTION


def test_opposite_turns_cancel_out(inputs: Inputs) -> None:
    inputs.press("left")
    inputs.press("right")
    assert inputs.sample() == NO_ACTION


def test_button_bound_to_two_keys_is_held_until_both_are_released(inputs: Inputs) -> None:
    inputs.press("w")
    inputs.press("up")
    inputs.release("w")
    inputs.sample()
    assert inputs.sample() == Action.of("forward")


def test_losing_focus_releases_everything(inputs: Inputs) -> None:
    inputs.press("w")
    inputs.move_mouse(5)
    inputs.release_all()
    assert inputs.sample() == NO_ACTION


def test_next_action_is_predicted_from_held_keys(inputs: Inputs) -> None:
    inputs.press("w")
    assert inputs.expected() == Action.of("forward")
    assert inputs.sample() == Action.of("forward")


def test_no_prediction_until_the_mouse_has_rested_for_a_tick(inputs: Inputs) -> None:
    inputs.move_mouse(3)
    assert inputs.expected() is None
    inputs.sample()
    assert inputs.expected() is None
    inputs.sample()
    assert inputs.expected() == NO_ACTION


def test_analog_key_moves_an_axis_proportionally(inputs: Inputs) -> None:
    inputs.press("right", 0.25)
    assert inputs.expected() == inputs.sample() == Action.of(turn=-0.25)
    inputs.press("e")
    assert inputs.sample().axis("turn") == -1.0, "the key of the row that is pressed further counts"
    inputs.release("e")
    inputs.release("right")
    assert inputs.sample() == NO_ACTION


def test_analog_key_below_the_threshold_holds_no_button(inputs: Inputs) -> None:
    inputs.press("w", 0.4)
    assert inputs.sample() == NO_ACTION
    inputs.press("w", 0.6)
    assert inputs.sample() == Action.of("forward")


def test_largest_value_of_an_analog_tap_counts(inputs: Inputs) -> None:
    for share in (0.5, 1.0, 0.25):
        inputs.press("left", share)
    inputs.release("left")
    assert inputs.sample() == Action.of(turn=1.0)
    assert inputs.sample() == NO_ACTION


def test_unbound_keys_do_nothing() -> None:
    inputs = Inputs(())
    inputs.press("w")
    inputs.move_mouse(10)
    assert inputs.sample() == NO_ACTION
