"""Atomic writes: the complete new file, or the old one, and no temporary file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worldsim.core.errors import StorageError
from worldsim.core.files import atomic_path, atomic_write


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_creates_the_folder_and_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    atomic_write(path, "caf\u00e9\n")
    assert path.read_bytes() == b"caf\xc3\xa9\n"
    atomic_write(path, b"b", is_durable=True)
    assert path.read_bytes() == b"b" and files_in(path.parent) == ["a.json"]


def test_temporary_path_has_the_suffix_that_encoders_go_by(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.mp4") as temporary:
        temporary.write_bytes(b"video")
        assert temporary.parent == tmp_path and temporary.suffix == ".mp4"
        assert not (tmp_path / "a.mp4").exists()
    assert files_in(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("error", [RuntimeError("encoder"), OSError(28, "No space left on device")])
def test_failure_keeps_the_old_file_and_removes_the_temporary_one(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")

    def encode() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("new", encoding="utf-8")
            raise error

    with pytest.raises((RuntimeError, StorageError)):
        encode()
    assert path.read_text(encoding="utf-8") == "old" and files_in(tmp_path) == ["a.txt"]


def test_write_errors_name_the_file_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        atomic_write(tmp_path / "file" / "a.txt", "")
    assert caught.value.message.startswith(f"cannot write {tmp_path / 'file' / 'a.txt'}: ")
    assert "permissions" in caught.value.hint


def test_durable_write_syncs_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "a.bin", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(path.exists()))
    atomic_write(path, b"a")
    path.unlink()
    atomic_write(path, b"a", is_durable=True)
    assert seen == [False]
