"""TOML and JSON to frozen dataclasses and back, strictly.

Owns: reading, type checks, unknown-key errors that name the nearest key. Does not own: any field; each package
keeps its config beside its code. A value a class does not accept (`__post_init__` raising ConfigError) is reported
with its path.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from worldsim.core.errors import ConfigError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same reader under its older name
    import tomli as tomllib

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises ConfigError with line and column when it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no file {path}", hint="give the path of a preset.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="mend that line") from None


def from_mapping(cls: type[T], data: Mapping[str, Any], *, where: str = "") -> T:
    """Builds dataclass `cls` from plain values; nested dataclasses from nested mappings.

    Raises: ConfigError for an unknown key, a missing key, or a value of another type, with the path of the key.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # T is a dataclass by contract
    for key in data:
        if key not in fields:
            raise ConfigError(f"unknown key {_join(where, str(key))!r}", hint=nearest(str(key), fields))
    values: dict[str, Any] = {}
    for name, spec in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], _join(where, name))
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ConfigError(f"missing key {_join(where, name)!r}", hint=f"add {name} = ...")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where or cls.__name__}: {error.message}", hint=error.hint) from None


def to_mapping(value: Any) -> Any:
    """The inverse of `from_mapping`: plain dicts, lists, strings and numbers; None stays None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_mapping(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_mapping(item) for item in value]
    if isinstance(value, Mapping):
        return {str(k): to_mapping(v) for k, v in value.items()}
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        (inner,) = [a for a in args if a is not type(None)]
        return _convert(inner, value, where)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _wrong(where, "a table", value)
        return from_mapping(typing.cast("type[Any]", hint), value, where=where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _wrong(where, "a list", value)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(args) != len(value):
            raise _wrong(where, f"a list of {len(args)}", value)
        return tuple(_convert(a, item, f"{where}[{i}]") for i, (a, item) in enumerate(zip(args, value, strict=True)))
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(f"{where} is {value!r}", hint="one of " + ", ".join(map(repr, args)))
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool):
        if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
            raise _wrong(where, hint.__name__, value)
        return value
    raise AssertionError(f"config field {where} has unsupported type {hint!r}")


def _wrong(where: str, expected: str, value: Any) -> ConfigError:
    return ConfigError(f"{where} is {value!r} ({type(value).__name__})", hint=f"expected {expected}")
