"""`worldsim play` as a process: arguments, exit codes, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.fakes import FakeSimulator
from tests.engine.test_time_travel import HEADER
from worldsim.cli.main import main
from worldsim.cli.play import PlayArguments, _check_inputs, _load_reference, run
from worldsim.core.errors import RecordingError, StateError, UsageError
from worldsim.core.types import ActionSpec
from worldsim.engine.preset_world import open_preset
from worldsim.engine.recorder import Recorder
from worldsim.episodes.reader import open_session
from worldsim.worlds.recorded import RecordedWorldConfig

ROOT = Path(__file__).parents[2]


def play(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs with SDL's dummy video driver."""
    return subprocess.run(
        [sys.executable, "-m", "worldsim", "play", *arguments],
        env={**os.environ, "SDL_VIDEODRIVER": "dummy", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_play_writes_only_json_to_standard_output(tiny_preset_folder: Path) -> None:
    done = play(str(tiny_preset_folder), "--frames", "8", "--fps", "200", "--json", "-", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "loading the weights" in done.stderr
    found = json.loads(done.stdout)
    assert found["frames_made"] >= found["frames_shown"] >= 8
    assert found["start_to_first_frame_s"] > 0
    assert found["frames_per_s"] > 0 and found["shown_per_s"] > 0
    assert found["hits"] + found["misses"] >= 8


def test_damaged_weights_exit_with_5(tiny_preset_copy: Path) -> None:
    weights = tiny_preset_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = play(str(tiny_preset_copy), "--frames", "1")
    assert done.returncode == 5
    assert "error: " in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--window", "large"], ["--frames", "0"], ["--fps", "-1"], ["--steps", "0"], ["--max-prefetch", "-1"]]
)
def test_errors_name_the_argument_that_is_out_of_range(tiny_preset_folder: Path, arguments: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        run([str(tiny_preset_folder), *arguments])
    assert arguments[0] in caught.value.message
    assert caught.value.hint


def test_an_unknown_preset_is_reported_before_torch_is_loaded() -> None:
    done = play("no-such-preset", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 4
    assert "error: no preset named 'no-such-preset'" in done.stderr
    assert not any(line.endswith(" torch") for line in done.stderr.splitlines()), "torch was loaded"


def test_without_a_display_the_hint_names_rollout(tiny_preset_folder: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems always have a display")
    done = play(str(tiny_preset_folder), SDL_VIDEODRIVER="", DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 6
    name = tiny_preset_folder.name
    expected = [
        "error: no display to open a window on",
        f"hint: worldsim rollout {tiny_preset_folder} --out {name}.mp4 writes a video instead",
    ]
    assert done.stderr.splitlines() == expected


def test_an_invalid_load_option_is_reported_before_a_window_opens(tiny_preset_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught:
        run([str(tiny_preset_folder), "--load", str(tmp_path / "none")])
    assert "no saved state" in caught.value.message
    with pytest.raises(UsageError) as usage:
        run([str(tiny_preset_folder), "--reference", "--load", str(tmp_path / "none")])
    assert "no saved states" in usage.value.message


def test_recorded_actions_are_replayed_from_the_same_seed(tiny_preset_folder: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    assert main(["rollout", str(tiny_preset_folder), "--frames", "6", "--seed", "1", "--record", str(first)]) == 0
    options = ["--actions", str(first), "--record", str(again), "--frames", "9", "--fps", "50", "--device", "cpu"]
    done = play(str(tiny_preset_folder), *options)
    assert done.returncode == 0, done.stderr
    assert "recording finished" in done.stderr
    (before,), (after,) = open_session(first).episodes, open_session(again).episodes
    assert after.start.seed == 1
    assert [row.frame_hash for row in after.rows[:7]] == [row.frame_hash for row in before.rows]


def test_unusable_recorded_actions_are_errors(tiny_preset_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError):
        run([str(tiny_preset_folder), "--actions", str(tmp_path)])
    with pytest.raises(UsageError) as caught:
        run(["--actions", str(tmp_path)])
    assert "without a preset" in caught.value.message
    other = replace(HEADER, action_spec=ActionSpec(buttons=("jump",)))
    recorder, simulator = Recorder(folder=tmp_path / "s"), FakeSimulator()
    recorder.add(simulator.reset(0), 0, other)
    recorder.close()
    arguments = PlayArguments(preset=str(tiny_preset_folder), actions=tmp_path / "s")
    with pytest.raises(UsageError) as caught:
        _check_inputs(arguments, HEADER.action_spec)
    assert "other inputs" in caught.value.message


def test_only_presets_with_an_engine_have_a_reference_world(tiny_preset_folder: Path) -> None:
    opened = open_preset(tiny_preset_folder)
    assert opened.reference is not None
    assert opened.reference.num_context == opened.preset.config.play.context_frames
    recorded = RecordedWorldConfig(buttons=("forward",), frame_height_px=48, frame_width_px=64)
    config = replace(opened.preset.config, world=recorded)
    assert replace(opened, preset=replace(opened.preset, config=config)).reference is None


@pytest.mark.parametrize("option", ["--record", "--load"])
def test_session_options_need_a_preset(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError) as caught:
        run([option, str(tmp_path / "new")])
    assert caught.value.message == f"{option} without a preset"


def test_a_reference_world_with_pose_inputs_is_played_by_keys(given_preset_folder: Path) -> None:
    loaded = _load_reference(PlayArguments(preset=str(given_preset_folder), reference=True), lambda stage: None)
    assert (
        loaded.action_spec.buttons == ("forward", "back", "left", "right") and loaded.action_spec.pose_control is None
    )
