"""The interface of every world model: a state and an action in, a prediction of the next clean latent out.

Two uses, whose equality is tested:
    training    clip_context = read_history(latents, levels, actions); predict(clip_context, noisy, tau, step_size)
    play        context = begin(state, action); denoise(context, ...), repeatedly; state = commit(context, latent)
The loop around `begin`, `denoise` and `commit` is `models.rollout`; `models.build` constructs the model of a
configuration.

Letters: B batch, T frames, C channels, H W rows and columns of the latent, A action, P pose size. `action[t]` is the
action that led to frame t. `level` is the share of noise mixed into a context frame (0: clean), `tau` the share of
signal in a noisy frame (1: clean).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from worldsim.models.config import ModelConfig
from worldsim.models.state import WorldState

LatentShape: TypeAlias = tuple[int, int, int]
"""(C, H, W)."""

MemoryPart: TypeAlias = Literal["all", "map", "scan"]


@dataclass(frozen=True, kw_only=True)
class ClipContext:
    """What the frames of a clip are predicted from, in training."""

    action_BTA: Tensor
    inputs: Any = None
    """Specific to the model class."""
    end: WorldState | None = None
    """The state after the clip, if the clip started from a state."""


@dataclass(frozen=True, kw_only=True)
class FrameContext:
    """What the next frame is generated from, at play. `commit` continues from `state`."""

    state: WorldState
    action_BA: Tensor
    inputs: Any = None
    """Specific to the model class."""


class FloorPlan(NamedTuple):
    """A model's map from above, on a square grid of points around (0, 0). Shapes: [B, G, G], y by x, each 0 to 1."""

    wall: Tensor
    """How opaque a cell is."""
    known: Tensor
    """How certain that is: 0 where nothing was seen."""
    reach: float
    """Distance of the outermost points from the center, in units of a pose."""


class WorldModel(nn.Module, ABC):
    """No method changes a state in place."""

    uses_denoising = True
    """False where the number of denoising steps does not change the frames."""

    def __init__(self, config: ModelConfig, latent_shape: LatentShape, action_size: int) -> None:
        super().__init__()
        self.config, self.latent_shape, self.action_size = config, latent_shape, action_size

    @abstractmethod
    def initial_state(self, batch: int, seed: int) -> WorldState:
        """The state before the first frame."""

    @abstractmethod
    def without_memory(self, state: WorldState, part: MemoryPart = "all") -> WorldState:
        """The state with scan states, or the map and its estimated pose, or both reset; the attention window and past
        latents stay.

        A diagnostic, not a control for memory.
        """

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
        """Reads a clip of context frames. Frame t of `predict` depends on context frames before t only.

        `generated_BT` marks frames that the model generated (bool; None: none). `pose_BTP` are the true poses where
        known: a map then need not estimate them, which is most of its work. With `state` the clip continues from
        there (where `config.supports_tbptt`), without it from the initial state.
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
        """The state after the finished frame. `level_B` is the noise level with which it is labeled.

        `generated`: whether the model made the frame. `pose_BP`: its true pose, where known, of a true frame.
        """

    def skip(self, state: WorldState, context: FrameContext) -> WorldState:
        """The state after a frame that is only shown: the memory as in `state`, before the frame; the camera where
        `context` has it."""
        return state.advance({})

    def stop_at_walls(self, state: WorldState, action_BA: Tensor) -> Tensor:
        """Where actions are poses: the action without the part of its step that leads into a wall of the map.

        Shapes: returns [B, A].
        """
        return action_BA

    def floor_plan(self, state: WorldState) -> FloorPlan | None:
        """The map in the state, from above; None for a model without a map."""
        return None

    def predict_pose(self, clip_context: ClipContext) -> Tensor | None:
        """The pose of every frame, for the auxiliary loss: [B, T, 4], or None for a model without a pose head."""
        return None
