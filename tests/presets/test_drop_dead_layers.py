"""tools/drop_dead_layers.py: a mapped preset whose denoiser adds only a constant becomes a map with the same frames."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.conftest import TINY_CONFIG, mapped, write_tiny_preset
from worldsim.core.errors import PresetError
from worldsim.core.types import Action
from worldsim.engine.preset_world import session_header
from worldsim.engine.save_files import SaveFiles
from worldsim.engine.saves import SaveRecord
from worldsim.engine.simulator import Simulator
from worldsim.episodes.format import ActionRun
from worldsim.models.config import FixedMapConfig, MapConfig, SpatialMapConfig
from worldsim.models.mapped import MappedModel
from worldsim.models.maps.map_model import MapModel
from worldsim.presets.store import load_preset, save_preset, verify

ROOT = Path(__file__).parents[2]
MAPS = {"fixed": FixedMapConfig(width=16), "spatial": SpatialMapConfig(width=12)}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drop_dead_layers", ROOT / "tools" / "drop_dead_layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_mapped_preset(folder: Path, map_config: MapConfig, *, is_dead: bool) -> None:
    """With a live output bias, as three of the bundled presets had."""
    write_tiny_preset(folder, mapped(TINY_CONFIG, map_config))
    preset = load_preset(folder)
    assert isinstance(preset.model, MappedModel)
    if is_dead:
        preset.model.denoiser.to_latent.weight.zero_()
    save_preset(folder, preset.config, preset.autoencoder, preset.model, preset.starts, dtype=torch.bfloat16)


@pytest.mark.parametrize("name", MAPS)
def test_only_the_map_and_the_bias_are_kept_and_the_frames_are_equal(
    name: str, tool: ModuleType, tmp_path: Path
) -> None:
    write_mapped_preset(tmp_path, MAPS[name], is_dead=True)
    before = load_preset(tmp_path)
    old_size = (tmp_path / "model.safetensors").stat().st_size
    after = tool.rewrite(tmp_path, num_frames=10)
    assert isinstance(after.model, MapModel) and after.model.latent_bias_C.any()
    assert after.config.model.map == MAPS[name]
    assert (tmp_path / "model.safetensors").stat().st_size < old_size
    for key, tensor in after.model.map.state_dict().items():
        assert torch.equal(tensor, before.model.state_dict()[f"map.{key}"]), key
    tool.check_equal_frames(before, after, 10)


def test_a_denoiser_with_an_effect_is_kept(tool: ModuleType, tmp_path: Path) -> None:
    write_mapped_preset(tmp_path, MAPS["fixed"], is_dead=False)
    content = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(PresetError, match="changes its frames"):
        tool.rewrite(tmp_path, num_frames=10)
    assert (tmp_path / "model.safetensors").read_bytes() == content


def test_what_belonged_to_the_old_files_belongs_to_the_new_ones_and_to_no_others(
    tool: ModuleType, tmp_path: Path, tiny_preset_folder: Path
) -> None:
    write_mapped_preset(tmp_path / "p", MAPS["fixed"], is_dead=True)
    old = load_preset(tmp_path / "p")
    new = tool.rewrite(tmp_path / "p", num_frames=2)
    assert old.sha256 != new.sha256
    for result in (new, verify(tmp_path / "p")):
        assert result.generates_frames_of(old.sha256) and result.generates_frames_of(new.sha256)
        assert not result.generates_frames_of("0" * 64)
    assert not load_preset(tiny_preset_folder).generates_frames_of(old.sha256)
    save_preset(tmp_path / "q", new.config, new.autoencoder, new.model, new.starts, new.metadata)
    assert not load_preset(tmp_path / "q").generates_frames_of(old.sha256), "other weights are trained from these"


def test_a_save_of_the_old_files_loads_without_the_dropped_layers(tool: ModuleType, tmp_path: Path) -> None:
    write_mapped_preset(tmp_path / "p", MAPS["spatial"], is_dead=True)
    old = load_preset(tmp_path / "p")
    simulator = Simulator(old)
    simulator.reset(0)
    step = simulator.step(Action.of("forward"))
    header = session_header(old, simulator, ref=str(tmp_path / "p"), device="cpu")
    run = ActionRun(action=(1.0, 0.0, 0.0, 0.0, 0.0), num_steps=1, count=1)
    record = SaveRecord(header=header, seed=0, step=step, runs=(run,))
    SaveFiles(old, header).write(tmp_path / "s.safetensors", record, simulator.snapshot())
    expected = simulator.step(Action.of("left")).frame
    new = tool.rewrite(tmp_path / "p", num_frames=2)
    again = Simulator(new)
    files = SaveFiles(new, session_header(new, again, ref=str(tmp_path / "p"), device="cpu"))
    position = files.read(tmp_path / "s.safetensors")
    again.restore(position.snapshot)
    assert (again.step(Action.of("left")).frame == expected).all()
