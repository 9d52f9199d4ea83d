"""What recipes of world models export: a playable preset, and a rollout of held-out episodes as a progress check.

Letters: B batch, T frames, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from worldsim.models.autoencoder import Autoencoder
from worldsim.models.frames import psnr, to_tensor
from worldsim.models.rollout import rollout
from worldsim.models.world_model import WorldModel
from worldsim.training.episode import Episode
from worldsim.training.recipes.inputs_outputs import PresetWriter, encode_frames, write_samples

PROBE_CONTEXT = 16
PROBE_HORIZONS = (1, 2, 5, 10, 20, 40, 80, 160)
NUM_SAMPLES = 3


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
        )
        return torch.stack([frame.latent_BCHW for frame in frames if frame.is_generated], 1)
