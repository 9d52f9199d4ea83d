"""Every command that takes a preset takes user/repo[@revision]: fetched once, pinned, then played without the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.conftest import write_tiny_preset
from tests.episodes.recordings import record
from worldsim.worlds.recorded import RecordedWorldConfig

pytestmark = pytest.mark.hub

PRESET_TOML = """
name = "mine"
title = "Begun with what another learned"
[world]
kind = "recorded"
[autoencoder]
latent_channels = 4
widths = [4, 4, 8]
[training.data]
episode_frames = 24
min_buffer_episodes = 2
buffer_episodes = 2
[training.autoencoder]
batch_frames = 4
"""


def play(ref: str, folder: Path) -> list[str]:
    return ["play", ref, "--frames", "3", "--fps", "200", "--device", "cpu", "--json", str(folder / "out.json")]


def replay(ref: str, folder: Path) -> list[str]:
    options = ["--check", "--preset", ref, "--device", "cpu", "--json", str(folder / "out.json")]
    return ["replay", str(folder / "session"), *options]


def bench(ref: str, folder: Path) -> list[str]:
    return ["bench", ref, "--frames", "20", "--device", "cpu", "--json", str(folder / "out.json")]


@pytest.mark.parametrize("command", [play, replay, bench], ids=lambda command: command.__name__)
def test_a_command_fetches_what_it_names_and_then_works_without_the_hub(
    command: Callable[[str, Path], list[str]], hub: Any, run: Any, tiny_preset_folder: Path, tmp_path: Path
) -> None:
    pinned = hub.repos["someone/tiny"].refs["main"]
    hub.put("someone/tiny", {"README.md": b"# no longer a preset"})
    recording = ("--frames", "2", "--seed", "1", "--device", "cpu", "--record", str(tmp_path / "session"))
    if command is replay:
        assert run("rollout", str(tiny_preset_folder), *recording).returncode == 0
    arguments = command(f"someone/tiny@{pinned}", tmp_path)
    first = run(*arguments, SDL_VIDEODRIVER="dummy")
    assert first.returncode == 0, first.stderr
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert f"downloading someone/tiny@{pinned}" in first.stderr
    assert any(f"/resolve/{pinned}/model.safetensors" in line for line in hub.log)
    hub.log.clear()
    again = run(*arguments, "--offline", SDL_VIDEODRIVER="dummy")
    assert again.returncode == 0, again.stderr
    assert hub.log == []
    unknown = run(*command("someone/nothing", tmp_path), SDL_VIDEODRIVER="dummy")
    assert unknown.returncode == 4, unknown.stderr
    assert unknown.stderr.splitlines()[-2] == "error: no folder and no Hub repository named someone/nothing"


def test_eval_fetches_what_it_names(hub: Any, run: Any, server: Any, tiny_config: Any, tmp_path: Path) -> None:
    world = RecordedWorldConfig(buttons=("jump",), frame_height_px=48, frame_width_px=64)
    write_tiny_preset(tmp_path / "own", replace(tiny_config, world=world))
    commit = hub.put("someone/own", server.files_of(tmp_path / "own"))
    done = run("eval", f"someone/own@{commit}", "--device", "cpu")  # has no reference world, which ends it at once
    assert done.returncode == 3 and "has no reference world" in done.stderr, done.stderr
    assert f"downloading someone/own@{commit}" in done.stderr
    assert run("eval", "someone/nothing").returncode == 4


def test_training_begins_with_the_weights_of_the_revision(
    hub: Any, run: Any, tiny_preset_folder: Path, tmp_path: Path
) -> None:
    pinned = hub.repos["someone/tiny"].refs["main"]
    hub.put("someone/tiny", {"README.md": b"# no longer a preset"})
    (tmp_path / "preset.toml").write_text(PRESET_TOML, encoding="utf-8")
    record(tmp_path / "walks", 40, is_lossless=True)
    options = ["--data", str(tmp_path / "walks"), "--minutes", "1", "--updates", "1", "--device", "cpu"]
    command = ["train", str(tmp_path / "preset.toml"), "--stage", "autoencoder", "--out", str(tmp_path / "run")]
    done = run(*command, *options, "--init", f"someone/tiny@{pinned}")
    assert done.returncode == 0, done.stderr
    assert f"downloading someone/tiny@{pinned}" in done.stderr
    theirs = load_file(tiny_preset_folder / "model.safetensors")
    mine = load_file(tmp_path / "run" / "autoencoder" / "autoencoder.safetensors")
    distance = {name: (mine[name] - theirs[f"autoencoder.{name}"].float()).abs().max().item() for name in mine}
    assert max(distance.values()) < 0.02, distance
    assert run(*command, *options, "--init", "someone/tiny@v9").returncode == 4
