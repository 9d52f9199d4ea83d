"""ActionSpec.encode and decode: one value per input, in the order of the spec."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.core.errors import ConfigError
from worldsim.core.types import NO_ACTION, Action, ActionSpec

SPEC = ActionSpec(buttons=("forward", "back", "left"), axes=("turn", "tilt"))


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


def test_unknown_input_raises() -> None:
    with pytest.raises(ConfigError, match="unknown input 'jump'"):
        SPEC.encode(Action.of("jump"))


def test_wrong_vector_length_raises() -> None:
    with pytest.raises(AssertionError, match=r"expected \(5,\)"):
        SPEC.decode(np.zeros(4, dtype=np.float32))
