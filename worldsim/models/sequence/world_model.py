"""The world model: a fixed-size state and an action in, a prediction of the next clean latent out.

Owns: the two forms (`trunk`, `single`) behind one interface, and the naming of state tensors. Does not own: sampling
and objectives (`diffusion`), pictures (`autoencoder`).

Two uses, proved equal in tests:
    training   clip_context = read_history(context, level, action); predict(clip_context, noisy, tau, step_size) for all
    frames play       context = begin(state, action); denoise(context, ...) as often as wanted; state = commit(context,
    latent)

Letters: B batch, T frames, C channels, H W rows and columns of the latent, A action, N tokens per frame, D width,
P past. `action[t]` is the action that led to frame t. `level` is how much noise is mixed into a context frame (0
clean), `tau` how clean a noisy frame is (1 clean).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.conditioning import ScalarEmbedding
from worldsim.models.config import WorldModelConfig
from worldsim.models.maps.fixed_map import FixedMapMemory
from worldsim.models.maps.map_memory import MapMemory, MapState
from worldsim.models.maps.map_tracker import SpatialMapMemory
from worldsim.models.maps.pose import POSE_SIZE
from worldsim.models.sequence.denoiser import Denoiser
from worldsim.models.sequence.layer import Layer, build_layers
from worldsim.models.sequence.mixer import LayerState
from worldsim.models.state import WorldState

MAP_PREFIX = "place."


@dataclass(frozen=True, kw_only=True)
class ClipContext:
    """What all frames of a clip may look back on. `memory` is the form's own."""

    action_BTA: Tensor
    features_BTND: Tensor
    memory: Any
    end: WorldState | None = None
    """The state after the clip, of a clip that went on from one."""


@dataclass(frozen=True, kw_only=True)
class FrameContext:
    """What one frame at play may look back on. `state` is the one that `commit` goes on from.

    Of the `trunk` form: the trunk's tokens, and what the denoiser reads (the past latents, then what is recalled), with
    F channels in all.
    """

    state: WorldState
    action_BA: Tensor
    features_BND: Tensor | None = None
    seen_BFHW: Tensor | None = None


