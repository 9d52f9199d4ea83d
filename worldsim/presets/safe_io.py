"""Safe access to the untrusted files of a preset folder. Torch-free.

Owns: which files may be opened (regular files inside the folder, of limited size), strict parsing of safetensors
headers, hashes. Does not own: the meaning of the files (`presets.store`). Reads no tensors and allocates no more than
the limits below.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from worldsim.core.config import MAX_INTEGER, parse_json, short_repr
from worldsim.core.errors import PresetError, one_line

MAX_HEADER_BYTES = 2**22
"""Maximum size of a safetensors header; 1,000 tensors need 0.1 MB."""
MAX_WEIGHTS_BYTES = 2**30
"""`verify` reads the weights up to three times and should finish within ten seconds."""
MAX_START_BYTES = 2**27
MAX_STARTS = 256
MAX_STARTS_BYTES = 2**29
"""All starts together; they stay in memory."""
DOWNLOAD_AGAIN_HINT = "fetch or copy the preset again"

_ITEM_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "U8": 1}
"""Bytes per element of every allowed dtype."""
_MAX_DIMS = 8
_START_NAME = re.compile(r"[\w-][\w.-]*\.safetensors")


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """One entry of a header. `begin` and `end` are byte offsets from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True)
class SafetensorsHeader:
    """The tensors fill the file from `data_begin` to its end, without gap or overlap."""

    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]
    data_begin: int


def preset_file(folder: Path, name: str, max_bytes: int) -> Path:
    """Path of the regular file `name` in a preset folder.

    A link may point inside the folder or, in a snapshot of the Hub cache, to the blobs of that cache.
    Raises: PresetError if it is missing, points elsewhere, is not a regular file, or exceeds `max_bytes`.
    """
    path = folder / name
    try:
        home, real = folder.resolve(), path.resolve(strict=True)
        status = real.stat()
    except FileNotFoundError:
        raise PresetError(f"{folder} has no {name}", hint=DOWNLOAD_AGAIN_HINT) from None
    except (OSError, RuntimeError):
        raise PresetError(f"{path} cannot be reached", hint="a circular link, or no permission") from None
    if home not in real.parents and _hub_blobs_folder(home) not in real.parents:
        raise PresetError(f"{path} is a link out of the preset", hint="copy the file itself into the folder")
    if not stat.S_ISREG(status.st_mode):
        raise PresetError(f"{path} is not a regular file", hint=DOWNLOAD_AGAIN_HINT)
    if status.st_size > max_bytes:
        raise PresetError(f"{path} has {status.st_size} bytes", hint=f"at most {max_bytes} are read")
    return path


def start_files(folder: Path, subfolder: str) -> list[Path]:
    """The starts of a preset folder, sorted by name. Raises: PresetError if there is none, or one may not be read."""
    home = folder / subfolder
    if not home.is_dir():
        raise PresetError(f"{home} holds no start", hint=DOWNLOAD_AGAIN_HINT)
    if folder.resolve() not in home.resolve().parents:
        raise PresetError(f"{home} is a link out of the preset", hint="copy the starts themselves into the folder")
    names = sorted(islice((n for n in os.listdir(home) if n.endswith(".safetensors")), MAX_STARTS + 1))
    if not names:
        raise PresetError(f"{home} holds no start", hint=DOWNLOAD_AGAIN_HINT)
    if len(names) > MAX_STARTS:
        raise PresetError(f"{home} holds more than {MAX_STARTS} starts", hint="remove some")
    for name in names:
        if not _START_NAME.fullmatch(name):
            raise PresetError(f"a start is named {short_repr(name)}", hint="letters, digits, dot, dash, underline")
    paths = [preset_file(folder, f"{subfolder}/{name}", MAX_START_BYTES) for name in names]
    if sum(path.stat().st_size for path in paths) > MAX_STARTS_BYTES:
        raise PresetError(f"the starts in {home} are too large", hint=f"{MAX_STARTS_BYTES} bytes together at most")
    return paths


def read_header(path: Path) -> SafetensorsHeader:
    """Raises: PresetError for anything the format does not allow."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise ValueError("its header is longer than the file")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"its header has {length} bytes, at most {MAX_HEADER_BYTES} are read")
            entries = parse_json(file.read(length).decode())
        return _parse_header(entries, data_begin=8 + length, data_bytes=size - 8 - length)
    except ValueError as error:
        raise damaged_error(path, one_line(error)) from None
    except OSError as error:
        raise PresetError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from None


def damaged_error(path: Path, reason: str) -> PresetError:
    return PresetError(f"{path} is damaged or truncated: {reason}", hint=DOWNLOAD_AGAIN_HINT)


def sha256(*paths: Path, begin: int = 0) -> str:
    """Hash of the concatenated files, each from byte `begin` on; read in chunks."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            file.seek(begin)
            for chunk in iter(lambda: file.read(2**20), b""):
                digest.update(chunk)
    return digest.hexdigest()


def hub_sha256(folder: Path, path: Path) -> str | None:
    """The sha256 of a file in the Hub cache, which names large files by it. None for any other file."""
    real = path.resolve()
    is_blob = _hub_blobs_folder(folder.resolve()) in real.parents and re.fullmatch(r"[0-9a-f]{64}", real.name)
    return real.name if is_blob else None


def _hub_blobs_folder(home: Path) -> Path | None:
    """The blobs folder of the Hub cache if `home` is one of its snapshots."""
    return home.parent.parent / "blobs" if home.parent.name == "snapshots" else None


def _parse_header(entries: Any, *, data_begin: int, data_bytes: int) -> SafetensorsHeader:
    """Raises: ValueError."""
    if not isinstance(entries, dict):
        raise ValueError("its header is not an object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) and v.isprintable() for v in metadata.values()):
        raise ValueError("its metadata is not printable text")
    tensors = {name: _parse_entry(name, entry) for name, entry in entries.items()}
    if sum(_contiguous_sizes(tensors)) != data_bytes:
        raise ValueError(f"its tensors do not fill its {data_bytes} bytes of data")
    return SafetensorsHeader(metadata=metadata, tensors=tensors, data_begin=data_begin)


def _parse_entry(name: str, entry: Any) -> StoredTensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of tensor {short_repr(name)} is not a dtype, a shape and offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise ValueError(
            f"tensor {short_repr(name)} is of type {short_repr(dtype)}, expected one of {', '.join(_ITEM_BYTES)}"
        )
    if not _is_size_list(shape, _MAX_DIMS) or not _is_size_list(offsets, 2) or len(offsets) != 2:
        raise ValueError(f"tensor {short_repr(name)} has shape {short_repr(shape)} and offsets {short_repr(offsets)}")
    begin, end = offsets
    if end - begin != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise ValueError(
            f"tensor {short_repr(name)} has {end - begin} bytes, which is not its shape {short_repr(shape)}"
        )
    return StoredTensor(dtype=dtype, shape=tuple(shape), begin=begin, end=end)


def _is_size_list(value: Any, max_length: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= max_length
        and all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= MAX_INTEGER for item in value)
    )


def _contiguous_sizes(tensors: Mapping[str, StoredTensor]) -> Iterator[int]:
    """Tensor sizes in file order. Raises: ValueError at a gap or overlap."""
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != at:
            raise ValueError(f"tensor {short_repr(name)} leaves a gap or overlaps another one")
        at = tensor.end
        yield tensor.end - tensor.begin
