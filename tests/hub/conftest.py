"""A Hub on loopback with a preset on it, and worldsim as another process that talks to it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="session")
def forked() -> Iterator[subprocess.Popen[str]]:
    """tests/hub/forked.py."""
    command = [sys.executable, str(Path(__file__).parent / "forked.py")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def run(hub: object, forked: subprocess.Popen[str], tmp_path: Path) -> Run:
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
        out, err = tmp_path / "stdout", tmp_path / "stderr"
        for path in (out, err):
            path.write_text("", encoding="utf-8")
        wanted = {
            "arguments": arguments,
            "environment": inherited | settings | environment,
            "stdout": str(out),
            "stderr": str(err),
            "max_file_bytes": max_file_bytes,
        }
        assert forked.stdin is not None and forked.stdout is not None
        print(json.dumps(wanted), file=forked.stdin, flush=True)
        code = int(forked.stdout.readline())
        return subprocess.CompletedProcess(
            arguments, code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
        )

    return start
