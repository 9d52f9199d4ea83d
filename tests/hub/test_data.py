"""`worldsim train --data user/dataset`: recordings from a Hub on loopback, fetched once, and no code with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.episodes.recordings import record
from tests.training.test_data import OWN

pytestmark = pytest.mark.hub


def test_recordings_on_the_hub_are_fetched_once_and_trained_on(hub: Any, run: Any, server: Any, tmp_path: Path) -> None:
    record(tmp_path / "s", 40, is_lossless=True)
    others = {"loader.py": b"raise SystemExit", "README.md": b"# walks"}
    hub.put("datasets/someone/walks", server.files_of(tmp_path / "s") | others)
    (tmp_path / "preset.toml").write_text(OWN, encoding="utf-8")
    command = ["train", str(tmp_path / "preset.toml"), "--stage", "autoencoder", "--minutes", "2", "--steps", "1"]
    command += ["--device", "cpu", "--out", str(tmp_path / "run")]
    first = run(*command, "--data", "someone/walks=2")
    assert first.returncode == 0, first.stderr
    assert "data: someone/walks, share 1.00, 40 frames" in first.stderr
    assert not [line for line in hub.log if "loader.py" in line or "README" in line]
    num_requests = len([line for line in hub.log if "/resolve/" in line])
    again = run(*command, "--data", "someone/walks", "--offline")
    assert again.returncode == 0, again.stderr
    assert len([line for line in hub.log if "/resolve/" in line]) == num_requests
    missing = run(*command, "--data", "someone/nothing")
    assert missing.returncode == 15 and "someone/nothing" in missing.stderr, missing.stderr
