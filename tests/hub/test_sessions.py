"""`worldsim sessions push`: a recording becomes a dataset that is fetched and opened again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest

from tests.episodes.recordings import record
from worldsim.episodes.format import SESSION_FILE
from worldsim.episodes.reader import open_session

pytestmark = pytest.mark.hub

NAME = "datasets/someone/walks"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    record(tmp_path / "s", 12, 3)
    return tmp_path / "s"


def test_a_dry_run_says_what_and_where_and_uploads_nothing(hub: Any, run: Any, session: Path) -> None:
    done = run("sessions", "push", str(session), "someone/walks", "--dry-run", "--json", "-")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["page"], data["is_new"], data["tag"]) == (f"{hub.url}/{NAME}", True, "v3.0")
    assert data["files"]["data/chunk-000/file-001.parquet"] > 0
    assert f"to a new repository, {hub.url}/{NAME}" in done.stderr
    assert "nothing was uploaded" in done.stderr
    assert NAME not in hub.repos
    assert not [line for line in hub.log if not line.startswith("GET ")]


def test_what_is_pushed_is_the_session_with_a_card_and_a_tag(
    hub: Any, run: Any, server: Any, session: Path, tmp_path: Path
) -> None:
    own = json.loads((session / SESSION_FILE).read_text(encoding="utf-8"))
    own["header"]["preset_ref"] = "/home/someone/secret/tiny"
    (session / SESSION_FILE).write_text(json.dumps(own), encoding="utf-8")
    (session / "notes.txt").write_text("mine", encoding="utf-8")
    done = run("sessions", "push", str(session), "someone/walks", "--private", HF_TOKEN=server.TOKEN)
    assert done.returncode == 0, done.stderr
    repo = hub.repos[NAME]
    assert repo.is_private
    assert repo.refs["v3.0"] == repo.refs["main"]
    files = repo.commits[repo.refs["v3.0"]]
    assert "notes.txt" not in files
    assert not any(b"secret" in content for content in files.values())
    assert files["README.md"].startswith(b"---\n") and b"LeRobot" in files["README.md"]
    assert pq.read_table(io.BytesIO(files["data/chunk-000/file-001.parquet"])).num_rows == 3
    with av.open(io.BytesIO(files["videos/observation.images.main/chunk-000/file-000.mp4"])) as video:
        assert sum(1 for _ in video.decode(video=0)) == 12
    for name, content in files.items():
        path = tmp_path / "back" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert open_session(tmp_path / "back").episodes == open_session(session).episodes


def test_a_second_push_replaces_the_recordings_keeps_the_card_and_moves_the_tag(
    hub: Any, run: Any, server: Any, session: Path, tmp_path: Path
) -> None:
    command = ("sessions", "push", str(session), "someone/walks")
    assert run(*command, HF_TOKEN=server.TOKEN).returncode == 0
    repo = hub.repos[NAME]
    first = repo.refs["main"]
    repo.commit(repo.commits[first] | {"README.md": b"# my own words\n"})
    record(tmp_path / "shorter", 7)
    done = run("sessions", "push", str(tmp_path / "shorter"), "someone/walks", HF_TOKEN=server.TOKEN)
    assert done.returncode == 0, done.stderr
    assert "data/chunk-000/file-001.parquet" in done.stderr and "deleted" in done.stderr
    assert repo.refs["v3.0"] == repo.refs["main"] != first
    files = repo.commits[repo.refs["main"]]
    assert files["README.md"] == b"# my own words\n"
    assert [name for name in files if name.startswith("data/")] == ["data/chunk-000/file-000.parquet"]


@pytest.mark.parametrize(
    ("target", "settings", "code", "words"),
    [
        ("walks", {"HF_TOKEN": "x"}, 2, "is not a dataset on the Hub"),
        ("someone/walks@main", {"HF_TOKEN": "x"}, 2, "is not a dataset on the Hub"),
        ("someone/walks", {}, 17, "needs a Hub token"),
        ("someone/walks", {"HF_TOKEN": "hf_old"}, 17, "rejected your token"),
        ("someone/walks", {"HF_HUB_OFFLINE": "1"}, 17, "is disabled"),
    ],
)
def test_what_cannot_be_pushed_is_one_error(
    hub: Any, run: Any, session: Path, target: str, settings: dict[str, str], code: int, words: str
) -> None:
    done = run("sessions", "push", str(session), target, **settings)
    assert done.returncode == code, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert NAME not in hub.repos


def test_an_unfinished_session_is_not_pushed(hub: Any, run: Any, server: Any, session: Path) -> None:
    own = json.loads((session / SESSION_FILE).read_text(encoding="utf-8"))
    (session / SESSION_FILE).write_text(json.dumps(own | {"complete": False}), encoding="utf-8")
    done = run("sessions", "push", str(session), "someone/walks", HF_TOKEN=server.TOKEN)
    assert done.returncode == 15, done.stderr
    assert hub.log == []
