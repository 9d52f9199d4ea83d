"""Every model of the paper's tables: its size, its proofs, and what it can and cannot see."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from worldsim.core.errors import ConfigError
from worldsim.models.architectures import ARCHITECTURES, REFERENCE, apply, matched
from worldsim.models.config import WorldModelConfig, layer_size
from worldsim.models.world_model import WorldModel, build_world_model

LATENT_SHAPE = (16, 6, 8)
ACTION_SIZE = 4
SIZES = {
    "nano": WorldModelConfig(width=168, num_heads=7, num_layers=4),
    "comparison": WorldModelConfig(width=96, num_heads=4, num_layers=3),
}


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def build(config: WorldModelConfig) -> WorldModel:
    with torch.device("meta"):
        return build_world_model(config, LATENT_SHAPE, ACTION_SIZE)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_have_as_many_parameters_as_the_full_model(name: str, size: str) -> None:
    expected = num_parameters(build(matched(SIZES[size], REFERENCE)))
    found = num_parameters(build(matched(SIZES[size], name)))
    assert abs(found / expected - 1) < 0.01, f"{found} against {expected}"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_size_of_a_layer_is_that_of_its_parameters(name: str) -> None:
    config = apply(SIZES["comparison"], name)
    assert {num_parameters(layer) for layer in build(config).layers} == {layer_size(config)}


def test_the_reference_is_left_as_it_is() -> None:
    config = SIZES["nano"]
    assert matched(config, REFERENCE) == apply(config, REFERENCE)


def test_a_place_memory_and_the_trunk_are_left_behind() -> None:
    made = apply(WorldModelConfig(pose="place"), "mamba2")
    assert (made.form, made.pose) == ("single", "head")


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no architecture 'mamba'") as error:
        matched(SIZES["nano"], "mamba")
    assert "mamba2" in str(error.value.hint)


def test_the_registry_loads_no_torch() -> None:
    program = "import sys, worldsim.models.architectures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
