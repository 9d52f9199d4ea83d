"""Recipe: the autoencoder. Letters: B batch, C channels, H W rows and columns."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from worldsim.models.autoencoder import Autoencoder, reconstruction_loss
from worldsim.models.frames import psnr, to_frames, to_tensor
from worldsim.training.config import AutoencoderTraining
from worldsim.training.contact_sheet import write_sheet
from worldsim.training.episode import Episode
from worldsim.training.replay_buffer import ReplayBuffer

WEIGHTS_FILE = "autoencoder.safetensors"
NUM_SAMPLES = 10


def store_frames(episode: Episode) -> Tensor:
    """The pool keeps the pictures themselves."""
    return torch.from_numpy(episode.frames)


class AutoencoderRecipe:
    updates_per_sequence = 1

    def __init__(
        self,
        network: Autoencoder,
        config: AutoencoderTraining,
        replay_buffer: ReplayBuffer,
        probe: Episode,
        *,
        device: str,
    ) -> None:
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.frames_per_update = config.batch_frames
        self._config, self._replay_buffer, self._device = config, replay_buffer, device
        self._probe = to_tensor(probe.frames[:: max(1, len(probe.frames) // 64)], device)

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        self._replay_buffer.refresh()
        frames = self._replay_buffer.sample(self._config.batch_frames, 1).content[:, 0].numpy()
        frames_BCHW = to_tensor(frames, self._device).contiguous(memory_format=torch.channels_last)
        if self._config.freeze_encoder:
            self._freeze_encoder()
        raw_BCHW = self.network.encode_raw(frames_BCHW)
        if not self._config.freeze_encoder:
            self.network.update_statistics(raw_BCHW)
        noise_std = self.network.config.latent_noise * self.network.latent_std_C[:, None, None]
        decoded_BCHW = self.network.decode_raw(raw_BCHW + torch.randn_like(raw_BCHW) * noise_std)
        loss = reconstruction_loss(decoded_BCHW, frames_BCHW, self._config.texture_weight)
        return loss, {"psnr_train": psnr(decoded_BCHW, frames_BCHW)}

    def _freeze_encoder(self) -> None:
        """The latents that others were trained on are those of the average: from here on both have its encoder."""
        if next(self.network.encoder.parameters()).requires_grad:
            shared = {n: t for n, t in self.average.state_dict().items() if not n.startswith("decoder.")}
            self.network.load_state_dict(shared, strict=False)
            self.network.encoder.requires_grad_(False)

    @torch.no_grad()
    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        decoded_BCHW = self.average.decode(self.average.encode(self._probe))
        weights = {name: tensor.contiguous() for name, tensor in self.average.state_dict().items()}
        save_file(weights, folder / WEIGHTS_FILE)
        shown = slice(0, NUM_SAMPLES)
        rows = [to_frames(self._probe[shown]), to_frames(decoded_BCHW[shown])]
        write_sheet(folder / "samples" / f"{num_updates:07d}.png", rows)
        return {
            "psnr_probe": psnr(decoded_BCHW, self._probe),
            "sharpness_probe": gradient_energy(decoded_BCHW) / max(gradient_energy(self._probe), 1e-9),
        }


def gradient_energy(picture_BCHW: Tensor) -> float:
    """For the log only: mean squared difference of neighbours."""
    return float(picture_BCHW.diff(dim=-1).square().mean() + picture_BCHW.diff(dim=-2).square().mean())
