"""Presets from the Hub, played against a stand-in for it on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

pytestmark = pytest.mark.hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Serves one public repository, someone/tiny, and knows one gated one, someone/gated."""

    files: dict[str, bytes]
    asked_for: set[str] = field(default_factory=set)
    url: str = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        path = path.partition("?")[0]
        if "someone/gated" in path:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        if path.startswith(f"/someone/tiny/resolve/{COMMIT}/"):
            name = path.removeprefix(f"/someone/tiny/resolve/{COMMIT}/")
            self.asked_for.add(name)
            content = self.files[name]
            return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content
        if path.startswith(f"/api/models/someone/tiny/tree/{COMMIT}"):
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            ]
            return 200, {}, json.dumps(rows).encode()
        if path in ("/api/models/someone/tiny", *(f"/api/models/someone/tiny/revision/{r}" for r in ("main", COMMIT))):
            siblings = [{"rfilename": name} for name in self.files]
            return 200, {}, json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}).encode()
        if path.startswith("/api/models/someone/tiny/revision/"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"


@pytest.fixture
def hub(tiny_preset_folder: Path) -> Iterator[Hub]:
    files = {
        str(p.relative_to(tiny_preset_folder)): p.read_bytes() for p in tiny_preset_folder.rglob("*") if p.is_file()
    }
    stand_in = Hub(files=files | {"pytorch_model.bin": b"pickle", "modeling.py": b"raise SystemExit"})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = stand_in.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield stand_in
    server.shutdown()
    server.server_close()
    thread.join()


def roll_out(ref: str, folder: Path, endpoint: str, *, offline: bool = False) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": str(int(offline)),
        "NO_PROXY": "127.0.0.1",
    }
    arguments = ["rollout", ref, "--frames", "2", "--device", "cpu", "--out", str(folder / "a.mp4")]
    command = [sys.executable, "-m", "worldsim", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_hub_preset_plays_and_nothing_but_data_is_fetched(hub: Hub, tmp_path: Path) -> None:
    done = roll_out("someone/tiny", tmp_path, hub.url)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.mp4").stat().st_size > 0
    assert hub.asked_for == {
        "config.json",
        "model.safetensors",
        "README.md",
        "start/00.safetensors",
        "start/01.safetensors",
    }


def test_once_fetched_it_plays_without_a_network(hub: Hub, tmp_path: Path) -> None:
    assert roll_out("someone/tiny", tmp_path, hub.url).returncode == 0
    assert roll_out("someone/tiny", tmp_path, hub.url, offline=True).returncode == 0
    hub.asked_for.clear()
    assert roll_out("someone/tiny", tmp_path, hub.url).returncode == 0
    assert not hub.asked_for, "cache first"


@pytest.mark.parametrize(
    ("ref", "error", "hint"),
    [
        ("someone/nothing", "no folder and no repository on the Hub named someone/nothing", "check the spelling"),
        ("someone/tiny@v9", "someone/tiny on the Hub has no revision v9", "see its page"),
        ("someone/gated", "someone/gated on the Hub is gated", "hf auth login"),
    ],
)
def test_what_the_hub_does_not_give_is_one_error_with_a_hint(
    ref: str, error: str, hint: str, hub: Hub, tmp_path: Path
) -> None:
    done = roll_out(ref, tmp_path, hub.url)
    assert done.returncode == 4, done.stderr
    assert error in done.stderr
    assert hint in done.stderr
    assert len(done.stderr.splitlines()) == 2, done.stderr


def test_a_hub_that_does_not_answer_is_one_error_with_a_hint(tmp_path: Path) -> None:
    done = roll_out("someone/tiny", tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 4, done.stderr
    assert "the Hub cannot be reached" in done.stderr
    assert len(done.stderr.splitlines()) == 2, done.stderr
