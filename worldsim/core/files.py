"""Atomic file writes (a file appears under its name complete, or not at all), and the path of bundled assets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worldsim.core.errors import StorageError


def atomic_write(path: Path, content: bytes | str, *, is_durable: bool = False) -> None:
    """Writes a file atomically; text as UTF-8. `is_durable`: as `atomic_path`. Raises: StorageError."""
    with atomic_path(path, is_durable=is_durable) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_path(path: Path, *, is_durable: bool = False) -> Iterator[Path]:
    """A temporary path for code that writes the file itself, such as an encoder.

    The temporary file is in the same folder, which is created if necessary, and has the same suffix. It becomes `path`
    when the block ends without an exception, and is removed otherwise. `is_durable`: flushed to the disk before the
    rename (fsync), so that a power failure leaves the old or the new file; takes some ms.
    Raises: StorageError.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if is_durable:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError in the block into a StorageError that names `path`; PyAV's I/O errors are OSErrors too."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}", hint="check the path, free space and permissions"
        ) from None


def asset_path(name: str) -> Path:
    """A file of assets/, inside an installed wheel or at the top of a source checkout, such as "icon/icon.png"."""
    package = Path(__file__).parent.parent
    for folder in (package / "_assets", package.parent / "assets"):
        if (folder / name).is_file():
            return folder / name
    raise AssertionError(f"no asset {name} in {package}/_assets or beside {package}")
