"""The autoencoder learns; a frozen encoder keeps its latents bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch

from worldsim.models.autoencoder import Autoencoder
from worldsim.models.config import AutoencoderConfig
from worldsim.training.config import AutoencoderTraining, OptimizerConfig
from worldsim.training.loop import Trainer
from worldsim.training.recipes.autoencoder import AutoencoderRecipe
from worldsim.training.replay_buffer import ClipBatch, ReplayBuffer
from worldsim.training.workers import Episode


class ColorBuffer:
    """Frames of a single color each."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def refresh(self) -> None:
        """There are no new episodes."""

    def sample(self, num_clips: int, clip_frames: int) -> ClipBatch:
        colors = self._rng.integers(0, 256, (num_clips, 1, 1, 1, 3), dtype=np.uint8)
        content = torch.from_numpy(np.broadcast_to(colors, (num_clips, clip_frames, 8, 12, 3)).copy())
        return ClipBatch(content=content, action=torch.zeros(0), pose=torch.zeros(0), depth_profile=torch.zeros(0))


def make_recipe(*, freeze_encoder: bool) -> AutoencoderRecipe:
    torch.manual_seed(0)
    network = Autoencoder(AutoencoderConfig(latent_channels=4, widths=(16, 16)))
    frames = ColorBuffer().sample(16, 1).content[:, 0].numpy()
    probe = Episode(seed=0, frames=frames, actions=np.zeros((16, 1), np.float32), pose=np.zeros((16, 3), np.float32))
    config = AutoencoderTraining(batch_frames=8, freeze_encoder=freeze_encoder)
    return AutoencoderRecipe(network, config, cast(ReplayBuffer, ColorBuffer()), probe, device="cpu")


def test_training_learns_to_reconstruct_and_then_a_frozen_encoder_keeps_its_latents(tmp_path: Path) -> None:
    optimizer = OptimizerConfig(learning_rate=3e-3, warmup_steps=1, ema_decay=0.9)
    rows: list[dict[str, float | int | str]] = []
    first = make_recipe(freeze_encoder=False)
    untrained = first.export(tmp_path, 0, 0)["psnr_probe"]
    Trainer(first, optimizer, tmp_path, on_log=rows.append).run(updates=150)
    assert float(rows[-1]["psnr_probe"]) > untrained + 2

    second = make_recipe(freeze_encoder=True)
    trainer = Trainer(second, optimizer, tmp_path, on_log=rows.append)
    assert trainer.resume()
    frames = torch.rand(3, 3, 8, 12) * 2 - 1
    before_latent, before_decoded = second.average.encode(frames), second.average.decode(torch.ones(3, 4, 2, 3))
    trainer.run(updates=20)
    assert torch.equal(second.average.encode(frames), before_latent)
    assert not torch.equal(second.average.decode(torch.ones(3, 4, 2, 3)), before_decoded)
