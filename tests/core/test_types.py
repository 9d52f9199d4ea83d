"""Actions are values: canonical, hashable, checked against and encoded by a world's ActionSpec."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.core.errors import ConfigError
from worldsim.core.types import NO_ACTION, Action, ActionSpec

SPEC = ActionSpec(buttons=("forward", "back", "left"), axes=("turn", "tilt"))


def test_equal_input_written_differently_is_the_same_action() -> None:
    left = Action(buttons=frozenset({"back", "forward"}), axes=(("turn", 0.5), ("tilt", 0.0)))
    right = Action.of("forward", "back", turn=0.5)
    assert left == right
    assert hash(left) == hash(right)


def test_axis_at_zero_is_no_input() -> None:
    assert Action.of(turn=0.0) == NO_ACTION
    assert NO_ACTION.axis("turn") == 0.0


def test_axis_out_of_range_is_an_assertion() -> None:
    with pytest.raises(AssertionError, match=r"axis turn is 1\.5"):
        Action.of(turn=1.5)


def test_spec_rejects_duplicate_names() -> None:
    with pytest.raises(ConfigError, match="duplicate input name"):
        ActionSpec(buttons=("turn",), axes=("turn",))


def test_unknown_input_is_rejected_with_the_closest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        SPEC.check(Action.of("forwards"))
    assert caught.value.hint == "did you mean 'forward'?"


def test_size_counts_buttons_and_axes() -> None:
    assert SPEC.size == 5


def test_encoding_follows_the_order_of_the_spec() -> None:
    vector = SPEC.encode(Action.of("left", "forward", tilt=-0.5))
    assert vector.dtype == np.float32
    assert vector.tolist() == [1.0, 0.0, 1.0, 0.0, -0.5]


def test_no_action_encodes_to_zeros() -> None:
    assert not SPEC.encode(NO_ACTION).any()


@pytest.mark.parametrize(
    "action", [NO_ACTION, Action.of("back"), Action.of("forward", "left", turn=1.0, tilt=-0.125)], ids=str
)
def test_decode_inverts_encode(action: Action) -> None:
    assert SPEC.decode(SPEC.encode(action)) == action


def test_encoding_an_unknown_input_raises() -> None:
    with pytest.raises(ConfigError, match="unknown input 'jump'"):
        SPEC.encode(Action.of("jump"))


def test_decoding_a_vector_of_the_wrong_length_raises() -> None:
    with pytest.raises(AssertionError, match=r"expected \(5,\)"):
        SPEC.decode(np.zeros(4, dtype=np.float32))
