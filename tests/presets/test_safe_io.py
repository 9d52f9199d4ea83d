"""A safetensors header is what the format says, or one error, whatever a stranger wrote into it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from worldsim.core.errors import PresetError
from worldsim.presets.safe_io import MAX_HEADER_BYTES, read_header, sha256

ONE: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(path: Path, header: object, data_bytes: int = 8, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + bytes(data_bytes))
    return path


def test_a_header_gives_metadata_names_types_shapes_and_places(tmp_path: Path) -> None:
    second = {"dtype": "BF16", "shape": [3, 1], "data_offsets": [8, 14]}
    header = read_header(write(tmp_path / "x", {"b": second, "a": ONE, "__metadata__": {"k": "v"}}, 14))
    assert header.metadata == {"k": "v"}
    assert (header.tensors["b"].dtype, header.tensors["b"].shape) == ("BF16", (3, 1))
    assert (tmp_path / "x").stat().st_size - header.data_begin == 14


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[]", "its header is not an object"),
        (b"{", "Expecting property name"),
        (b"\xff", "can't decode"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "duplicate key 'a'"),
        ({"a": 1}, "the entry of tensor 'a' is not a dtype, a shape and offsets"),
        ({"a": {**ONE, "code": "x"}}, "the entry of tensor 'a' is not a dtype, a shape and offsets"),
        ({"a": {**ONE, "dtype": "F64"}}, "tensor 'a' is of type 'F64'"),
        ({"a": {**ONE, "dtype": ["F32"]}}, "tensor 'a' is of type ['F32']"),
        ({"a": {**ONE, "shape": [-2]}}, "tensor 'a' has shape [-2]"),
        ({"a": {**ONE, "shape": [2.0]}}, "tensor 'a' has shape [2.0]"),
        ({"a": {**ONE, "shape": [True, 2]}}, "tensor 'a' has shape [True, 2]"),
        ({"a": {**ONE, "shape": [1] * 9}}, "tensor 'a' has shape"),
        ({"a": {**ONE, "shape": [2**64]}}, "tensor 'a' has shape"),
        ({"a": {**ONE, "shape": [2**62, 2**62]}}, "tensor 'a' has 8 bytes, which is not its shape"),
        ({"a": {**ONE, "data_offsets": [8, 0]}}, "tensor 'a' has -8 bytes"),
        ({"a": {**ONE, "data_offsets": [0, 8, 16]}}, "offsets [0, 8, 16]"),
        ({"a": ONE, "b": ONE}, "tensor 'b' leaves a gap or overlaps another one"),
        ({"a": {**ONE, "data_offsets": [4, 12]}}, "tensor 'a' leaves a gap"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "its tensors do not fill its 8 bytes of data"),
        ({"a": ONE, "__metadata__": {"k": 1}}, "its metadata is not printable text"),
        ({"a": ONE, "__metadata__": {"k": "\x1b[2J"}}, "its metadata is not printable text"),
    ],
)
def test_what_the_format_does_not_allow_is_one_short_line(header: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(PresetError) as caught:
        read_header(write(tmp_path / "x", header))
    assert f"{tmp_path / 'x'} is damaged or truncated: " in caught.value.message
    assert message in caught.value.message
    assert caught.value.message.isprintable() and len(caught.value.message) < 500


@pytest.mark.parametrize("length", [3, 10**6, 2**63, 2**64 - 1])
def test_a_header_that_lies_about_its_length_is_refused(length: int, tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="damaged or truncated"):
        read_header(write(tmp_path / "x", {"a": ONE}, length=length))


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="at most"):
        read_header(write(tmp_path / "x", b" " * (MAX_HEADER_BYTES + 1)))


def test_a_key_given_twice_among_very_many_is_found_at_once(tmp_path: Path) -> None:
    keys = ",".join(f'"{index}":0' for index in range(300_000))
    begun_s = time.perf_counter()
    with pytest.raises(PresetError, match="duplicate key '299999'"):
        read_header(write(tmp_path / "x", ("{" + keys + ',"299999":0}').encode()))
    assert time.perf_counter() - begun_s < 20, "a search for every key would take minutes"


def test_the_hash_goes_over_files_in_order_and_from_a_byte_on(tmp_path: Path) -> None:
    a, b, both = (tmp_path / name for name in ("a", "b", "both"))
    a.write_bytes(b"12")
    b.write_bytes(b"34")
    both.write_bytes(b"1234")
    assert sha256(a, b) == sha256(both) != sha256(b, a)
    assert sha256(both, begin=2) == sha256(b)
