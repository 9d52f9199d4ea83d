"""`worldsim replay` of recordings by rollout and play: exact, and altered ones are detected."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import write_tiny_preset
from worldsim.cli.main import main
from worldsim.episodes.format import data_path
from worldsim.episodes.reader import open_session
from worldsim.presets.config import PresetConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recorded(tiny_preset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 lossless frames of the tiny preset; read-only."""
    folder = tmp_path_factory.mktemp("recordings") / "s"
    arguments = ["--frames", "19", "--seed", "1", "--record", str(folder), "--lossless", "--device", "cpu"]
    assert main(["rollout", str(tiny_preset_folder), *arguments]) == 0
    return folder


def replay(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    assert main(["replay", *map(str, arguments), "--check", "--json", "-"]) == code
    return json.loads(capsys.readouterr().out)


def changed(recorded: Path, target: Path, row: int, column: str, value: object) -> Path:
    folder = Path(shutil.copytree(recorded, target))
    table = pq.read_table(data_path(folder, 0))
    values = table[column].to_pylist()
    assert values[row] != value
    values[row] = value
    column_index = table.schema.get_field_index(column)
    pq.write_table(
        table.set_column(column_index, column, pa.array(values, table.schema.field(column).type)), data_path(folder, 0)
    )
    return folder


def test_a_recorded_rollout_is_replayed_exactly(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = replay(capsys, recorded)
    assert (found["exact"], found["frames"], found["notes"]) == (True, 20, [])
    assert found["text"].startswith("exact")
    assert not list(Path.cwd().glob("rollout.mp4")), "--record writes no other video"


def test_a_relative_preset_path_is_found_from_another_folder(
    tiny_preset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_preset_folder.parent)
    arguments = ["--frames", "3", "--record", str(tmp_path / "s"), "--device", "cpu"]
    assert main(["rollout", f"./{tiny_preset_folder.name}", *arguments]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["replay", "s", "--check"]) == 0


@pytest.mark.parametrize("command", ["play", "rollout"])
def test_an_unwritable_record_folder_is_an_error_before_loading(
    command: str, tiny_preset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_preset(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("worldsim.presets.store.load_preset", load_preset)
    monkeypatch.setenv("SDL_VIDEODRIVER", "nowhere")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert main([command, str(tiny_preset_folder), "--record", str(tmp_path / "file" / "s")]) == 12


def test_an_altered_hash_is_the_first_mismatch_with_equal_frames(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = changed(recorded, tmp_path / "s", 7, "worldsim.frame_hash", "0" * 16)
    found = replay(capsys, folder, code=16)
    assert found["exact"] is False
    assert (found["difference"]["frame"], found["difference"]["max_levels"]) == (7, 0)


def test_an_altered_action_is_found_with_the_size_of_the_difference(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    action = [1.0 - abs(value) for value in open_session(recorded).episodes[0].rows[5].action]
    found = replay(capsys, changed(recorded, tmp_path / "s", 5, "action", action), code=16)
    assert found["difference"]["frame"] == 5
    assert found["difference"]["max_levels"] > 0
    assert found["difference"]["is_measured_exactly"]


def test_an_invalid_action_is_a_damaged_recording(recorded: Path, tmp_path: Path) -> None:
    size = len(open_session(recorded).episodes[0].rows[5].action)
    assert main(["replay", str(changed(recorded, tmp_path / "s", 5, "action", [2.0] * size)), "--check"]) == 15


def test_other_weights_fail_the_check_or_are_scored(
    recorded: Path, tiny_preset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(recorded, tmp_path / "s"))
    own = json.loads((folder / "meta/worldsim.json").read_text(encoding="utf-8"))
    own["header"]["preset_sha256"] = "f" * 64
    (folder / "meta/worldsim.json").write_text(json.dumps(own), encoding="utf-8")
    assert main(["replay", str(folder), "--check"]) == 16
    assert "recorded with weights ffffffffffff" in capsys.readouterr().err
    more_steps = replay(capsys, recorded, "--steps", 4)
    assert (more_steps["frames_as_recorded"], len(more_steps["psnr_db"]), len(more_steps["ssim"])) == (20, 20, 20)
    assert 0 < more_steps["frames_equal"] < 20
    assert 0 < more_steps["psnr_db_mean"] < 100
    assert more_steps["ssim_mean"] < 1
    as_before = replay(capsys, recorded, "--steps", open_session(recorded).header.num_steps)
    assert (as_before["frames_equal"], as_before["ssim_mean"]) == (20, pytest.approx(1.0))
    assert main(["replay", str(recorded), "--check", "--reference", "--steps", "2"]) == 2


def test_the_preset_option_gives_the_new_location_of_the_recorded_weights(
    recorded: Path, tiny_preset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(recorded, tmp_path / "s"))
    own = json.loads((folder / "meta/worldsim.json").read_text(encoding="utf-8"))
    own["header"]["preset_ref"] = str(tmp_path / "gone")
    (folder / "meta/worldsim.json").write_text(json.dumps(own), encoding="utf-8")
    assert main(["replay", str(folder), "--check"]) == 4
    capsys.readouterr()
    assert replay(capsys, folder, "--preset", tiny_preset_folder)["exact"] is True


def test_the_reference_world_is_scored_from_the_start_of_the_preset(
    tiny_config: PresetConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("vizdoom")
    from worldsim.presets.store import Start
    from worldsim.training.workers import record_episodes
    from worldsim.worlds.trajectories import FIRST_START_SEED, START_TRAJECTORY_FRAMES

    (walk,) = record_episodes(tiny_config.ground_truth_config, [FIRST_START_SEED], START_TRAJECTORY_FRAMES, "mixed")
    preset, folder = tmp_path / "tiny", tmp_path / "s"
    write_tiny_preset(preset, tiny_config, starts=[Start(frames=walk.frames[-6:], actions=walk.actions[-6:])])
    assert main(["rollout", str(preset), "--frames", "12", "--record", str(folder), "--device", "cpu"]) == 0
    capsys.readouterr()
    found = replay(capsys, folder, "--reference")
    assert (found["frames"], found["frames_as_recorded"]) == (13, 13)
    assert found["psnr_db"][0] == 100.0, "the reference world is not at the start of the preset"
    assert 5 < found["psnr_db_mean"] < 40


def test_a_reference_world_that_cannot_reach_the_start_is_an_error(recorded: Path) -> None:
    pytest.importorskip("vizdoom")
    assert main(["replay", str(recorded), "--check", "--reference"]) == 10


def test_a_played_session_is_recorded_shown_and_checked(tiny_preset_folder: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "s")
    play = ["play", str(tiny_preset_folder), "--frames", "8", "--fps", "200", "--record", folder, "--device", "cpu"]
    commands = [play, ["replay", folder, "--frames", "4"], ["replay", folder, "--frames", "4", "--steps", "2"]]
    code = "import sys; from worldsim.cli.main import main; " + f"sys.exit(any(map(main, {commands!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SDL_VIDEODRIVER": "dummy", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert open_session(Path(folder)).num_frames >= 9
    assert main(["replay", folder, "--check"]) == 0
