"""The decoder recipe: decodes what the world model predicts one step ahead, not only what the encoder produced.

One-step predictions are blurrier than encoded frames; a decoder trained on both draws walls instead of fog. The encoder
and the world model do not change, and so the latents stay the same. Letters: B batch, T frames, C channels, H W rows
and columns.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from worldsim.models.autoencoder import Autoencoder, reconstruction_loss
from worldsim.models.frames import psnr, to_tensor
from worldsim.models.world_model import WorldModel
from worldsim.training.config import DecoderTraining
from worldsim.training.episode import Episode
from worldsim.training.recipes.inputs_outputs import PresetWriter, gradient_energy, write_samples
from worldsim.training.replay_buffer import ReplayBuffer

CONTEXT_FRAMES = 4
"""First frames of a clip, which the world model needs as context; its predictions of them are not decoded."""
NUM_SAMPLES = 10


class DecoderRecipe:
    """`network` is the autoencoder; only its decoder is trained."""

    updates_per_sequence = 1

    def __init__(
        self,
        network: Autoencoder,
        model: WorldModel,
        config: DecoderTraining,
        replay_buffer: ReplayBuffer,
        probes: list[Episode],
        *,
        device: str,
        writer: PresetWriter,
    ) -> None:
        self.network = network
        self.network.requires_grad_(False).decoder.requires_grad_(True)
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.frames_per_update = config.batch_clips * (config.clip_frames - CONTEXT_FRAMES)
        self._model, self._config, self._replay_buffer = model, config, replay_buffer
        self._device, self._writer = device, writer
        probe_frames = torch.stack([to_tensor(p.frames[: config.clip_frames], device) for p in probes])
        actions = torch.stack([torch.from_numpy(p.actions[: config.clip_frames]) for p in probes]).to(device)
        self._probe = probe_frames[:, CONTEXT_FRAMES:].flatten(0, 1)
        self._probe_encoded, self._probe_predicted = self._latents(
            probe_frames, actions, torch.Generator().manual_seed(0)
        )

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        self._replay_buffer.refresh()
        clips = self._replay_buffer.sample(self._config.batch_clips, self._config.clip_frames)
        frames_BTCHW = to_tensor(clips.content.numpy(), self._device)
        encoded, predicted = self._latents(frames_BTCHW, clips.action.to(self._device), None)
        true = frames_BTCHW[:, CONTEXT_FRAMES:].flatten(0, 1)
        decoded, weight = self.network.decode(predicted), self._config.spectral_loss_weight
        stride = slice(None, None, self._config.encoded_frame_stride)
        loss = reconstruction_loss(decoded, true, weight)
        loss = loss + reconstruction_loss(self.network.decode(encoded[stride]), true[stride], weight)
        return loss, {"psnr_drawn": psnr(decoded, true)}

    @torch.no_grad()
    def _latents(self, frames: Tensor, action: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Encoded and predicted latents of the same frames. Shapes: [B, T, 3, H, W] -> twice [B * (T - 4), C, H, W]."""
        clean = self.network.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        zeros, ones = clean.new_zeros(clean.shape[:2]), clean.new_ones(clean.shape[:2])
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        predicted = self._model.predict(self._model.read_history(clean, zeros, action), noise, zeros, ones)
        encoded, predicted = (latent[:, CONTEXT_FRAMES:].flatten(0, 1) for latent in (clean, predicted))
        return encoded, predicted

    @torch.no_grad()
    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        """Writes a playable preset, and decoded predictions of the probes below the true frames."""
        self._writer.write(folder, self.average, self._model, {"decoder_updates": str(num_updates)})
        true, decoded = self._probe, self.average.decode(self._probe_predicted)
        stride = max(1, len(true) // NUM_SAMPLES)
        write_samples(folder, num_updates, [true[::stride], decoded[::stride]])
        return {
            "psnr_probe": psnr(self.average.decode(self._probe_encoded), true),
            "psnr_drawn_probe": psnr(decoded, true),
            "sharpness_drawn_probe": gradient_energy(decoded) / max(gradient_energy(true), 1e-9),
        }
