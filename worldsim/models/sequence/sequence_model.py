"""What the sequence models share: layers of scan and local attention over the tokens of a frame.

See `trunk` and `two_stream` for the two forms. Letters as in `models.world_model`; N tokens per frame, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.conditioning import ActionEmbedding, RMSNorm, ScalarEmbedding
from worldsim.models.config import MappedModelConfig, SequenceModelConfig
from worldsim.models.pose import POSE_SIZE
from worldsim.models.sequence.layer import Layer, build_layers
from worldsim.models.sequence.mixer import SCAN_STATE, LayerState
from worldsim.models.state import WorldState
from worldsim.models.world_model import ClipContext, LatentShape, MemoryPart, WorldModel


class SequenceModel(WorldModel):
    """Embeddings, layers and the pose head. The layers' state tensors are `layers.INDEX.NAME`."""

    config: SequenceModelConfig | MappedModelConfig

    def __init__(
        self, config: SequenceModelConfig | MappedModelConfig, latent_shape: LatentShape, action_size: int
    ) -> None:
        super().__init__(config, latent_shape, action_size)
        channels, height, width = latent_shape
        assert height % config.patch == 0 and width % config.patch == 0, f"latent {latent_shape}, patch {config.patch}"
        grid = (height // config.patch, width // config.patch)
        self.layers: nn.ModuleList = nn.ModuleList(build_layers(config, grid))
        self.embed_tokens = nn.Linear(channels * config.patch**2, config.width)
        self.position_ND = nn.Parameter(torch.randn(grid[0] * grid[1], config.width) * 0.02)
        self.embed_action = ActionEmbedding(action_size, config.width, config.pose_octaves)
        self.embed_level = ScalarEmbedding(config.width)
        self.final_norm = RMSNorm(config.width, eps=1e-6)
        has_pose_head = isinstance(config, SequenceModelConfig) and config.pose == "estimated"
        self.pose_head = nn.Linear(grid[0] * grid[1] * config.width, POSE_SIZE) if has_pose_head else None

    def initial_state(self, batch: int, seed: int) -> WorldState:
        return WorldState(tensors=_join([layer.initial_state(batch) for layer in self._layers]), seed=seed)

    def without_memory(self, state: WorldState, part: MemoryPart = "all") -> WorldState:
        initial = self.initial_state(len(next(iter(state.tensors.values()))), state.seed).tensors
        return state.advance({name: initial[name] for name in initial if self._is_memory(name, part)}, 0)

    def predict_pose(self, clip_context: ClipContext) -> Tensor | None:
        return None if self.pose_head is None else self.pose_head(self._features(clip_context).flatten(2))

    def _features(self, clip_context: ClipContext) -> Tensor:
        """The layers' output for a clip, which the pose head reads. Shapes: [B, T, N, D]."""
        raise NotImplementedError(type(self).__name__)

    def _is_memory(self, name: str, part: MemoryPart) -> bool:
        return part != "map" and name.endswith(f".{SCAN_STATE}")

    @property
    def _layers(self) -> list[Layer]:
        return list(self.layers)  # type: ignore[arg-type]  # built by build_layers

    def _tokens(self, latent_BTCHW: Tensor) -> Tensor:
        """Shapes: [..., C, H, W] -> [..., N, D]."""
        folded = F.pixel_unshuffle(latent_BTCHW, self.config.patch)
        return self.embed_tokens(folded.flatten(-2).transpose(-1, -2)) + self.position_ND

    def _forward_context(
        self, x_BTND: Tensor, condition_BTD: Tensor, state: WorldState | None
    ) -> tuple[Tensor, list[Any], dict[str, Tensor]]:
        """Runs a clip through all layers. Returns: tokens, the layers' caches, and with `state` their new tensors."""
        caches, states = [], []
        for index, layer in enumerate(self._layers):
            part = None if state is None else state.with_prefix(f"layers.{index}.")
            x_BTND, cache, after = layer.forward_context(x_BTND, condition_BTD, part)
            caches.append(cache)
            states.append(after)
        return x_BTND, caches, _join(states)

    def _step(
        self, x_BND: Tensor, condition_BD: Tensor, state: WorldState, shared: LayerState | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Runs one frame through all layers; each also gets the tensors in `shared`.

        Returns: tokens and the layers' new tensors.
        """
        states = []
        for index, layer in enumerate(self._layers):
            x_BND, layer_state = layer.step(x_BND, condition_BD, state.with_prefix(f"layers.{index}.") | (shared or {}))
            states.append(layer_state)
        return x_BND, _join(states)


def _join(states: list[LayerState]) -> dict[str, Tensor]:
    return {f"layers.{i}.{name}": tensor for i, state in enumerate(states) for name, tensor in state.items()}
