"""Every kind of fault has an exit code of its own."""

from __future__ import annotations

from worldsim.core import errors
from worldsim.core.errors import WorldsimError, did_you_mean


def error_classes() -> list[type[WorldsimError]]:
    return [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, WorldsimError)]


def test_no_two_kinds_of_error_share_an_exit_code() -> None:
    codes = {cls.__name__: cls.exit_code for cls in error_classes()}
    assert len(set(codes.values())) == len(codes), codes
    assert all(0 < code < 126 for code in codes.values()), f"shells use the rest themselves: {codes}"


def test_a_near_miss_names_the_name_that_was_meant() -> None:
    assert did_you_mean("mase", ["maze", "maze-random"]) == "did you mean 'maze'?"


def test_a_far_miss_lists_what_there_is() -> None:
    assert did_you_mean("forest", ["maze", "hall"]) == "known: hall, maze"
    assert did_you_mean("forest", []) == "there are none"
