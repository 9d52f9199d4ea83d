"""tools/ship_preset.py: from a checkpoint to a bundled preset with the scores of its weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from worldsim.core.errors import PresetError
from worldsim.presets.store import load_preset

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ship_preset() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ship_preset", ROOT / "tools" / "ship_preset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_shipping_halves_the_weights_and_keeps_where_they_come_from(
    ship_preset: ModuleType, tiny_preset_folder: Path, tmp_path: Path
) -> None:
    shipped = ship_preset.ship(tiny_preset_folder, tmp_path / "tiny")
    before = load_preset(tiny_preset_folder).metadata
    assert {**shipped.metadata, "data_sha256": before["data_sha256"]} == before
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (shipped.folder, tiny_preset_folder)]
    assert sizes[0] < 0.65 * sizes[1]
    assert any(p.dtype == torch.float32 for p in shipped.model.parameters())


def test_shipping_again_with_scores_only_changes_the_card(
    ship_preset: ModuleType, tiny_preset_folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "tiny"
    sha256 = ship_preset.ship(tiny_preset_folder, target, dtype=torch.float32).sha256  # not the default
    before = {path: path.read_bytes() for path in target.rglob("*.*") if path.name != "README.md"}
    scores = {"rollout": [{"horizon": 30, "psnr": 21.0}], "seeds": [900_000], "steps": 1, "preset_sha256": sha256}
    (tmp_path / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    ship_preset.ship(target, target, tmp_path / "scores.json")
    assert {path: path.read_bytes() for path in before} == before
    assert "| rollout@30 | 21.0 |" in (target / "README.md").read_text(encoding="utf-8")


def test_scores_of_other_weights_are_rejected(
    ship_preset: ModuleType, tiny_preset_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "scores.json").write_text(json.dumps({"preset_sha256": "0" * 64}), encoding="utf-8")
    with pytest.raises(PresetError, match="measured on other weights"):
        ship_preset.ship(tiny_preset_folder, tmp_path / "tiny", tmp_path / "scores.json")


def test_play_settings_come_from_the_preset_toml_beside_the_weights(
    ship_preset: ModuleType, tiny_preset_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "preset.toml").write_text(
        'name = "tiny"\ntitle = "New"\n[play]\nnum_steps = 2\ncontext_frames = 4\n', encoding="utf-8"
    )
    shipped = ship_preset.ship(tiny_preset_folder, tmp_path)
    assert (shipped.config.title, shipped.config.play.num_steps) == ("New", 2)
    assert shipped.config.model == load_preset(tiny_preset_folder).config.model


def test_separately_trained_parts_are_joined(ship_preset: ModuleType, tiny_preset_folder: Path, tmp_path: Path) -> None:
    preset = load_preset(tiny_preset_folder)
    trained = {name: tensor + 1 for name, tensor in preset.autoencoder.state_dict().items()}
    save_file(trained, tmp_path / "autoencoder.safetensors")
    replacements = [("autoencoder.", tmp_path / "autoencoder.safetensors")]
    shipped = ship_preset.ship(tiny_preset_folder, tmp_path / "tiny", dtype=torch.float32, replacements=replacements)
    assert all(torch.equal(trained[n], t) for n, t in shipped.autoencoder.state_dict().items())
    assert all(torch.equal(preset.model.state_dict()[n], t) for n, t in shipped.model.state_dict().items())
    with pytest.raises(PresetError, match="has no model"):
        ship_preset.ship(
            tiny_preset_folder, tmp_path / "tiny", replacements=[("model.", tmp_path / "autoencoder.safetensors")]
        )
