"""`worldsim presets` and everything that takes a preset, against a Hub on loopback that speaks to the real client."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

pytestmark = pytest.mark.hub

FETCHED = {"config.json", "model.safetensors", "README.md", "start/00.safetensors", "start/01.safetensors"}


def test_pull_shows_sizes_pins_the_commit_and_fetches_nothing_but_data(hub: Any, run: Any, tmp_path: Path) -> None:
    done = run("presets", "pull", "someone/tiny", "--json", str(tmp_path / "a.json"))
    assert done.returncode == 0, done.stderr
    commit = hub.repos["someone/tiny"].refs["main"]
    result = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    folder = Path(result["folder"])
    assert result["commit"] == folder.name == commit
    assert result["hashes"] == ["config", "weights", "hub"]
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} == FETCHED
    assert not [line for line in hub.log if "pytorch_model" in line or "modeling" in line]
    assert f"someone/tiny@{commit}" in done.stdout
    lines = done.stderr.splitlines()
    assert any(line.split() == ["model.safetensors", "0.2", "MB"] for line in lines), done.stderr
    assert any(line.startswith("worldsim: downloading someone/tiny") and "5 files, 0.3 MB" in line for line in lines)


def test_cache_first_and_pull_takes_the_newest(hub: Any, run: Any, tmp_path: Path) -> None:
    first = hub.repos["someone/tiny"].refs["main"]
    out = ("--frames", "2", "--device", "cpu", "--out", str(tmp_path / "a.mp4"))
    assert run("rollout", "someone/tiny", *out).returncode == 0
    hub.log.clear()
    second = hub.put("someone/tiny", hub.repos["someone/tiny"].commits[first] | {"README.md": b"# new\n"})
    assert run("rollout", "someone/tiny", *out).returncode == 0
    assert run("rollout", f"someone/tiny@{first}", *out, HF_HUB_OFFLINE="1").returncode == 0
    assert not hub.log, "what was fetched plays without asking"
    pulled = run("presets", "pull", "someone/tiny")
    assert second in pulled.stdout
    assert [line for line in hub.log if "/store/" in line] == [], "weights that did not change are not fetched again"
    hub.log.clear()
    listed = run("presets", "list", "--json", "-")
    found = {row["commit"] for row in json.loads(listed.stdout)["presets"] if row["ref"] == "someone/tiny"}
    assert found == {first, second}
    removed = run("presets", "rm", f"someone/tiny@{first}")
    assert removed.returncode == 0, removed.stderr
    assert first[:12] in removed.stdout and second[:12] not in removed.stdout
    assert run("presets", "rm", "someone/tiny").returncode == 0
    assert run("presets", "verify", "someone/tiny", "--offline").returncode == 4
    assert not hub.log


def test_show_says_what_it_is_before_the_weights_are_fetched(hub: Any, run: Any) -> None:
    done = run("presets", "show", "someone/tiny", "--json", "-")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["name"] == "tiny" and facts["predicted_frames_per_s"] > 0
    assert facts["bytes"] > facts["weights"] * 2
    assert not [line for line in hub.log if "safetensors" in line or "/store/" in line]


def test_search_finds_presets_only(hub: Any, run: Any) -> None:
    hub.put("other/llm", {"README.md": b"---\nlibrary_name: other\n---\n"})
    done = run("presets", "search", "--json", "-")
    assert [row["ref"] for row in json.loads(done.stdout)["presets"]] == ["someone/tiny"], done.stderr


def test_a_private_one_needs_a_token_which_the_store_never_sees(hub: Any, run: Any, server: Any) -> None:
    hub.repos["someone/tiny"].is_private = True
    done = run("presets", "pull", "someone/tiny", "--json", "-")
    assert done.returncode == 4 and "hf auth login" in done.stderr
    assert run("presets", "pull", "someone/tiny", HF_TOKEN=server.TOKEN).returncode == 0
    assert hub.tokens_at_store == []


INFO, STORE = "/api/models/someone/tiny", "GET /store/"
FAULTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], int, str]] = {
    # what it is: reference, fault, how worldsim is run, exit code, words on stderr
    "401, bad token": ("someone/tiny", {}, {"HF_TOKEN": "hf_old"}, 17, "rejected your token"),
    "403": ("someone/tiny", {"where": INFO, "status": 403}, {}, 17, "your token has no permission for this"),
    "gated": ("someone/gated", {}, {}, 17, "accept its terms at"),
    "404 repository": ("someone/nothing", {}, {}, 4, "check the spelling"),
    "404 revision": ("someone/tiny@v9", {}, {}, 4, "has no revision v9"),
    "no preset": ("someone/text", {}, {}, 5, "is not a preset: it has no config.json"),
    "429": ("someone/tiny", {"where": INFO, "status": 429, "headers": {"Retry-After": "30"}}, {}, 17, "again in 30 s"),
    "500": ("someone/tiny", {"where": INFO, "status": 500}, {}, 17, "a server error (500)"),
    "503": ("someone/tiny", {"where": INFO, "status": 503}, {}, 17, "a server error (503)"),
    "no answer": ("someone/tiny", {"where": INFO, "delay_s": 5.0}, {"HF_HUB_ETAG_TIMEOUT": "1"}, 17, "not answer in"),
    "no server": ("someone/tiny", {}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, 17, "cannot be reached"),
    "offline": ("someone/tiny", {}, {"HF_HUB_OFFLINE": "1"}, 4, "is not in the cache"),
    "other content": ("someone/tiny", {"where": STORE, "change_content": True}, {}, 5, "the Hub lists"),
    "disk full": ("someone/tiny", {}, {"max_file_bytes": 50_000}, 12, "the disk is full"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_error_with_a_hint(name: str, hub: Any, run: Any, server: Any) -> None:
    ref, fault, settings, code, words = FAULTS[name]
    hub.put("someone/gated", {}, is_gated=True)
    hub.put("someone/text", {"README.md": b"# no preset"})
    hub.faults += [server.Fault(**fault)] if fault else []
    done = run("presets", "pull", ref, **({"HF_TOKEN": server.TOKEN} | settings))
    lines = done.stderr.splitlines()
    print(f"{name}: {lines[-2:]}, exit code {done.returncode}")
    assert done.returncode == code, done.stderr
    assert lines[-2].startswith("error: ") and lines[-1].startswith("hint: "), done.stderr
    assert words in " ".join(lines[-2:])
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_cut_connection_is_resumed_where_it_broke(hub: Any, run: Any, server: Any, tiny_config: Any) -> None:
    piece_bytes, num_frames = 10 * 2**20, 1200  # the client writes pieces of this size: what is behind them is kept
    arrays = {
        "frames": np.zeros((num_frames, *tiny_config.frame_shape), np.uint8),
        "actions": np.zeros((num_frames, tiny_config.action_spec.size), np.float32),
    }
    repo = hub.repos["someone/tiny"]
    files = repo.commits[repo.refs["main"]] | {"start/02.safetensors": safetensors.numpy.save(arrays)}
    digest = hashlib.sha256(files["start/02.safetensors"]).hexdigest()
    hub.put("someone/tiny", files)
    hub.faults += [server.Fault(where=f"GET /store/{digest}", cut_after_bytes=piece_bytes + 1000, times=1)]
    done = run("presets", "pull", "someone/tiny")
    assert done.returncode == 0, done.stderr
    assert f"GET /store/{digest} bytes={piece_bytes}-" in hub.log


def test_after_a_lost_connection_complete_files_are_kept_and_partial_ones_restart(
    hub: Any, run: Any, server: Any, tmp_path: Path
) -> None:
    content = hub.repos["someone/tiny"].commits[hub.repos["someone/tiny"].refs["main"]]["model.safetensors"]
    path = f"/store/{hashlib.sha256(content).hexdigest()}"
    hub.faults += [server.Fault(where=f"GET {path}", cut_after_bytes=1000)]
    done = run("presets", "pull", "someone/tiny")
    assert done.returncode == 17, done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert "was lost" in error and "complete files are kept" in hint
    assert not list((tmp_path / "hf").rglob("*.incomplete"))
    hub.faults.clear()
    hub.log.clear()
    assert run("presets", "pull", "someone/tiny").returncode == 0
    assert [line for line in hub.log if "/store/" in line] == [f"GET {path}"]


def test_running_the_command_again_repairs_a_damaged_download(hub: Any, run: Any, server: Any) -> None:
    hub.faults += [server.Fault(where=STORE, change_content=True)]
    assert run("presets", "pull", "someone/tiny").returncode == 5
    assert run("presets", "verify", "someone/tiny", "--offline").returncode == 4, "a part of a preset is none"
    hub.faults.clear()
    assert run("presets", "pull", "someone/tiny").returncode == 0


def test_a_slow_hub_is_waited_for(hub: Any, run: Any, server: Any) -> None:
    hub.faults += [server.Fault(where=".", delay_s=0.2)]
    assert run("presets", "pull", "someone/tiny").returncode == 0


def test_a_cache_that_cannot_be_written_is_named(hub: Any, run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("presets", "pull", "someone/tiny", HF_HOME=str(tmp_path / "file" / "hf"))
    assert done.returncode == 12, done.stderr
    assert str(tmp_path / "file" / "hf") in done.stderr.splitlines()[-2]
