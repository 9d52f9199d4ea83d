"""The stages, from a preset.toml to a preset that plays, with real workers over the real engine."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from worldsim.core.errors import ConfigError, PresetNotFoundError
from worldsim.core.types import Action
from worldsim.engine.simulator import Simulator
from worldsim.models.build import build_world_model
from worldsim.models.config import (
    FixedMapConfig,
    MapConfig,
    MapModelConfig,
    MappedModelConfig,
    SeparateDenoiserConfig,
    SequenceModelConfig,
    SpatialMapConfig,
)
from worldsim.models.pose import scale_poses
from worldsim.presets.config import SCHEMA_VERSION
from worldsim.presets.store import load_preset
from worldsim.training import loop
from worldsim.training.config import SpatialMapTraining, Stage, read_training
from worldsim.training.distributed import DistributedContext
from worldsim.training.recipes.map import scale_map_poses
from worldsim.training.run import TrainingRun, init_from_preset

FIXED, SPATIAL = FixedMapConfig(width=16), SpatialMapConfig(width=16)
MAPPED = {
    "fixed": '\nkind = "mapped"\nmap = { kind = "fixed", width = 16 }',
    "spatial": '\nkind = "mapped"\nmap = { kind = "spatial", width = 12 }',
}
"""Added to `[model]`."""
TINY = """
name = "tiny"
title = "A tiny maze"
[world]
maps = [1]
grid = [2, 2]
landmarks = 0
[autoencoder]
latent_channels = 4
widths = [16, 16, 16]
[model]
width = 24
num_heads = 2
num_layers = 1
scan = { state_dim = 4 }
denoiser = { width = 16, num_blocks = 1 }
[play]
context_frames = 4
[training.data]
episode_frames = 24
min_buffer_episodes = 2
buffer_episodes = 4
num_workers = 2
replay_ratio = 2.0
[training.autoencoder]
batch_frames = 4
[training.sequence]
clip_frames = 6
batch_clips = 4
shortcut_start_step = 0
self_rollout_prob = 0.5
"""


@pytest.fixture
def preset_toml(tmp_path: Path) -> Path:
    path = tmp_path / "preset.toml"
    path.write_text(TINY)
    return path


def train(preset_toml: Path, stage: str, *, updates: int = 3, run: str = "run") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worldsim", "train", str(preset_toml), "--stage", stage, "--minutes", "2"]
    folder = preset_toml.parent / run
    command += ["--updates", str(updates), "--cooldown-updates", "0", "--device", "cpu", "--out", str(folder)]
    command += ["--json", str(folder / "last.json")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_options_replace_values_of_the_recipe(preset_toml: Path) -> None:
    lines = ["data.num_workers = 5", "sequence.optimizer.learning_rate=1e-4", 'compute.precision = "bfloat16"']
    context = DistributedContext(device="cpu")
    training = TrainingRun.open(preset_toml, folder=None, distributed=context, overrides=lines).training
    assert training.data.num_workers == 5 and training.data.episode_frames == 24
    assert training.sequence.optimizer.learning_rate == 1e-4 and training.compute.precision == "bfloat16"
    for line in ("data.num_workers", "data.workers = 5"):
        with pytest.raises(ConfigError):
            TrainingRun.open(preset_toml, folder=None, distributed=context, overrides=[line])


def test_stages_resume_as_if_uninterrupted_and_produce_a_playable_preset(preset_toml: Path) -> None:
    folder = preset_toml.parent / "run"
    for stage in ("autoencoder", "dynamics"):
        result = train(preset_toml, stage)
        assert result.returncode == 0, result.stderr
    shutil.copytree(folder / "autoencoder", preset_toml.parent / "whole" / "autoencoder")
    assert train(preset_toml, "dynamics").returncode == 0
    assert train(preset_toml, "dynamics", updates=6, run="whole").returncode == 0
    stopped, whole = (
        load_file(preset_toml.parent / run / "dynamics/last/model.safetensors") for run in ("run", "whole")
    )
    assert all(torch.equal(tensor, whole[name]) for name, tensor in stopped.items()), (
        "bit for bit, two workers rendering"
    )

    summary = json.loads((folder / "last.json").read_text())
    assert summary["updates"] == 6 and summary["ended_by"] == "updates"
    assert list((folder / "dynamics" / "samples").glob("*.png"))
    rows = [json.loads(line) for line in (folder / "dynamics" / "log.jsonl").read_text().splitlines()]
    assert "psnr_1" in rows[-1]

    assert train(preset_toml, "decoder").returncode == 0
    before, after = (load_file(folder / stage / "last" / "model.safetensors") for stage in ("dynamics", "decoder"))
    assert {name for name in after if not torch.equal(before[name], after[name])} == {
        name for name in after if name.startswith("autoencoder.decoder.")
    }
    for stage in ("dynamics", "decoder"):
        simulator = Simulator(load_preset(folder / stage / "last"))
        first = simulator.reset(0)
        assert first.frame.shape == simulator.step(Action.of("forward")).frame.shape == (48, 64, 3)


@pytest.mark.parametrize("end", ["terminate", pytest.param("kill", marks=pytest.mark.slow)])
def test_no_engine_and_no_worker_outlives_a_terminated_trainer(end: str, preset_toml: Path) -> None:
    command = [sys.executable, "-m", "worldsim", "train", str(preset_toml), "--stage", "autoencoder", "--minutes", "5"]
    log = preset_toml.parent / "log"
    with log.open("w") as file:
        trainer = subprocess.Popen([*command, "--out", str(preset_toml.parent / "run")], stdout=file, stderr=file)
    try:
        deadline_s = time.monotonic() + 60
        while "update 20" not in log.read_text() and time.monotonic() < deadline_s:
            time.sleep(0.2)
        family = psutil.Process(trainer.pid).children(recursive=True)
        assert any("vizdoom" in process.name() for process in family), [p.name() for p in family]
        getattr(trainer, end)()
        assert trainer.wait(timeout=30) == (0 if end == "terminate" else -signal.SIGKILL)
    finally:
        trainer.kill()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, [process.name() for process in alive]
    assert ("stopped (SIGTERM)" in log.read_text()) == (end == "terminate")


@pytest.mark.parametrize(("stage", "first"), [("dynamics", "autoencoder"), ("decoder", "dynamics")])
def test_a_stage_without_its_predecessor_names_the_missing_stage(preset_toml: Path, stage: str, first: str) -> None:
    result = train(preset_toml, stage)
    assert result.returncode == PresetNotFoundError.exit_code
    assert f"hint: run the same command with --stage {first} first" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_training_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"training\.sequence\.clip_frame'") as caught:
        read_training({"sequence": {"clip_frame": 3}}, SequenceModelConfig())
    assert "clip_frames" in caught.value.hint


def test_a_relative_pose_starts_at_the_origin_looking_along_x() -> None:
    # Looking along +y, one step forward is +y in the world and +x seen from the start.
    quarter = torch.pi / 2
    pose = torch.tensor([[[3.0, 4.0, quarter], [3.0, 6.0, quarter], [3.0, 6.0, 2 * quarter]]])
    target = scale_poses(pose, origin_units=(0.0, 0.0), scale_units=2.0, is_relative=True)
    expected = torch.tensor([[[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]])
    assert torch.allclose(target, expected, atol=1e-6), target


@pytest.mark.parametrize(
    ("map_config", "is_relative"),
    [(FIXED, False), (SPATIAL, True), (SpatialMapConfig(width=16, pose="given"), False)],
)
def test_poses_are_relative_only_for_a_spatial_map_that_estimates_them(
    map_config: MapConfig, is_relative: bool
) -> None:
    config = read_training({"map": {"pose_scale_units": 2.0}}, MapModelConfig(map=map_config)).map
    scaled = scale_map_poses(torch.tensor([[[3.0, 4.0, 0.0]]]), config, map_config)
    assert scaled[0, 0].tolist() == ([0.0, 0.0, 1.0, 0.0] if is_relative else [1.5, 2.0, 1.0, 0.0])


def test_a_mapped_model_learns_its_map_and_then_the_sequence_model_on_the_frozen_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spatial map is trained with the reference world's depth; the resulting preset plays."""
    monkeypatch.setattr(loop, "LOG_EVERY_UPDATES", 1)
    toml = TINY.replace("[model]", f"[model]{MAPPED['spatial']}").replace("episode_frames = 24", "episode_frames = 28")
    toml += "[training.map]\nbatch_clips = 2\nclip_frames = 26\n"
    (tmp_path / "preset.toml").write_text(toml, encoding="utf-8")
    run = TrainingRun.open(
        tmp_path / "preset.toml", folder=tmp_path / "run", distributed=DistributedContext(device="cpu")
    )
    rows: list[dict[str, Any]] = []
    run.train("autoencoder", 2.0, 2, on_log=rows.append)
    with pytest.raises(PresetNotFoundError, match="no trained map") as caught:
        run.train("dynamics", 2.0, 1, on_log=rows.append)
    assert "--stage map first" in caught.value.hint
    run.train("map", 2.0, 2, on_log=rows.append)
    run.train("dynamics", 2.0, 2, on_log=rows.append)
    map_rows = [row for row in rows if "recall" in row]
    assert len(map_rows) == 2 and all(row["depth"] > 0 for row in map_rows), "the true depth is known"
    assert all("flow" not in row for row in map_rows) and rows[-2]["flow"] > 0
    trained, final = (load_file(tmp_path / "run" / stage / "last/model.safetensors") for stage in ("map", "dynamics"))
    changed = {name for name in final if not torch.equal(trained[name], final[name])}
    assert changed and not any(name.startswith("model.map.") for name in changed)
    model = load_preset(tmp_path / "run" / "dynamics" / "last").model
    with torch.inference_mode():
        state = model.initial_state(1, seed=0)
        frame = model.begin(state, torch.zeros(1, model.action_size))
        after = model.commit(frame, torch.randn(1, *model.latent_shape), torch.zeros(1))
    assert after.tensors["map.occupied"].any()


