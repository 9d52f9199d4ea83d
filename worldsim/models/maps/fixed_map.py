"""A learned map of a fixed world: pose tracking, and rendering from a pose.

The estimated pose of the camera is in the state, the map in the weights. In training the true pose is the target; at
play there are only frames and actions. For worlds never seen before see `map_tracker`, which builds a map in the state;
for rendering see `radiance_field`.

Positions are scaled so that the map covers [-1, 1] (see `models.pose`). Letters as in `models.world_model`;
P pose size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from worldsim.models.fp32 import full_precision
from worldsim.models.maps.feature_grid import FeatureGrid
from worldsim.models.maps.map_model import MapMemory, MapState
from worldsim.models.maps.motion import TRANSLATION_SCALE, Motion, speed
from worldsim.models.maps.pose_refinement import fit_pose, shift_previous
from worldsim.models.maps.radiance_field import RadianceField
from worldsim.models.mlp import ResidualMLP
from worldsim.models.pose import POSE_SIZE, heading_rad, move_by, unit_heading

POSITION_CELLS = (16, 32, 64)
"""Cells along x and y of the grids from which the motion learns where the walls are."""
POSITION_FEATURES = 8

REFINEMENT_STEPS = 2
RENDER_VARIANCE = 0.1
"""Assumed squared error per latent value of what is rendered at the true pose."""
PRIOR_PRECISION = (1 / 0.03**2, 1 / 0.03**2, 1 / 0.04**2)
"""Precision (one over the variance) of the estimated (x, y, heading), relative to a frame."""
TRUE_POSE_NOISE = (0.006, 0.006, 0.01)
"""Typical error of a correction: (x, y, heading)."""


class FixedMapMotion(Motion):
    """Motion in a fixed world, whose walls are learned as features of the position."""

    HEADINGS = (1, 2, 4)

    def __init__(self, action_size: int, width: int) -> None:
        position_grid = FeatureGrid(POSITION_CELLS, POSITION_FEATURES)
        super().__init__(position_grid.size + 4 + 2 * len(self.HEADINGS), action_size, width)
        self.position_grid = position_grid

    def forward(self, pose_BP: Tensor, previous_BP: Tensor, action_BA: Tensor) -> Tensor:
        speed_B2 = speed(pose_BP, previous_BP)
        waves = torch.stack([heading_rad(pose_BP) * k for k in self.HEADINGS], -1)
        ahead_B2 = pose_BP[:, :2] + 0.5 * TRANSLATION_SCALE * speed_B2
        around = torch.cat((self.position_grid(ahead_B2), pose_BP[:, :2], speed_B2, waves.sin(), waves.cos()), -1)
        return self.step(pose_BP, previous_BP, action_BA, around)


class FixedMapMemory(MapMemory):
    """Predicts the pose from the action and corrects it from the frame, as a Kalman filter with learned models."""

    num_extra_channels = 0

    def __init__(
        self, latent_shape: tuple[int, int, int], action_size: int, width: int, *, view_rad: float = math.pi / 2
    ) -> None:
        super().__init__()
        self.field = RadianceField(latent_shape, width // 2, view_rad)
        self.pose_estimator = ResidualMLP(math.prod(latent_shape), width // 2, POSE_SIZE, 2)
        self.motion = FixedMapMotion(action_size, width // 4)

    @full_precision
    def render(self, pose_BP: Tensor) -> Tensor:
        """Renders the map at a pose. Shapes: [B, P] -> [B, C, H, W]."""
        rendered: Tensor = self.field(pose_BP)
        return rendered

    @full_precision
    def estimate_pose(self, latent_BCHW: Tensor) -> Tensor:
        """A first estimate of a frame's pose; its heading is not yet normalized.

        Shapes: [B, C, H, W] -> [B, P].
        """
        estimated: Tensor = self.pose_estimator(latent_BCHW.flatten(1))
        return estimated

    @full_precision
    def move(self, pose_BP: Tensor, previous_BP: Tensor, action_BA: Tensor) -> Tensor:
        """The pose one tick later; the previous pose gives the speed."""
        moved: Tensor = self.motion(pose_BP, previous_BP, action_BA)
        return moved

    def predict_pose(self, state: MapState, action_BA: Tensor) -> MapState:
        """Moves the estimated pose by one tick."""
        pose_BP = self.move(state["pose"], state["previous_pose"], action_BA)
        return {"pose": pose_BP, "previous_pose": state["pose"], "is_localized": state["is_localized"]}

    def predict(self, state: MapState, action_BA: Tensor) -> tuple[MapState, Tensor]:
        state = self.predict_pose(state, action_BA)
        return state, self.render(state["pose"])

    def commit(
        self, state: MapState, latent_BCHW: Tensor, generated_B: Tensor, pose_BP: Tensor | None = None
    ) -> MapState:
        """A true frame, or its true pose where known, corrects the pose. A generated frame has no effect."""
        if bool(generated_B.all()):
            return state
        corrected = self.refine_pose(state, latent_BCHW) if pose_BP is None else self.set_from_truth(state, pose_BP)
        return {
            name: torch.where(generated_B.view(-1, *[1] * (old.dim() - 1)), old, corrected[name])
            for name, old in state.items()
        }

    @torch.no_grad()
    @full_precision
    def refine_pose(self, state: MapState, latent_BCHW: Tensor) -> MapState:
        """Refines the estimated pose so that the map's rendering matches a true frame.

        Never used with generated frames: they were rendered at the estimated pose and carry no information about it,
        and the model's own error would be fed back (the pose is then lost within ten frames). No gradient.
        """
        guess_BP, is_localized_B1 = unit_heading(self.estimate_pose(latent_BCHW)), state["is_localized"][:, None]
        estimated_BP = torch.where(is_localized_B1, state["pose"], guess_BP)
        errors_2B = self._squared_error(torch.cat((estimated_BP, guess_BP)), torch.cat((latent_BCHW, latent_BCHW)))
        error_B, guess_error_B = errors_2B.chunk(2)
        is_lost_B1 = (guess_error_B < 0.5 * error_B)[:, None]
        start_BP, error_B = torch.where(is_lost_B1, guess_BP, estimated_BP), torch.minimum(error_B, guess_error_B)
        pose_BP = fit_pose(self._look, start_BP, latent_BCHW, precision=PRIOR_PRECISION, num_steps=REFINEMENT_STEPS)
        is_better_B1 = (self._squared_error(pose_BP, latent_BCHW) < error_B)[:, None]
        pose_BP = torch.where(is_better_B1, pose_BP, start_BP)
        return _with_pose(state, pose_BP, is_localized_B1 & ~is_lost_B1)

    def set_from_truth(self, state: MapState, pose_BP: Tensor) -> MapState:
        """`refine_pose` for training, where the true pose is known: a typical correction, at 1 % of the cost."""
        noise_B3 = pose_BP.new_tensor(TRUE_POSE_NOISE) * torch.randn_like(pose_BP[:, :3])
        return _with_pose(state, move_by(pose_BP, noise_B3), state["is_localized"][:, None])

    def track(
        self,
        latent_BTCHW: Tensor,
        generated_BT: Tensor,
        action_BTA: Tensor,
        pose_BTP: Tensor | None = None,
        start: MapState | None = None,
    ) -> tuple[Tensor, MapState]:
        """Tracks the pose over a clip as at play. Returns: the predicted poses [B, T, P], and the state after the clip.

        With true poses `pose_BTP` (in training) frames are not used to correct it.
        """
        state, poses = start or self.initial_state(len(action_BTA)), []
        for t in range(action_BTA.shape[1]):
            state = self.predict_pose(state, action_BTA[:, t])
            poses.append(state["pose"])
            pose_BP = None if pose_BTP is None else pose_BTP[:, t]
            state = self.commit(state, latent_BTCHW[:, t], generated_BT[:, t], pose_BP)
        return torch.stack(poses, 1), state

    def _render_clip(
        self,
        latent_BTCHW: Tensor,
        generated_BT: Tensor,
        action_BTA: Tensor,
        pose_BTP: Tensor | None,
        start: MapState | None,
    ) -> tuple[Tensor, MapState]:
        """Tracks the pose over the clip, then renders all frames in one call."""
        estimated_BTP, state = self.track(latent_BTCHW, generated_BT, action_BTA, pose_BTP, start)
        return self.render(estimated_BTP.flatten(0, 1)).unflatten(0, estimated_BTP.shape[:2]), state

    def initial_state(self, batch: int) -> MapState:
        """Shapes: `pose` and `previous_pose` [B, P]; `is_localized` [B] bool, False before the first true frame."""
        pose_BP = self.motion.linear.weight.new_zeros(batch, POSE_SIZE).detach()
        pose_BP[:, 2] = 1.0
        is_localized_B = torch.zeros(batch, dtype=torch.bool, device=pose_BP.device)
        return {"pose": pose_BP, "previous_pose": pose_BP.clone(), "is_localized": is_localized_B}

    def _squared_error(self, pose_BP: Tensor, latent_BCHW: Tensor) -> Tensor:
        """Mean squared error of the rendering. Shapes: returns [B]."""
        return (self.render(pose_BP) - latent_BCHW).square().mean((1, 2, 3))

    def _look(self, pose_BP: Tensor) -> tuple[Tensor, Tensor]:
        return self.render(pose_BP), pose_BP.new_tensor(1 / RENDER_VARIANCE)


def _with_pose(state: MapState, pose_BP: Tensor, kept_B1: Tensor) -> MapState:
    """Sets the pose. Where `kept`, the previous pose is shifted too, so that the correction does not count as speed."""
    previous_BP = torch.where(kept_B1, shift_previous(state["previous_pose"], state["pose"], pose_BP), pose_BP)
    return {"pose": pose_BP, "previous_pose": previous_BP, "is_localized": torch.ones_like(state["is_localized"])}


def fixed_map_loss(
    memory: FixedMapMemory, latent_BCHW: Tensor, pose_BP: Tensor, *, max_level: float
) -> dict[str, Tensor]:
    """recall: ||render(p) - z||^2, localize: ||estimate_pose(z + noise) - p||^2."""
    level = torch.rand(len(latent_BCHW), 1, 1, 1, device=latent_BCHW.device) * max_level
    noisy_BCHW = (1 - level) * latent_BCHW + level * torch.randn_like(latent_BCHW)
    return {
        "recall": (memory.render(pose_BP) - latent_BCHW).square().mean(),
        "localize": (memory.estimate_pose(noisy_BCHW) - pose_BP).square().mean(),
    }
