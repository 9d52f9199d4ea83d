"""Inputs and outputs of recipes: latents of episodes, scaled poses, sample sheets, and the exported preset.

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

from worldsim.models.autoencoder import Autoencoder
from worldsim.models.frames import to_frames, to_tensor
from worldsim.models.world_model import WorldModel
from worldsim.presets.config import PresetConfig
from worldsim.presets.store import Start, save_preset
from worldsim.training.episode import Episode

ENCODE_BATCH = 64
SHEET_SCALE = 2
"""Sample sheets are enlarged by this factor."""


@dataclass(frozen=True, kw_only=True)
class PresetWriter:
    """Writes a playable preset from the networks of a recipe."""

    config: PresetConfig
    starts: Sequence[Start] = ()
    metadata: Mapping[str, str]
    """Provenance, stored beside the counters of the training."""

    def write(self, folder: Path, autoencoder: Autoencoder, model: WorldModel, counters: Mapping[str, str]) -> None:
        save_preset(folder / "last", self.config, autoencoder, model, self.starts, {**self.metadata, **counters})


@torch.no_grad()
def encode_frames(autoencoder: Autoencoder, episode: Episode, device: str) -> Tensor:
    """Latents of an episode in float16 on the CPU: encoded once, sampled often. Shapes: [T, C, H, W]."""
    frames = to_tensor(episode.frames, device)
    latents = torch.cat([autoencoder.encode(part) for part in frames.split(ENCODE_BATCH)])
    return latents.half().cpu()


def store_frames(episode: Episode) -> Tensor:
    """The frames themselves, for recipes that train the autoencoder."""
    return torch.from_numpy(episode.frames)


def scale_poses(
    pose_BT3: Tensor, *, origin_units: tuple[float, float], scale_units: float, is_relative: bool
) -> Tensor:
    """World poses as networks see them; relative poses are in the coordinate frame of the clip's first frame.

    Shapes: [B, T, 3] (x, y, angle) -> [B, T, 4] (x, y, cos, sin).
    """
    xy = (pose_BT3[..., :2] - pose_BT3.new_tensor(origin_units)) / scale_units
    angle = pose_BT3[..., 2]
    if is_relative:
        cos, sin = angle[:, :1].cos(), angle[:, :1].sin()
        dx, dy = (xy - xy[:, :1]).unbind(-1)
        xy = torch.stack((cos * dx + sin * dy, cos * dy - sin * dx), -1)
        angle = angle - angle[:, :1]
    return torch.cat((xy, angle.cos()[..., None], angle.sin()[..., None]), -1)


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