@pytest.mark.parametrize(
    ("map_kind", "table", "stage", "message"),
    [
        ("spatial", "map]\nclip_frames = 26", "map", "clips of 26 frames, but training.data.episode_frames is 24"),
        ("fixed", "map]\nmotion_max_ticks = 23", "map", "clips of 25 frames"),
        ("none", "sequence]\ntbptt_clips = 5", "dynamics", "clips of 30 frames"),
    ],
)
def test_too_short_episodes_are_rejected_before_anything_is_rendered(
    map_kind: str, table: str, stage: Stage, message: str, preset_toml: Path
) -> None:
    text = TINY.replace("[model]", f"[model]{MAPPED.get(map_kind, '')}")
    name = table.split("]")[0]
    header = f"[training.{name}]"
    text = text.replace(header, f"[training.{table}") if header in text else f"{text}[training.{table}\n"
    preset_toml.write_text(text, encoding="utf-8")
    run = TrainingRun.open(preset_toml, folder=None, distributed=DistributedContext(device="cpu"))
    run.training_data("autoencoder")
    with pytest.raises(ConfigError, match=message):
        run.training_data(stage)


def test_invalid_spatial_map_training_is_rejected() -> None:
    SpatialMapTraining(clip_frames=24, motion_max_ticks=22)
    with pytest.raises(ConfigError, match="motion_max_ticks is 23") as caught:
        SpatialMapTraining(clip_frames=24, motion_max_ticks=23)
    assert "clip_frames = 25" in caught.value.hint
    with pytest.raises(ConfigError, match="clip_frames is 23"):
        SpatialMapTraining(clip_frames=23, motion_max_ticks=1)


