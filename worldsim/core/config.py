"""TOML and JSON to frozen dataclasses and back, strictly.

Owns: bounded reading, type checks, errors that name the key and suggest the closest known one. Does not own: the
fields; each package keeps its config beside its code. In a union of dataclasses, the key `kind` selects one. A
ConfigError raised by a `__post_init__` is reported with the path of its table. Files may come from strangers: any
content results in a value or in one error with a short one-line message.

Own code after trying libraries: pydantic 2.14 (TypeAdapter) needs as many lines for these error texts (an unknown key
in a union gives 27 errors in 6 kB, `__post_init__` errors lose their path, 64 bits and printable text are extra) and
adds 75 ms to start-up; msgspec 0.23 rejects unions of dataclasses and cannot forbid unknown keys.
"""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from worldsim.core.errors import ConfigError, did_you_mean, one_line

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same parser as a package
    import tomli as tomllib

T = TypeVar("T")

MAX_CONFIG_BYTES = 2**18
"""A config takes a few kB; larger files are refused."""
MAX_INTEGER = 2**63 - 1
NOT_STORED = {"is_stored": False}
"""`field(metadata=NOT_STORED)`: a field that is not read from or written to files."""

_SHORT_REPR = reprlib.Repr()
_SHORT_REPR.maxstring = _SHORT_REPR.maxother = 80


def short_repr(value: object) -> str:
    """`repr` for error messages: truncated, however long or deeply nested the value is."""
    try:
        return _SHORT_REPR.repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a number of thousands of digits"


def read_toml(path: Path) -> dict[str, Any]:
    """Raises: ConfigError, with line and column for invalid TOML."""
    if not path.exists():
        raise ConfigError(f"no file {path}", hint="give the path of a preset.toml")
    try:
        return tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {_reason(error)}", hint="fix that line") from None


def with_assignments(table: Mapping[str, Any], lines: Sequence[str]) -> dict[str, Any]:
    """`table` with the values of lines of TOML, such as "data.num_workers = 12". Raises: ConfigError."""
    for line in lines:
        try:
            table = _merged(table, tomllib.loads(line))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{short_repr(line)} is not valid TOML: {_reason(error)}", hint="KEY=VALUE") from None
    return dict(table)


def _merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = {**table, **changes}
    for name, value in changes.items():
        if isinstance(value, Mapping) and isinstance(table.get(name), Mapping):
            both[name] = _merged(table[name], value)
    return both


def parse_json(text: str) -> Any:
    """Like `json.loads`, but rejects duplicate keys, NaN, infinity and very deep nesting. Raises: ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_reject_duplicate_keys, parse_constant=_reject_nan_and_infinity)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_text(path: Path) -> str:
    """Raises: ConfigError if it is not a regular file, unreadable, larger than a config, or not UTF-8."""
    try:
        if not path.is_file():
            raise ConfigError(f"{path} is not a file", hint="expected a regular file, not a folder, pipe or device")
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from None
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes", hint="a config takes a few kB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}", hint="download it again, or save it as UTF-8") from None


def check_ranges(config: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Checks that every named field of `config`, or every item of a tuple, is within (low, high), both included.

    Raises: ConfigError.
    """
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        for item in value if isinstance(value, tuple) else (value,):
            if not low <= item <= high:
                raise ConfigError(f"{name} is {short_repr(item)}", hint=f"expected {low:g} to {high:g}")


def from_mapping(cls: type[T], data: Mapping[str, Any], *, where: str = "") -> T:
    """Builds dataclass `cls` from plain values; nested dataclasses from nested mappings.

    Raises: ConfigError for an unknown key, a missing key or a wrong type, with the path of the key below `where`.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in _stored_fields(cls)}
    for key in data:
        if key not in fields:
            raise ConfigError(
                f"unknown key {short_repr(_key_path(where, str(key)))}", hint=did_you_mean(str(key), fields)
            )
    values: dict[str, Any] = {}
    for name, spec in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], _key_path(where, name))
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ConfigError(f"missing key {_key_path(where, name)!r}", hint=f"add {name} = ...")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where or cls.__name__}: {error.message}", hint=error.hint) from None


def to_mapping(value: Any) -> Any:
    """The inverse of `from_mapping`: plain dicts, lists, strings, numbers and None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_mapping(getattr(value, f.name)) for f in _stored_fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_mapping(item) for item in value]
    if isinstance(value, Mapping):
        return {str(k): to_mapping(v) for k, v in value.items()}
    return value


def _stored_fields(of: Any) -> list[dataclasses.Field[Any]]:
    """`of`: a dataclass or an instance."""
    return [f for f in dataclasses.fields(of) if f.metadata.get("is_stored", True)]


def _key_path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        choices = [a for a in args if a is not type(None)]
        return _convert(choices[0] if len(choices) == 1 else _choose_by_kind(choices, value, where), value, where)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _type_error(where, "a table", value)
        return from_mapping(typing.cast("type[Any]", hint), value, where=where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _type_error(where, "a list", value)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(args) != len(value):
            raise _type_error(where, f"a list of {len(args)}", value)
        return tuple(_convert(a, item, f"{where}[{i}]") for i, (a, item) in enumerate(zip(args, value, strict=True)))
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(f"{where} is {short_repr(value)}", hint="one of " + ", ".join(map(repr, args)))
        return value
    if hint in (int, float, str, bool):
        return _convert_scalar(hint, value, where)
    raise AssertionError(f"config field {where} has unsupported type {hint!r}")


def _choose_by_kind(choices: list[Any], value: Any, where: str) -> Any:
    """The dataclass of a union whose literal `kind` the table names; the first one if it names none."""
    kinds = {typing.get_args(typing.get_type_hints(choice)["kind"])[0]: choice for choice in choices}
    if not isinstance(value, Mapping):
        raise _type_error(where, "a table", value)
    kind = value.get("kind", next(iter(kinds)))
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(f"{where}.kind is {short_repr(kind)}", hint="one of " + ", ".join(map(repr, kinds)))
    return kinds[kind]


def _convert_scalar(kind: type, value: Any, where: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INTEGER:
        raise ConfigError(f"{where} does not fit in 64 bits", hint="expected a smaller number")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _type_error(where, kind.__name__, value)
    if isinstance(value, float) and not math.isfinite(value):
        raise _type_error(where, "a finite number", value)
    if isinstance(value, str) and not value.isprintable():
        raise _type_error(where, "one line of printable text", value)
    return value


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"duplicate key {short_repr(key)}")
        mapping[key] = value
    return mapping


def _reject_nan_and_infinity(name: str) -> float:
    raise ValueError(f"{name} is not valid JSON")


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else one_line(error)


def _type_error(where: str, expected: str, value: Any) -> ConfigError:
    return ConfigError(f"{where} is {short_repr(value)} ({type(value).__name__})", hint=f"expected {expected}")
