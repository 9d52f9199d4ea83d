"""What tests of several packages share: a preset small enough to be built on the spot. It runs, untrained, no more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

# No test may reach the network by accident; the tests marked `hub` point the client at loopback themselves.
os.environ["HF_HUB_OFFLINE"] = "1"

from worldsim.models.config import (
    AutoencoderConfig,
    LayersConfig,
    LocalAttentionConfig,
    Mamba2Config,
    MapConfig,
    MappedModelConfig,
    SeparateDenoiserConfig,
    SequenceModelConfig,
    SpatialMapConfig,
)
from worldsim.presets.config import PlayConfig, PresetConfig
from worldsim.worlds.doom.config import DoomConfig

if TYPE_CHECKING:  # loads torch
    from worldsim.presets.store import Start

TINY_DENOISER = SeparateDenoiserConfig(width=16, num_blocks=1)
TINY_CONFIG = PresetConfig(
    name="tiny",
    title="An untrained preset for tests",
    world=DoomConfig(maps=(1,)),
    autoencoder=AutoencoderConfig(latent_channels=4, widths=(4, 4, 8)),
    model=SequenceModelConfig(
        width=24,
        num_layers=2,
        num_heads=2,
        scan=Mamba2Config(state_dim=4),
        attention=LocalAttentionConfig(window_frames=2),
        denoiser=TINY_DENOISER,
    ),
    play=PlayConfig(context_frames=4),
)


def mapped(config: PresetConfig, map_config: MapConfig) -> PresetConfig:
    """The preset with the same layers and a map that its denoiser reads."""
    layers = {f.name: getattr(config.model, f.name) for f in fields(LayersConfig) if f.name != "kind"}
    return replace(config, model=MappedModelConfig(map=map_config, denoiser=TINY_DENOISER, **layers))


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_developer(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Here and in programs that tests start."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def tiny_config() -> PresetConfig:
    return TINY_CONFIG


@pytest.fixture(scope="session")
def tiny_preset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable preset folder with two starts. Shared: read it, never write to it."""
    folder = tmp_path_factory.mktemp("presets") / "tiny"
    write_tiny_preset(folder, TINY_CONFIG)
    return folder


@pytest.fixture(scope="session")
def given_preset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with poses as inputs; its one start has looked along x from (0.2, -0.1) all the time."""
    from worldsim.presets.store import Start

    by_pose = replace(TINY_CONFIG, name="given", world=DoomConfig(maps=(1,), inputs="pose"))
    config = mapped(by_pose, SpatialMapConfig(width=12, pose="given"))
    num_frames, rng = config.play.context_frames, np.random.default_rng(0)
    frames = rng.integers(0, 256, (num_frames, *config.frame_shape), dtype=np.uint8)
    actions = np.tile(np.array([0.2, -0.1, 1, 0, 1, 0, 1, 0], np.float32), (num_frames, 1))
    folder = tmp_path_factory.mktemp("presets") / "given"
    write_tiny_preset(folder, config, starts=[Start(frames=frames, actions=actions)])
    return folder


@pytest.fixture
def tiny_preset_copy(tiny_preset_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny preset that a test may damage."""
    return Path(shutil.copytree(tiny_preset_folder, tmp_path / "tiny"))


def write_tiny_preset(
    folder: Path, config: PresetConfig, num_starts: int = 2, starts: Sequence[Start] | None = None
) -> None:
    """`starts`: in place of `num_starts` of noise."""
    import torch

    from worldsim.models.autoencoder import Autoencoder
    from worldsim.models.build import build_world_model
    from worldsim.presets.store import Start, save_preset

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder = Autoencoder(config.autoencoder)
        model = build_world_model(config.model, latent_shape=config.latent_shape, action_size=config.action_spec.size)
        with torch.no_grad():  # layers that begin at zero would hide the action and the memory from the tests
            for parameter in (*autoencoder.parameters(), *model.parameters()):
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    rng = np.random.default_rng(0)
    num_frames, num_inputs = config.play.context_frames + 2, config.action_spec.size
    starts = starts or [
        Start(
            frames=rng.integers(0, 256, (num_frames, *config.frame_shape), dtype=np.uint8),
            actions=rng.integers(0, 2, (num_frames, num_inputs)).astype(np.float32),
        )
        for _ in range(num_starts)
    ]
    save_preset(folder, config, autoencoder, model, starts, {"trained_on": "nothing"}, card="# tiny\n\nUntrained.\n")
