"""Actions are values: canonical, hashable, checked against the world's inputs."""

from __future__ import annotations

import pytest

from worldsim.core.errors import ConfigError
from worldsim.core.types import NO_ACTION, Action, ActionSpec

SPEC = ActionSpec(buttons=("forward", "back"), axes=("turn",))


def test_the_same_input_written_differently_is_the_same_action() -> None:
    left = Action(buttons=frozenset({"back", "forward"}), axes=(("turn", 0.5), ("tilt", 0.0)))
    right = Action.of("forward", "back", turn=0.5)
    assert left == right
    assert hash(left) == hash(right)


def test_an_axis_at_rest_is_no_input() -> None:
    assert Action.of(turn=0.0) == NO_ACTION
    assert NO_ACTION.axis("turn") == 0.0


def test_an_axis_beyond_its_range_is_a_programmers_mistake() -> None:
    with pytest.raises(AssertionError, match=r"axis turn is 1\.5"):
        Action.of(turn=1.5)


def test_json_holds_the_whole_action() -> None:
    action = Action.of("forward", turn=-0.25)
    assert Action.from_json(action.to_json()) == action


def test_a_spec_names_every_input_once() -> None:
    with pytest.raises(ConfigError, match="names an input twice"):
        ActionSpec(buttons=("turn",), axes=("turn",))


def test_an_unknown_input_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        SPEC.check(Action.of("forwards"))
    assert caught.value.hint == "did you mean 'forward'?"


def test_the_size_counts_buttons_and_axes() -> None:
    assert SPEC.size == 3
