"""What recipes of world models export: a playable preset, and a rollout of held-out episodes as a progress check.

Letters: B batch, T frames, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from worldsim.models.autoencoder import Autoencoder, psnr, to_frames, to_tensor
from worldsim.models.rollout import rollout
from worldsim.models.world_model import WorldModel
from worldsim.presets.config import PresetConfig
from worldsim.presets.store import Start, save_preset
from worldsim.training.replay_buffer import encode_frames
from worldsim.training.workers import Episode

PROBE_CONTEXT = 16
PROBE_HORIZONS = (1, 2, 5, 10, 20, 40, 80, 160)
NUM_SAMPLES = 3


SHEET_SCALE = 2
"""Sample sheets are enlarged by this factor."""


class WorldModelProbe:
    """Held-out episodes, of the same length, whose continuation is generated at every checkpoint."""

    def __init__(
        self, episodes: Sequence[Episode], autoencoder: Autoencoder, writer: PresetWriter, *, device: str
    ) -> None:
        self._autoencoder, self._writer = autoencoder, writer
        self._frames = torch.stack([to_tensor(e.frames) for e in episodes])
        self._latents = torch.stack([encode_frames(autoencoder, e, device).float() for e in episodes]).to(device)
        self._actions = torch.stack([torch.from_numpy(e.actions) for e in episodes]).to(device)

    @torch.no_grad()
    def export(self, folder: Path, model: WorldModel, num_updates: int, num_frames: int) -> dict[str, float]:
        """Writes the preset and a sample sheet (true frames above generated ones). Returns: PSNR by horizon."""
        counters = {"updates": str(num_updates), "frames": str(num_frames)}
        self._writer.write(folder, self._autoencoder, model, counters)
        horizons = [h for h in PROBE_HORIZONS if PROBE_CONTEXT + h <= self._latents.shape[1]]
        generated = self._rollout(model, max(horizons))
        metrics, columns = {}, []
        for horizon in horizons:
            decoded = self._autoencoder.decode(generated[:, horizon - 1]).cpu()
            truth = self._frames[:, PROBE_CONTEXT + horizon - 1]
            metrics[f"psnr_{horizon}"] = psnr(decoded, truth)
            columns.append((truth, decoded))
        num_samples = min(NUM_SAMPLES, len(generated))
        rows = [torch.stack([column[side][i] for column in columns]) for i in range(num_samples) for side in (0, 1)]
        write_samples(folder, num_updates, rows)
        return metrics

    def _rollout(self, model: WorldModel, num_frames: int) -> Tensor:
        """Latents after the context, in one denoising step each. Shapes: [B, T, C, H, W]."""
        generator = torch.Generator().manual_seed(0)
        frames = rollout(
            model,
            model.initial_state(len(self._latents), seed=0),
            self._actions[:, : PROBE_CONTEXT + num_frames],
            self._latents,
            num_context=PROBE_CONTEXT,
            noise=lambda t: torch.randn(self._latents[:, t].shape, generator=generator).to(self._latents),
            context_noise=self._writer.config.play.context_noise,
        )
        return torch.stack([frame.latent_BCHW for frame in frames if frame.is_generated], 1)


@dataclass(frozen=True, kw_only=True)
class PresetWriter:
    """Writes a playable preset from the networks of a recipe."""

    config: PresetConfig
    starts: Sequence[Start] = ()
    metadata: Mapping[str, str]
    """Provenance, stored beside the counters of the training."""

    def write(self, folder: Path, autoencoder: Autoencoder, model: WorldModel, counters: Mapping[str, str]) -> None:
        save_preset(folder / "last", self.config, autoencoder, model, self.starts, {**self.metadata, **counters})


def gradient_energy(frames_BCHW: Tensor) -> float:
    """Mean squared difference of neighboring pixels: a measure of sharpness, for the log."""
    return float(frames_BCHW.diff(dim=-1).square().mean() + frames_BCHW.diff(dim=-2).square().mean())


def write_samples(folder: Path, num_updates: int, rows: Sequence[Tensor]) -> None:
    """Writes a sample sheet, one row of images per entry. Shapes: each row [T, 3, H, W], all of the same size."""
    frames: list[npt.NDArray[np.uint8]] = [to_frames(row) for row in rows]
    image = Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in frames], axis=0))
    path = folder / "samples" / f"{num_updates:07d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * SHEET_SCALE, image.height * SHEET_SCALE), Image.Resampling.NEAREST).save(path)
