"""The autoencoder's recipes: reconstruction, with noise on the latents in place of a KL term, and later its decoder.

The decoder recipe decodes what the world model predicts one step ahead, not only what the encoder produced. One-step
predictions are blurrier than encoded frames; a decoder trained on both draws walls instead of fog. The encoder and the
world model do not change, and so the latents stay the same. Letters: B batch, T frames, C channels, H W rows and
columns.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from worldsim.models.autoencoder import Autoencoder, psnr, to_tensor
from worldsim.models.world_model import WorldModel
from worldsim.training.config import AutoencoderTraining, DecoderTraining
from worldsim.training.recipes.probes import PresetWriter, gradient_energy, write_samples
from worldsim.training.replay_buffer import ReplayBuffer
from worldsim.training.workers import Episode

WEIGHTS_FILE = "autoencoder.safetensors"
NUM_SAMPLES = 10
CONTEXT_FRAMES = 4
"""First frames of a clip, which the world model needs as context; its predictions of them are not decoded."""
PATCH_PX = 8
"""Side of the patches whose spectra the loss compares."""


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


def reconstruction_loss(predicted_BCHW: Tensor, target_BCHW: Tensor, spectral_weight: float = 0.0) -> Tensor:
    """L1 at full, half and quarter size, L1 of differences of adjacent pixels, and the spectra of small patches.

    mean (x - y)^2 + sum_s mean|P_s x - P_s y| + mean|dx - dy| + w mean| |F x| - |F y| |: the coarse terms set colors
    early, the differences preserve edges. Where the position of texture cannot be known, these favor blur; the last
    term does not depend on phase and favors texture. No learned perceptual loss: it would need a download.
    """
    error_BCHW = predicted_BCHW - target_BCHW
    loss = error_BCHW.abs().mean() + error_BCHW.square().mean()
    coarse_BCHW = error_BCHW
    for _ in range(2):
        coarse_BCHW = F.avg_pool2d(coarse_BCHW, 2)
        loss = loss + coarse_BCHW.abs().mean()
    loss = loss + error_BCHW.diff(dim=-1).abs().mean() + error_BCHW.diff(dim=-2).abs().mean()
    if spectral_weight:
        spectra = [_patch_spectra(image) for image in (predicted_BCHW, target_BCHW)]
        loss = loss + spectral_weight * (spectra[0] - spectra[1]).abs().mean()
    return loss


def _patch_spectra(image_BCHW: Tensor) -> Tensor:
    """Magnitudes of the Fourier transform of every 8 x 8 patch. Shapes: [B, C, H / 8, W / 8, 8, 5]."""
    patches = image_BCHW.unfold(2, PATCH_PX, PATCH_PX).unfold(3, PATCH_PX, PATCH_PX)
    transformed = torch.fft.rfft2(patches, norm="ortho")
    return (transformed.real.square() + transformed.imag.square() + 1e-6).sqrt()
