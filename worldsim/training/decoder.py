"""Recipe: the decoder for play. It learns to draw true frames from what the dynamics predicts, not only from what the
encoder saw.

Owns: that loss. Does not own: the autoencoder's own training (`autoencoder`). A prediction one step ahead is softer
than an encoded frame; a decoder that has seen both draws walls, not fog, and the latents stay what they are. Encoder
and dynamics are not touched. Letters: B batch, T frames, C channels, H W rows and columns.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from worldsim.models.autoencoder import Autoencoder, reconstruction_loss
from worldsim.models.frames import psnr, to_frames, to_tensor
from worldsim.models.world_model import WorldModel
from worldsim.training.autoencoder import gradient_energy
from worldsim.training.config import DecoderTraining
from worldsim.training.contact_sheet import write_sheet
from worldsim.training.episode import Episode
from worldsim.training.replay_buffer import ReplayBuffer

CONTEXT_FRAMES = 4
"""First frames of a clip, from which the model finds out where it is; its predictions of them are not drawn."""
NUM_SAMPLES = 10


class DecoderRecipe:
    """`network` is the autoencoder, of which the decoder alone is trained. `export_preset(folder, average)` writes a
    playable preset."""

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
        export_preset: Callable[[Path, Autoencoder, dict[str, str]], None],
    ) -> None:
        self.network = network
        self.network.requires_grad_(False).decoder.requires_grad_(True)
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.frames_per_update = config.batch_clips * (config.clip_frames - CONTEXT_FRAMES)
        self._model, self._config, self._replay_buffer, self._device = model, config, replay_buffer, device
        self._export_preset = export_preset
        probe_frames = torch.stack([to_tensor(p.frames[: config.clip_frames], device) for p in probes])
        actions = torch.stack([torch.from_numpy(p.actions[: config.clip_frames]) for p in probes]).to(device)
        encoded, predicted = self._latents(probe_frames, actions, torch.Generator().manual_seed(0))
        self._probe = {"true": probe_frames[:, CONTEXT_FRAMES:].flatten(0, 1), "code": encoded, "drawn": predicted}

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        self._replay_buffer.refresh()
        clips = self._replay_buffer.sample(self._config.batch_clips, self._config.clip_frames)
        frames_BTCHW = to_tensor(clips.content.numpy(), self._device)
        encoded, predicted = self._latents(frames_BTCHW, clips.action.to(self._device), None)
        true = frames_BTCHW[:, CONTEXT_FRAMES:].flatten(0, 1)
        drawn, weight = self.network.decode(predicted), self._config.texture_weight
        share = slice(None, None, self._config.encoded_stride)
        loss = reconstruction_loss(drawn, true, weight)
        loss = loss + reconstruction_loss(self.network.decode(encoded[share]), true[share], weight)
        return loss, {"psnr_drawn": psnr(drawn, true)}

    @torch.no_grad()
    def _latents(self, frames: Tensor, action: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Encoded and predicted latents of the same frames. Shapes: [B, T, 3, H, W] -> twice [B * (T - 4), C, H, W]."""
        clean = self.network.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        none, one = clean.new_zeros(clean.shape[:2]), clean.new_ones(clean.shape[:2])
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        predicted = self._model.predict(self._model.read_history(clean, none, action), noise, none, one)
        encoded, predicted = (latent[:, CONTEXT_FRAMES:].flatten(0, 1) for latent in (clean, predicted))
        return encoded, predicted

    @torch.no_grad()
    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        """A playable preset, drawn frames beside true ones, and their PSNR and sharpness."""
        self._export_preset(folder, self.average, {"decoder_updates": str(num_updates)})
        true, drawn = self._probe["true"], self.average.decode(self._probe["drawn"])
        stride = max(1, len(true) // NUM_SAMPLES)
        write_sheet(folder / "samples" / f"{num_updates:07d}.png", [to_frames(f[::stride]) for f in (true, drawn)])
        return {
            "psnr_probe": psnr(self.average.decode(self._probe["code"]), true),
            "psnr_drawn_probe": psnr(drawn, true),
            "sharpness_drawn_probe": gradient_energy(drawn) / max(gradient_energy(true), 1e-9),
        }
