"""Number of parameters, memory and operations of a preset from its config, before its weights are downloaded.

Also builds an untrained preset of the same size, whose speed `engine.bench.estimate` measures.
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
    """Size of the weights, and a bound on the work per frame."""

    num_weights: int
    memory_bytes: int
    """In float32, as at play."""
    file_bytes: int
    """As in bundled presets: matrices in bfloat16, vectors in float32."""
    max_multiply_adds: int
    """Upper bound for one denoising step: every convolution at its largest size, every matrix at every latent cell."""


def compute_model_size(config: PresetConfig) -> ModelSize:
    """Counted on networks without allocated memory: exact for every config, and always cheap."""
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
    """A preset of this size with random weights and a start of one gray frame; it is as fast as a trained one."""
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