@pytest.mark.parametrize(("before", "after"), [(None, FIXED), (None, SPATIAL), (FIXED, SPATIAL)])
def test_a_model_initialized_with_a_new_map_keeps_its_trunk_and_shows_the_map_reading(
    before: MapConfig | None, after: MapConfig, tmp_path: Path
) -> None:
    layers: dict[str, Any] = {"width": 24, "num_heads": 2, "num_layers": 1}
    layers |= {"denoiser": SeparateDenoiserConfig(width=16, num_blocks=1)}
    without_map = SequenceModelConfig(pose="none", **layers)
    old = build_world_model(MappedModelConfig(map=before, **layers) if before else without_map, (4, 2, 2), 3)
    torch.nn.init.normal_(old.denoiser.to_latent.weight)  # it has learned to add something
    new = build_world_model(MappedModelConfig(map=after, **layers), (4, 2, 2), 3)
    weights = {f"model.{n}": t.contiguous() for n, t in old.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"schema_version": str(SCHEMA_VERSION)})
    init_from_preset(new, tmp_path)
    clip = torch.randn(1, 5, 4, 2, 2)
    level, action = torch.zeros(1, 5), torch.randn(1, 5, 3)
    histories = [m.read_history(clip, level, action) for m in (old, new)]
    assert torch.equal(histories[0].inputs.features, histories[1].inputs.features)
    shown = new.predict(histories[1], clip, level, level)
    assert torch.equal(shown, histories[1].inputs.latents[:, :, -4:]), "nothing is added to what is recalled"
    with pytest.raises(PresetNotFoundError, match="no weights"):
        init_from_preset(new, tmp_path / "nowhere")
