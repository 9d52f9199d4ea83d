"""`worldsim presets push` against a Hub on loopback: what goes up, what is said first, and what can go wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

pytestmark = pytest.mark.hub

PUSHED = {
    "config.json", "model.safetensors", "README.md", "start/00.safetensors", "start/01.safetensors", "sample.mp4",
    "sheet.png",
}  # fmt: skip


def test_a_dry_run_says_what_and_where_and_changes_nothing(hub: Any, run: Any, tiny_preset_folder: Path) -> None:
    dry = run("presets", "push", str(tiny_preset_folder), "someone/new", "--dry-run", "--sample", "4")
    assert dry.returncode == 0, dry.stderr
    assert f"to a new repository, {hub.url}/someone/new" in dry.stderr
    assert all(f"  {name} " in dry.stderr for name in PUSHED), dry.stderr
    assert "library_name: worldsim" in dry.stdout and "worldsim play someone/new" in dry.stdout
    assert "someone/new" not in hub.repos
    assert {line.split()[0] for line in hub.log} == {"GET"}


def test_a_push_takes_a_preset_with_a_sample_of_it_and_nothing_else(
    hub: Any, run: Any, server: Any, tiny_preset_copy: Path, tmp_path: Path
) -> None:
    (tiny_preset_copy / "README.md").unlink()
    (tiny_preset_copy / "secret.txt").write_text("mine", encoding="utf-8")
    command = ("presets", "push", str(tiny_preset_copy), "someone/new", "--private", "--sample", "30")
    pushed = run(*command, HF_TOKEN=server.TOKEN)
    assert pushed.returncode == 0, pushed.stderr
    repo = hub.repos["someone/new"]
    files = repo.commits[repo.refs["main"]]
    assert set(files) == PUSHED and repo.is_private
    assert files["model.safetensors"] == (tiny_preset_copy / "model.safetensors").read_bytes()
    with av.open(io.BytesIO(files["sample.mp4"])) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 30
    with Image.open(io.BytesIO(files["sheet.png"])) as sheet:
        assert len(sheet.getcolors(2**20) or ()) > 100, "pictures, not a plain ground"
    assert run("rollout", "someone/new", "--frames", "3", "--out", str(tmp_path / "a.mp4")).returncode == 4
    played = run("rollout", "someone/new", "--frames", "3", "--out", str(tmp_path / "a.mp4"), HF_TOKEN=server.TOKEN)
    assert played.returncode == 0, played.stderr
    assert not [line for line in hub.log if "/resolve/" in line and ("sample" in line or "sheet" in line)]


def test_a_pull_request_leaves_main_and_takes_away_what_was_replaced(
    hub: Any, run: Any, server: Any, tiny_preset_copy: Path
) -> None:
    repo = hub.repos["someone/tiny"]
    main = hub.put("someone/tiny", repo.commits[repo.refs["main"]] | {"sample.mp4": b"of other weights"})
    (tiny_preset_copy / "start" / "01.safetensors").unlink()
    command = ("presets", "push", str(tiny_preset_copy), "someone/tiny", "--create-pr", "--sample", "0")
    done = run(*command, "--json", "-", HF_TOKEN=server.TOKEN)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["pull_request_url"] == f"{hub.url}/someone/tiny/discussions/1"
    assert answer["deleted"] == ["sample.mp4", "start/01.safetensors"]
    assert done.stderr.count("deleted") == 2
    assert repo.refs["main"] == main
    files = repo.commits[repo.refs["refs/pr/1"]]
    assert not {"sample.mp4", "start/01.safetensors"} & set(files)
    assert "modeling.py" in files, "what is not a preset's is left alone"


def test_pushing_without_a_token_says_how_to_get_one(hub: Any, run: Any, tiny_preset_folder: Path) -> None:
    done = run("presets", "push", str(tiny_preset_folder), "someone/tiny")
    assert done.returncode == 17 and "hf auth login" in done.stderr, done.stderr
    assert hub.log == []


INFO, PRE, PUT, COMMIT = "GET /api/models/someone/tiny", "/preupload/", "PUT /store/", "/commit/"
FAULTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], int, str]] = {
    # what it is: where to, fault, how worldsim is run, exit code, words on stderr
    "offline": ("someone/tiny", {}, {"HF_HUB_OFFLINE": "1"}, 17, "which is disabled (--offline"),
    "401, bad token": ("someone/tiny", {}, {"HF_TOKEN": "hf_old"}, 17, "rejected your token"),
    "401, while uploading": ("someone/tiny", {"where": PRE, "status": 401}, {}, 17, "rejected your token"),
    "403, a token to read": (
        "someone/tiny",
        {"where": PRE, "status": 403},
        {},
        17,
        "has no permission for this on someone/tiny",
    ),
    "403, at the commit": (
        "someone/tiny",
        {"where": COMMIT, "status": 403},
        {},
        17,
        "has no permission for this on someone/tiny",
    ),
    "404, gone meanwhile": ("someone/tiny", {"where": COMMIT, "status": 404}, {}, 17, "answered 404"),
    "404, a pull request to nothing": ("someone/none", {}, {}, 4, "no Hub repository named someone/none"),
    "500, before": ("someone/tiny", {"where": INFO, "status": 500}, {}, 17, "a server error (500)"),
    "500, at the commit": ("someone/tiny", {"where": COMMIT, "status": 500}, {}, 17, "a server error (500)"),
    "cut, before": ("someone/tiny", {"where": INFO, "hangs_up": True}, {}, 17, "was lost"),
    "cut, at the commit": ("someone/tiny", {"where": COMMIT, "hangs_up": True}, {}, 17, "was lost"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_error_with_a_hint_and_nothing_is_half_there(
    name: str, hub: Any, run: Any, server: Any, tiny_preset_folder: Path
) -> None:
    repo, fault, settings, code, words = FAULTS[name]
    hub.faults += [server.Fault(**fault)] if fault else []
    before = dict(hub.repos["someone/tiny"].refs)
    command = ("presets", "push", str(tiny_preset_folder), repo, "--create-pr", "--sample", "0")
    done = run(*command, **({"HF_TOKEN": server.TOKEN} | settings))
    lines = done.stderr.splitlines()
    print(f"{name}: {lines[-2:]}, exit code {done.returncode}")
    assert done.returncode == code, done.stderr
    assert lines[-2].startswith("error: ") and lines[-1].startswith("hint: "), done.stderr
    assert words in lines[-2]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert hub.repos["someone/tiny"].refs == before


@pytest.mark.parametrize("fault", [{"hangs_up": True}, {"status": 503}], ids=["cut", "503"])
def test_an_upload_that_breaks_off_is_tried_again(
    fault: dict[str, Any], hub: Any, run: Any, server: Any, tiny_preset_folder: Path
) -> None:
    hub.large.clear()  # else the Hub has these weights already
    hub.faults += [server.Fault(where=PUT, times=1, **fault)]
    command = ("presets", "push", str(tiny_preset_folder), "someone/new", "--sample", "0")
    done = run(*command, HF_TOKEN=server.TOKEN)
    assert done.returncode == 0, done.stderr
    assert hub.faults[0].times == 0
    files = hub.repos["someone/new"].commits[hub.repos["someone/new"].refs["main"]]
    assert files["model.safetensors"] == (tiny_preset_folder / "model.safetensors").read_bytes()


def test_what_arrived_is_not_sent_again(hub: Any, run: Any, server: Any, tiny_preset_folder: Path) -> None:
    hub.large.clear()
    hub.faults += [server.Fault(where=COMMIT, status=500)]
    command = ("presets", "push", str(tiny_preset_folder), "someone/tiny", "--sample", "0")
    assert run(*command, HF_TOKEN=server.TOKEN).returncode == 17
    assert [line for line in hub.log if line.startswith(PUT)]
    hub.log.clear()
    hub.faults.clear()
    assert run(*command, HF_TOKEN=server.TOKEN).returncode == 0
    assert not [line for line in hub.log if line.startswith(PUT)]
