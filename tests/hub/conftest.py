"""A Hub on loopback with a preset on it, and worldsim as another process that talks to it."""

from __future__ import annotations

import importlib.util
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import pytest

Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def server() -> ModuleType:
    """tests/hub/server.py."""
    spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).parent / "server.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(server: ModuleType, tiny_preset_folder: Path) -> Iterator[object]:
    """Holds someone/tiny, with two files that must never be fetched."""
    card = b"---\nlibrary_name: worldsim\n---\n# tiny\n"
    extra = {"README.md": card, "pytorch_model.bin": b"pickle", "modeling.py": b"raise SystemExit"}
    with server.serve(server.Hub()) as running:
        running.put("someone/tiny", server.files_of(tiny_preset_folder) | extra)
        yield running


@pytest.fixture
def run(hub: object, tmp_path: Path) -> Run:
    """run("presets", "list", ..., HF_TOKEN="x", max_file_bytes=...) in a process of its own, cache in tmp_path."""

    def start(
        *arguments: str, max_file_bytes: int | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        settings = {
            "HF_ENDPOINT": hub.url,  # type: ignore[attr-defined]
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        inherited = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_CACHE")}
        limit = None
        if max_file_bytes is not None:
            limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
        return subprocess.run(
            [sys.executable, "-m", "worldsim", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=inherited | settings | environment,
            preexec_fn=limit,
            timeout=120,
        )

    return start
