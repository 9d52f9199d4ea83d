"""`worldsim rollout`: the video, the JSON, errors and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import safetensors.torch

from worldsim.cli.main import main
from worldsim.core.devices import choose_device
from worldsim.core.errors import StateError, UsageError
from worldsim.core.images import upscale
from worldsim.core.types import Action
from worldsim.episodes.video import upscale_factor, video_file


def rollout(preset: Path, out: Path, *more: str) -> int:
    return main(["rollout", str(preset), "--frames", "6", "--out", str(out), "--device", "cpu", *more])


def frames_of(path: Path) -> tuple[np.ndarray, Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), stream


def test_the_video_has_the_requested_frames_upscaled_by_an_integer(tiny_preset_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "walk.mp4"
    assert rollout(tiny_preset_folder, out) == 0
    frames, stream = frames_of(out)
    assert frames.shape == (6, 48 * 6, 64 * 6, 3)
    assert stream.codec_context.name == "h264"
    assert stream.codec_context.pix_fmt == "yuv420p"
    assert float(stream.average_rate) == 17.5
    assert list(out.parent.iterdir()) == [out], "no temporary file stays"


def test_the_json_describes_the_run(
    tiny_preset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--seed", "3", "--steps", "2", "--script", "look", "--json", "-")
    assert rollout(tiny_preset_folder, tmp_path / "a.mp4", *arguments) == 0
    done = json.loads(capsys.readouterr().out)
    expected = {"preset": "tiny", "frames": 6, "seed": 3, "steps": 2, "script": "look", "device": "cpu"}
    assert done | expected == done
    assert done["frames_per_s"] > 0
    assert len(done["preset_sha256"]) == 64


def test_progress_lines_count_up_to_the_last_frame(tiny_preset_folder: Path, tmp_path: Path) -> None:
    assert rollout(tiny_preset_folder, tmp_path / "a.mp4", "--progress", str(tmp_path / "p")) == 0
    rows = [json.loads(line) for line in (tmp_path / "p").read_text(encoding="utf-8").splitlines()]
    assert rows[0]["frame"] == 0
    assert rows[-1]["frame"] == rows[-1]["total"] == 6
    assert rows[-1]["state"] == "done"


def test_videos_are_equal_for_equal_seeds_only(tiny_preset_folder: Path, tmp_path: Path) -> None:
    seeds = {"a": "0", "b": "0", "c": "2"}  # two starts: 0 and 2 have the same one and diverge after it
    for name, seed in seeds.items():
        assert rollout(tiny_preset_folder, tmp_path / f"{name}.mp4", "--seed", seed) == 0
    a, b, c = (frames_of(tmp_path / f"{name}.mp4")[0] for name in seeds)
    assert (a == b).all()
    assert (a != c).any()


def fill_with_nan(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if key != "data_sha256"}
    nan = {name: t.fill_(float("nan")) if name.startswith("model.") else t for name, t in tensors.items()}
    safetensors.torch.save_file(nan, path, metadata)


def drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def truncate_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def change_config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        mapping = json.loads(path.read_text(encoding="utf-8"))
        for key, value in values.items():
            mapping[key] = mapping[key] | value if isinstance(value, dict) else value
        path.write_text(json.dumps(mapping), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("damage", "code", "error", "hint"),
    [
        (drop_weights, 5, "has no model.safetensors", "again"),
        (truncate_weights, 5, "model.safetensors is damaged or truncated", "again"),
        (change_config(autoencoder={"latent_channels": 8}), 14, "the config asks for", "same preset"),
        (change_config(play={"num_stepz": 2}), 3, "unknown key 'play.num_stepz'", "did you mean 'num_steps'?"),
        (change_config(schema_version=9), 5, "schema version 9", "update yours"),
        (fill_with_nan, 9, "NaN or infinite", "weights may be damaged"),
    ],
    ids=["missing weights", "truncated weights", "wrong shapes", "unknown key", "newer schema", "NaN"],
)
def test_a_bad_preset_is_an_error_with_a_hint_and_an_exit_code(
    damage: Callable[[Path], None],
    code: int,
    error: str,
    hint: str,
    tiny_preset_copy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(tiny_preset_copy)
    assert rollout(tiny_preset_copy, tmp_path / "a.mp4") == code
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["error", "hint"]
    assert error in lines[0]
    assert hint in lines[1]
    assert not list(tmp_path.glob("*.mp4")), "a rollout that failed leaves no video"


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["mazze-of-nowhere"], 4, "no preset named 'mazze-of-nowhere'", ""),
        (["./nowhere"], 4, "no preset folder ./nowhere", "config.json"),
        (["someone/not-cached"], 4, "someone/not-cached is not in the cache", "download it once while online"),
        (["tiny", "--frames", "0"], 2, "--frames is 0", "at least 1"),
        (["tiny", "--steps", "0"], 2, "--steps is 0", "at least 1"),
        (["tiny", "--seed", "-1"], 2, "--seed is -1", "at least 0"),
        (["tiny", "--out", "a.gif"], 2, "a.gif does not end in .mp4", "a.mp4"),
        (["tiny", "--device", "gpu"], 11, "no device 'gpu'", ""),
        (["tiny", "--out", "file/a.mp4"], 12, "cannot write file/a.mp4", "permissions"),
        (["weights.pt"], 5, "refused to load weights.pt: a pickle", "safetensors"),
    ],
)
def test_a_bad_argument_is_an_error_with_a_hint_and_an_exit_code(
    arguments: list[str],
    code: int,
    error: str,
    hint: str,
    tiny_preset_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "weights.pt").touch()
    ref = str(tiny_preset_folder) if arguments[0] == "tiny" else arguments[0]
    assert main(["rollout", ref, "--frames", "2", "--device", "cpu", *arguments[1:]]) == code
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["error", "hint"]
    assert error in lines[0]
    assert hint in lines[1]


def test_an_unavailable_device_is_an_error(
    tiny_preset_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["rollout", str(tiny_preset_folder), "--device", "cuda"]) == 11
    assert "cuda is not available" in capsys.readouterr().err
    assert choose_device("auto") == "cpu"
    assert capsys.readouterr() == ("", "worldsim: device cpu: no CUDA device\n")


@pytest.mark.parametrize(
    ("height_px", "width_px", "scale"),
    [(48, 64, 6), (96, 128, 3), (256, 256, 1), (300, 400, 1), (51, 68, 6), (301, 400, 2)],
)
def test_frames_are_upscaled_to_an_even_size_of_at_least_256_px(height_px: int, width_px: int, scale: int) -> None:
    assert upscale_factor(height_px, width_px) == scale


def test_upscaling_repeats_every_pixel() -> None:
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = upscale(frame, 3)
    assert large.shape == (6, 6, 3)
    assert (large[:3, 3:] == frame[0, 1]).all()


def test_an_output_that_is_not_mp4_is_an_error_before_writing(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError),
        video_file(tmp_path / "a.avi", height_px=48, width_px=64, frames_per_s=17.5),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_fresh_process", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_load_continues_from_a_saved_state_and_its_recording_is_exact(
    tiny_preset_folder: Path, tmp_path: Path, is_fresh_process: bool
) -> None:
    from worldsim.actions.scripted_actions import script_actions
    from worldsim.engine.preset_world import session_header
    from worldsim.engine.replay import check
    from worldsim.engine.save_files import SaveFiles
    from worldsim.engine.saves import SaveRecord
    from worldsim.engine.simulator import Simulator
    from worldsim.episodes.format import ActionRun, frame_hash
    from worldsim.episodes.reader import open_session
    from worldsim.presets.store import load_preset

    preset = load_preset(str(tiny_preset_folder))
    simulator = Simulator(preset)
    header = session_header(preset, simulator, ref=str(tiny_preset_folder), device="cpu")
    simulator.reset(1)
    step = [simulator.step(Action.of("forward")) for _ in range(3)][-1]
    run = ActionRun(action=(1.0, 0.0, 0.0, 0.0, 0.0), num_steps=step.num_steps, count=3)
    saved = SaveRecord(header=header, seed=1, step=step, runs=(run,))
    SaveFiles(preset, header).write(tmp_path / "save", saved, simulator.snapshot())
    more = ("--load", str(tmp_path / "save"), "--record", str(tmp_path / "recorded"))
    if is_fresh_process:
        command = [sys.executable, "-m", "worldsim", "rollout", str(tiny_preset_folder), "--frames", "6", *more]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=120)
    else:
        assert rollout(tiny_preset_folder, tmp_path / "a.mp4", *more) == 0
    session = open_session(tmp_path / "recorded")
    actions = script_actions("explore", simulator.action_spec, 0, 6)
    expected = [frame_hash(frame) for frame in (step.frame, *(simulator.step(action).frame for action in actions))]
    assert [row.frame_hash for row in session.episodes[0].rows] == expected
    assert session.episodes[0].start.first_index == 3
    assert check(session, simulator).is_exact


def test_with_pose_inputs_the_script_moves_the_camera_and_poses_are_recorded(
    given_preset_folder: Path, tmp_path: Path
) -> None:
    from worldsim.engine.replay import check
    from worldsim.engine.simulator import Simulator
    from worldsim.episodes.reader import open_session
    from worldsim.presets.store import load_preset

    more = ("--frames", "12", "--script", "look", "--record", str(tmp_path / "recorded"))
    assert rollout(given_preset_folder, tmp_path / "a.mp4", *more) == 0
    session = open_session(tmp_path / "recorded")
    actions = np.array([row.action for row in session.episodes[0].rows])
    assert np.abs(actions[:, :2] - (0.2, -0.1)).max() < 1e-6, "on the spot"
    angles_deg = np.degrees(np.unwrap(np.arctan2(actions[:, 3], actions[:, 2])))
    assert np.abs(np.diff(angles_deg)) == pytest.approx(10, abs=1e-3), "also the first, from the start's own pose"
    assert check(session, Simulator(load_preset(str(given_preset_folder)))).is_exact
    assert main(["bench", str(given_preset_folder), "--frames", "20", "--device", "cpu"]) == 0


def test_a_damaged_save_is_an_error_before_loading(
    tiny_preset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "save").write_bytes(b"nonsense")
    assert rollout(tiny_preset_folder, tmp_path / "a.mp4", "--load", str(tmp_path / "save")) == StateError.exit_code
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"error: the saved state {tmp_path / 'save'} is damaged")
    assert told[1] == "hint: use another save"
    assert not (tmp_path / "a.mp4").exists()
