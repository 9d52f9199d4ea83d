"""Action <-> vector: one place per input, in the spec's order, and back."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.actions.encoding import decode_action, encode_action
from worldsim.core.errors import ConfigError
from worldsim.core.types import NO_ACTION, Action, ActionSpec

SPEC = ActionSpec(buttons=("forward", "back", "left"), axes=("turn", "tilt"))


def test_the_vector_follows_the_order_of_the_spec() -> None:
    vector = encode_action(SPEC, Action.of("left", "forward", tilt=-0.5))
    assert vector.dtype == np.float32
    assert vector.tolist() == [1.0, 0.0, 1.0, 0.0, -0.5]


def test_no_action_is_the_zero_vector() -> None:
    assert not encode_action(SPEC, NO_ACTION).any()


@pytest.mark.parametrize(
    "action", [NO_ACTION, Action.of("back"), Action.of("forward", "left", turn=1.0, tilt=-0.125)], ids=str
)
def test_decoding_undoes_encoding(action: Action) -> None:
    assert decode_action(SPEC, encode_action(SPEC, action)) == action


def test_an_input_that_the_world_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown input 'jump'"):
        encode_action(SPEC, Action.of("jump"))


def test_a_vector_of_another_length_is_a_programmers_mistake() -> None:
    with pytest.raises(AssertionError, match=r"expected \(5,\)"):
        decode_action(SPEC, np.zeros(4, dtype=np.float32))
