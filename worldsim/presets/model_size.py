"""What a preset costs, from its config alone: before its weights are fetched or read.

Owns: the count of weights and of work, and an untrained preset of the same sizes. Does not own: how fast that one plays
(`engine.bench.estimate`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from worldsim.presets.config import PresetConfig
from worldsim.presets.store import Preset, Start, build_networks

_FLOAT32_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Of the weights, and of a frame."""

    num_weights: int
    memory_bytes: int
    """As they are played, in float32."""
    file_bytes: int
    """As bundled presets store them: matrices in bfloat16, vectors in float32."""
    max_multiply_adds: int
    """A bound for one denoising step: every convolution at its largest size, every matrix at every latent cell."""


def compute_model_size(config: PresetConfig) -> ModelSize:
    """Counted on networks that have shapes and no memory: exact for every config, and never expensive."""
    height_px, width_px, _ = config.frame_shape
    _, rows, columns = config.latent_shape
    places = {4: height_px * width_px // 4, 2: rows * columns}  # no convolution runs at full size
    networks = build_networks(config, allocate=False)
    tensors = [tensor for network in networks for tensor in network.state_dict().values()]
    num_weights = sum(tensor.numel() for tensor in tensors)
    return ModelSize(
        num_weights=num_weights,
        memory_bytes=num_weights * _FLOAT32_BYTES,
        file_bytes=sum(tensor.numel() * (2 if tensor.ndim >= 2 else _FLOAT32_BYTES) for tensor in tensors),
        max_multiply_adds=sum(tensor.numel() * places.get(tensor.ndim, 1) for tensor in tensors),
    )


def untrained_preset(config: PresetConfig) -> Preset:
    """A preset of these sizes with fresh weights and one frame of a grey start: it costs what the trained one costs."""
    autoencoder, model = build_networks(config, allocate=True)
    start = Start(
        frames=np.full((1, *config.frame_shape), 127, dtype=np.uint8),
        actions=np.zeros((1, config.action_spec.size), dtype=np.float32),
    )
    return Preset(
        config=replace(config, play=replace(config.play, context_frames=1)),
        folder=Path(),
        autoencoder=autoencoder.eval().requires_grad_(False),
        model=model.eval().requires_grad_(False),
        starts=(start,),
        sha256="",
    )
