"""The autoencoder recipe: reconstruction, with noise on the latents in place of a KL term.

Letters: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from worldsim.models.autoencoder import Autoencoder, reconstruction_loss
from worldsim.models.frames import psnr, to_tensor
from worldsim.training.config import AutoencoderTraining
from worldsim.training.episode import Episode
from worldsim.training.recipes.inputs_outputs import gradient_energy, write_samples
from worldsim.training.replay_buffer import ReplayBuffer

WEIGHTS_FILE = "autoencoder.safetensors"
NUM_SAMPLES = 10


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
        loss = reconstruction_loss(decoded_BCHW, frames_BCHW, self._config.spectral_loss_weight)
        return loss, {"psnr_train": psnr(decoded_BCHW, frames_BCHW)}

    def _freeze_encoder(self) -> None:
        """Copies the average's encoder, whose latents the world model was trained on, and stops its gradients."""
        if next(self.network.encoder.parameters()).requires_grad:
            shared = {n: t for n, t in self.average.state_dict().items() if not n.startswith("decoder.")}
            self.network.load_state_dict(shared, strict=False)
            self.network.encoder.requires_grad_(False)

    @torch.no_grad()
    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        """Writes the averaged weights and reconstructions of the probe."""
        decoded_BCHW = self.average.decode(self.average.encode(self._probe))
        weights = {name: tensor.contiguous() for name, tensor in self.average.state_dict().items()}
        save_file(weights, folder / WEIGHTS_FILE)
        write_samples(folder, num_updates, [self._probe[:NUM_SAMPLES], decoded_BCHW[:NUM_SAMPLES]])
        return {
            "psnr_probe": psnr(decoded_BCHW, self._probe),
            "sharpness_probe": gradient_energy(decoded_BCHW) / max(gradient_energy(self._probe), 1e-9),
        }
