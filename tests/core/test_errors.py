"""Every kind of user error has its own exit code."""

from __future__ import annotations

from worldsim.core import errors
from worldsim.core.errors import WorldsimError, did_you_mean


def error_classes() -> list[type[WorldsimError]]:
    return [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, WorldsimError)]


def test_exit_codes_are_unique() -> None:
    codes = {cls.__name__: cls.exit_code for cls in error_classes()}
    assert len(set(codes.values())) == len(codes), codes
    assert all(0 < code < 126 for code in codes.values()), f"shells reserve the others: {codes}"


def test_close_name_is_suggested() -> None:
    assert did_you_mean("mase", ["maze", "maze-random"]) == "did you mean 'maze'?"


def test_known_names_are_listed_if_none_is_close() -> None:
    assert did_you_mean("forest", ["maze", "hall"]) == "known: hall, maze"
    assert did_you_mean("forest", []) == "there are none"
