"""Every preset.toml in the repository is one that can be trained: read whole, and of the size it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from worldsim.models.build import build_world_model
from worldsim.presets.config import read_preset_toml
from worldsim.training.config import read_training

PRESETS = Path(__file__).parents[2] / "presets"
WORLDS = sorted(
    p.parent.name for p in PRESETS.glob("*/preset.toml") if 'kind = "recorded"' not in p.read_text(encoding="utf-8")
)
MILLIONS = {
    "comparison": (0.4, 1),
    "maze": (1, 2),
    "maze-large-200m": (185, 215),
    "maze-large-50m": (45, 55),
    "maze-random": (0.6, 0.7),
    "memory-maze": (0.6, 0.7),
    "memory-maze-fixed": (1, 2),
    "memory-maze-mapped": (5.5, 6.5),
    "memory-maze-pose": (0.5, 0.7),
    "memory-maze-scan": (5, 5.5),
}
"""Parameters of the world model, from and to."""


@pytest.mark.parametrize("name", WORLDS)
def test_a_recipe_is_read_and_its_model_has_the_size_it_says(name: str) -> None:
    preset, table = read_preset_toml(PRESETS / name / "preset.toml")
    read_training(table, preset.model)
    assert preset.name == name
    with torch.device("meta"):
        model = build_world_model(preset.model, preset.latent_shape, preset.action_spec.size)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    low, high = MILLIONS[name]
    assert low < millions < high, f"{millions:.1f} million parameters"
