"""Strict config: errors name the key and a remedy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from worldsim.core.config import from_mapping, read_toml, to_mapping
from worldsim.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 4
    kind: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"size is {self.size}", hint="at least 1")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    rate: float = 1.0
    steps: int | None = None
    pair: tuple[int, int] = (1, 2)
    rows: tuple[tuple[int, int], ...] = ((1, 1),)
    is_on: bool = False
    inner: Inner = field(default_factory=Inner)


def test_defaults_fill_missing_keys() -> None:
    assert from_mapping(Outer, {"name": "x"}) == Outer(name="x")


def test_config_round_trips_through_a_mapping() -> None:
    config = Outer(name="x", rate=2.5, steps=3, pair=(5, 6), rows=((1, 2), (3, 4)), inner=Inner(size=9, kind="b"))
    assert from_mapping(Outer, to_mapping(config)) == config


def test_integer_is_accepted_for_a_float() -> None:
    rate = from_mapping(Outer, {"name": "x", "rate": 2}).rate
    assert rate == 2.0
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        ({"name": "x", "inner": {"sise": 1}}, "unknown key 'inner.sise'", "did you mean 'size'?"),
        ({"name": "x", "zzz": 1}, "unknown key 'zzz'", "known: inner, is_on, name, pair, rate, rows, steps"),
        ({}, "missing key 'name'", "add name = ..."),
        ({"name": 3}, "name is 3 (int)", "expected str"),
        ({"name": "x", "pair": [1]}, "pair is [1] (list)", "expected a list of 2"),
        ({"name": "x", "rows": [[1, "2"]]}, "rows[0][1] is '2' (str)", "expected int"),
        ({"name": "x", "inner": 3}, "inner is 3 (int)", "expected a table"),
        ({"name": "x", "inner": {"kind": "c"}}, "inner.kind is 'c'", "one of 'a', 'b'"),
        ({"name": "x", "inner": {"size": 0}}, "inner: size is 0", "at least 1"),
        ({"name": "x", "inner": {"size": True}}, "inner.size is True (bool)", "expected int"),
        ({"name": "x", "is_on": 1}, "is_on is 1 (int)", "expected bool"),
        ({"name": "x", "steps": "no"}, "steps is 'no' (str)", "expected int"),
    ],
)
def test_errors_name_the_key_and_a_remedy(data: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, data)
    assert caught.value.message == message
    assert caught.value.hint == hint


def test_invalid_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "preset.toml"
    path.write_text("name = 'x'\nsize = = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"preset\.toml is not valid TOML.*line 2"):
        read_toml(path)


def test_missing_toml_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file .*nowhere"):
        read_toml(tmp_path / "nowhere.toml")