class WorldModel(nn.Module, ABC):
    """Both forms. Nothing here mutates a state."""

    def __init__(self, config: WorldModelConfig, latent_shape: tuple[int, int, int], action_size: int) -> None:
        super().__init__()
        self.config, self.latent_shape, self.action_size = config, latent_shape, action_size
        channels, height, width = latent_shape
        assert height % config.patch == 0 and width % config.patch == 0, f"latent {latent_shape}, patch {config.patch}"
        grid = (height // config.patch, width // config.patch)
        self.layers: nn.ModuleList = nn.ModuleList(build_layers(config, grid))
        self.embed_tokens = nn.Linear(channels * config.patch**2, config.width)
        self.position_ND = nn.Parameter(torch.randn(grid[0] * grid[1], config.width) * 0.02)
        self.embed_action = nn.Sequential(
            nn.Linear(action_size, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.embed_level = ScalarEmbedding(config.width)
        self.final_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.pose_head = nn.Linear(grid[0] * grid[1] * config.width, POSE_SIZE) if config.pose == "head" else None

    @abstractmethod
    def read_history(
        self,
        context_BTCHW: Tensor,
        level_BT: Tensor,
        action_BTA: Tensor,
        generated_BT: Tensor | None = None,
        pose_BTP: Tensor | None = None,
        state: WorldState | None = None,
    ) -> ClipContext:
        """Runs the clean stream over a clip. Frame t of `predict` will see context frames before t only.

        `generated_BT` marks frames that are the model's own (bool; None: none is). `pose_BTP` are the true poses where
        they are known: a map then need not be asked where frames were seen from, which is most of the work. With a
        `state` the clip goes on from there (where `config.supports_tbptt`), without from one that has seen nothing.
        """

    @abstractmethod
    def predict(self, clip_context: ClipContext, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor) -> Tensor:
        """The clean latent of every frame. Shapes: returns [B, T, C, H, W]."""

    @abstractmethod
    def begin(self, state: WorldState, action_BA: Tensor) -> FrameContext:
        """Reads the state for the next frame under this action."""

    @abstractmethod
    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        """The clean latent of the frame, from a noisy one. Shapes: returns [B, C, H, W]."""

    @abstractmethod
    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        """The finished frame becomes memory, labelled as `level` noisy, and as the model's own where it is.

        `pose_BP` as in `read_history`, of a frame that is true.
        """

    def initial_state(self, batch: int, seed: int) -> WorldState:
        """A state that has seen nothing."""
        states = [layer.initial_state(batch) for layer in self._layers]
        return WorldState(tensors=_join(states), seed=seed)

    def without_memory(self, state: WorldState) -> WorldState:
        """Scan states, the estimated pose and the plan forgotten, the window and the last latents kept.

        A diagnostic, not a control for memory.
        """
        unseen = self.initial_state(len(next(iter(state.tensors.values()))), state.seed).tensors

        def is_memory(name: str) -> bool:
            return name.endswith(".ssm") or name.startswith(MAP_PREFIX)

        return replace(state, tensors={n: unseen[n] if is_memory(n) else t for n, t in state.tensors.items()})

    def predict_pose(self, clip_context: ClipContext) -> Tensor | None:
        """Shapes: [B, T, 4], or None where there is no pose head."""
        return None if self.pose_head is None else self.pose_head(clip_context.features_BTND.flatten(2))

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
        """A clip through all layers. Returns tokens, the layers' caches, and with a state their new tensors."""
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
        """One frame through all layers, each told what is `shared` too. Returns tokens and the layers' new tensors."""
        states = []
        for index, layer in enumerate(self._layers):
            x_BND, layer_state = layer.step(x_BND, condition_BD, state.with_prefix(f"layers.{index}.") | (shared or {}))
            states.append(layer_state)
        return x_BND, _join(states)


class TrunkModel(WorldModel):
    """A history trunk goes once per frame over (previous clean latent, action); a small denoiser reads its tokens.

    Every frame trains in the play-time regime without a second stream, and a denoising step costs only the denoiser.
    """

    def __init__(self, config: WorldModelConfig, latent_shape: tuple[int, int, int], action_size: int) -> None:
        super().__init__(config, latent_shape, action_size)
        self.place: MapMemory | None = None
        num_recalled = 0
        if config.has_map:
            view_rad = math.radians(config.place_view_deg)
            kind = (
                partial(SpatialMapMemory, pose_is_action=config.pose == "given")
                if config.has_spatial_map
                else FixedMapMemory
            )
            self.place = kind(latent_shape, action_size, config.place_width, view_rad=view_rad)
            num_recalled = self.place.num_extra_channels + latent_shape[0]
        self.denoiser = Denoiser(config, latent_shape, num_recalled)
        self.embed_tau = ScalarEmbedding(config.width)
        self.embed_step = ScalarEmbedding(config.width)

    def initial_state(self, batch: int, seed: int) -> WorldState:
        state = super().initial_state(batch, seed)
        past = self.position_ND.new_zeros(batch, self.config.num_past, *self.latent_shape).detach()
        level = self.position_ND.new_ones(batch).detach()
        place = _with_map_prefix(self.place.initial_state(batch)) if self.place else {}
        return replace(state, tensors={**state.tensors, **place, "past": past, "past_level": level})

    def read_history(
        self,
        context_BTCHW: Tensor,
        level_BT: Tensor,
        action_BTA: Tensor,
        generated_BT: Tensor | None = None,
        pose_BTP: Tensor | None = None,
        state: WorldState | None = None,
    ) -> ClipContext:
        num_past, num_frames = self.config.num_past, context_BTCHW.shape[1]
        if state is None:
            before_BPCHW = context_BTCHW.new_zeros(len(context_BTCHW), num_past, *self.latent_shape)
            level_before_B = level_BT.new_ones(len(level_BT))
        else:
            before_BPCHW, level_before_B = state.tensors["past"], state.tensors["past_level"]
        padded = torch.cat((before_BPCHW, context_BTCHW), 1)
        seen_BTFHW = torch.cat([padded[:, p : p + num_frames] for p in range(num_past)], 2)
        past_level_BT = torch.cat((level_before_B[:, None], level_BT[:, :-1]), 1)
        condition_BTD = self.embed_action(action_BTA) + self.embed_level(past_level_BT)
        last_BTCHW = padded[:, num_past - 1 : num_past - 1 + num_frames]
        x_BTND, _, tensors = self._forward_context(self._tokens(last_BTCHW), condition_BTD, state)
        if self.place:
            if generated_BT is None:
                generated_BT = torch.zeros_like(level_BT, dtype=torch.bool)
            start = None if state is None else state.with_prefix(MAP_PREFIX)
            with torch.no_grad():  # the map learns by a loss of its own
                recalled, place = self.place.render_clip(context_BTCHW, generated_BT, action_BTA, pose_BTP, start)
            seen_BTFHW = torch.cat((seen_BTFHW, recalled), 2)
            tensors |= _with_map_prefix(place)
        tensors |= {"past": padded[:, num_frames:], "past_level": level_BT[:, -1]}
        return ClipContext(
            action_BTA=action_BTA,
            features_BTND=self.final_norm(x_BTND),
            memory=seen_BTFHW,
            end=state and state.advance(tensors, num_frames),
        )

    def predict(self, clip_context: ClipContext, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor) -> Tensor:
        predicted = self._denoise(
            noisy_BTCHW.flatten(0, 1),
            clip_context.memory.flatten(0, 1),
            clip_context.features_BTND.flatten(0, 1),
            clip_context.action_BTA.flatten(0, 1),
            tau_BT.flatten(),
            step_size_BT.flatten(),
        )
        return predicted.unflatten(0, noisy_BTCHW.shape[:2])

    def begin(self, state: WorldState, action_BA: Tensor) -> FrameContext:
        condition_BD = self.embed_action(action_BA) + self.embed_level(state.tensors["past_level"])
        x_BND, tensors = self._step(self._tokens(state.tensors["past"][:, -1]), condition_BD, state)
        seen_BFHW = state.tensors["past"].flatten(1, 2)
        if self.place:
            place, recalled = self.place.predict(state.with_prefix(MAP_PREFIX), action_BA)
            tensors |= _with_map_prefix(place)
            seen_BFHW = torch.cat((seen_BFHW, recalled), 1)
        return FrameContext(
            state=replace(state, tensors={**state.tensors, **tensors}),
            action_BA=action_BA,
            features_BND=self.final_norm(x_BND),
            seen_BFHW=seen_BFHW,
        )

    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        assert context.features_BND is not None and context.seen_BFHW is not None
        seen_BFHW, features_BND = context.seen_BFHW, context.features_BND
        return self._denoise(noisy_BCHW, seen_BFHW, features_BND, context.action_BA, tau_B, step_size_B)

    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        past = torch.cat((context.state.tensors["past"][:, 1:], latent_BCHW[:, None]), 1)
        tensors = {"past": past, "past_level": level_B}
        if self.place:
            generated_B = torch.full_like(level_B, generated, dtype=torch.bool)
            place = self.place.commit(context.state.with_prefix(MAP_PREFIX), latent_BCHW, generated_B, pose_BP)
            tensors |= _with_map_prefix(place)
        return context.state.advance(tensors)

    def _denoise(
        self, noisy: Tensor, seen_BFHW: Tensor, trunk: Tensor, action: Tensor, tau: Tensor, step_size: Tensor
    ) -> Tensor:
        condition_BD = self.embed_action(action) + self.embed_tau(tau) + self.embed_step(step_size)
        predicted: Tensor = self.denoiser(torch.cat((noisy, seen_BFHW), 1), trunk, condition_BD)
        return predicted


class SingleModel(WorldModel):
    """One network. The clean stream writes scan states and keys, the noisy stream reads those of earlier frames.

    Denoising steps run all layers and drop the new state; one more pass over the clean latent commits it.
    """

    def __init__(self, config: WorldModelConfig, latent_shape: tuple[int, int, int], action_size: int) -> None:
        super().__init__(config, latent_shape, action_size)
        self.embed_step = ScalarEmbedding(config.width)
        self.to_latent = nn.Linear(config.width, latent_shape[0] * config.patch**2)

    def read_history(
        self,
        context_BTCHW: Tensor,
        level_BT: Tensor,
        action_BTA: Tensor,
        generated_BT: Tensor | None = None,
        pose_BTP: Tensor | None = None,
        state: WorldState | None = None,
    ) -> ClipContext:
        condition_BTD = self._condition(1 - level_BT, torch.zeros_like(level_BT), action_BTA)
        x_BTND, caches, tensors = self._forward_context(self._tokens(context_BTCHW), condition_BTD, state)
        return ClipContext(
            action_BTA=action_BTA,
            features_BTND=self.final_norm(x_BTND),
            memory=caches,
            end=state and state.advance(tensors, context_BTCHW.shape[1]),
        )

    def predict(self, clip_context: ClipContext, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor) -> Tensor:
        condition_BTD = self._condition(tau_BT, step_size_BT, clip_context.action_BTA)
        x_BTND = self._tokens(noisy_BTCHW)
        for layer, cache in zip(self._layers, clip_context.memory, strict=True):
            x_BTND = layer.forward_noisy(x_BTND, condition_BTD, cache)
        return self._latent(x_BTND)

    def begin(self, state: WorldState, action_BA: Tensor) -> FrameContext:
        return FrameContext(state=state, action_BA=action_BA)

    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        condition_BD = self._condition(tau_B, step_size_B, context.action_BA)
        x_BND, _ = self._step(self._tokens(noisy_BCHW), condition_BD, context.state)
        return self._latent(x_BND)

    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        condition_BD = self._condition(1 - level_B, torch.zeros_like(level_B), context.action_BA)
        _, tensors = self._step(self._tokens(latent_BCHW), condition_BD, context.state)
        return context.state.advance(tensors)

    def _condition(self, tau: Tensor, step_size: Tensor, action: Tensor) -> Tensor:
        condition: Tensor = self.embed_level(1 - tau) + self.embed_step(step_size) + self.embed_action(action)
        return condition

    def _latent(self, x_BND: Tensor) -> Tensor:
        folded = self.to_latent(self.final_norm(x_BND)).transpose(-1, -2)
        height, width = self.latent_shape[1] // self.config.patch, self.latent_shape[2] // self.config.patch
        return F.pixel_shuffle(folded.unflatten(-1, (height, width)), self.config.patch)


def build_world_model(config: WorldModelConfig, latent_shape: tuple[int, int, int], action_size: int) -> WorldModel:
    """The model that `config` describes, with fresh weights. Shapes: latent_shape is (C, H, W)."""
    from worldsim.models.sequence.bidirectional import BidirectionalModel, ChunkModel  # they are made of SingleModel

    kind: type[WorldModel] = TrunkModel
    if config.form == "single":
        kind = {"chunk": ChunkModel, "joint": BidirectionalModel}.get(config.attention, SingleModel)
    return kind(config, latent_shape, action_size)


def _join(states: list[LayerState]) -> dict[str, Tensor]:
    return {f"layers.{i}.{name}": tensor for i, state in enumerate(states) for name, tensor in state.items()}


def _with_map_prefix(place: MapState) -> dict[str, Tensor]:
    return {MAP_PREFIX + name: tensor for name, tensor in place.items()}
