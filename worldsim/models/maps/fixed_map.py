"""Where am I, where do I go, what does it look like there: a learned map of a fixed world.

Owns: an estimate of the camera's pose, carried in the state, and a picture of the world as a function of pose, held in
the weights. Does not own: the frame that is shown (the denoiser makes it; what is recalled here is one of its inputs).
In training the true pose is the target; at play there are only frames and actions. Of use where the map is fixed: a
maze never seen before is not in the weights, there `map_tracker` draws one into the state.

Positions are scaled so that the map lies in [-1, 1] (see `pose`). What is seen from a pose is the business of
`radiance_field`. Letters as in `world_model`; P pose size.
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

FLOOR_TABLES = (16, 32, 64)
"""Cells along x and y of the tables that the motion reads: where the walls are."""
FLOOR_FEATURES = 8

REFINEMENT_STEPS = 2
RENDER_VARIANCE = 0.1
"""Squared error per latent number at which recall at the right pose is taken to be."""
PRIOR_PRECISION = (1 / 0.03**2, 1 / 0.03**2, 1 / 0.04**2)
"""How firmly the estimated (x, y, heading) resists a frame: one over its variance."""
TRUE_POSE_NOISE = (0.006, 0.006, 0.01)
"""How far a correction is off, about: (x, y, heading)."""


class FixedMapMotion(Motion):
    """Knows the walls of a fixed world: tables of where one stands."""

    HEADINGS = (1, 2, 4)

    def __init__(self, action_size: int, width: int) -> None:
        floor = FeatureGrid(FLOOR_TABLES, FLOOR_FEATURES)
        super().__init__(floor.size + 4 + 2 * len(self.HEADINGS), action_size, width)
        self.position_grid = floor

    def forward(self, pose_BP: Tensor, previous_BP: Tensor, action_BA: Tensor) -> Tensor:
        moved_B2 = speed(pose_BP, previous_BP)
        waves = torch.stack([heading_rad(pose_BP) * k for k in self.HEADINGS], -1)
        ahead_B2 = pose_BP[:, :2] + 0.5 * TRANSLATION_SCALE * moved_B2
        around = torch.cat((self.position_grid(ahead_B2), pose_BP[:, :2], moved_B2, waves.sin(), waves.cos()), -1)
        return self.step(pose_BP, previous_BP, action_BA, around)


class FixedMapMemory(MapMemory):
    """Predict by the action, correct by the frame, as a Kalman filter does, with learned models; then recall."""

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
        """What the world looks like from a pose. Shapes: [B, P] -> [B, C, H, W]."""
        recalled: Tensor = self.field(pose_BP)
        return recalled

    @full_precision
    def estimate_pose(self, latent_BCHW: Tensor) -> Tensor:
        """A first guess of the pose from which a frame was seen, its heading not yet of length 1.

        Shapes: [B, C, H, W] -> [B, P].
        """
        seen: Tensor = self.pose_estimator(latent_BCHW.flatten(1))
        return seen

    @full_precision
    def move(self, pose_BP: Tensor, previous_BP: Tensor, action_BA: Tensor) -> Tensor:
        """The pose one tick later: the one before gives the speed."""
        moved: Tensor = self.motion(pose_BP, previous_BP, action_BA)
        return moved

    def predict_pose(self, state: MapState, action_BA: Tensor) -> MapState:
        """Where the next frame will be seen from."""
        pose_BP = self.move(state["pose"], state["previous_pose"], action_BA)
        return {"pose": pose_BP, "previous_pose": state["pose"], "is_localized": state["is_localized"]}

    def predict(self, state: MapState, action_BA: Tensor) -> tuple[MapState, Tensor]:
        state = self.predict_pose(state, action_BA)
        return state, self.render(state["pose"])

    def commit(
        self, state: MapState, latent_BCHW: Tensor, generated_B: Tensor, pose_BP: Tensor | None = None
    ) -> MapState:
        """What is generated says nothing; a true frame corrects, or the true pose where it is known."""
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
        """The belief drawn to the pose from which the map looks most like a true frame.

        Never with a frame that was generated: it was drawn from the estimated pose and holds no news of it, and the
        network's own error would be fed back (the pose is then lost within ten frames).
        No gradient.
        """
        seen_BP, known_B1 = unit_heading(self.estimate_pose(latent_BCHW)), state["is_localized"][:, None]
        estimated_BP = torch.where(known_B1, state["pose"], seen_BP)
        misfits_2B = self._squared_error(torch.cat((estimated_BP, seen_BP)), torch.cat((latent_BCHW, latent_BCHW)))
        misfit_B, misfit_seen_B = misfits_2B.chunk(2)
        lost_B1 = (misfit_seen_B < 0.5 * misfit_B)[:, None]
        start_BP, misfit_B = torch.where(lost_B1, seen_BP, estimated_BP), torch.minimum(misfit_B, misfit_seen_B)
        pose_BP = fit_pose(self._look, start_BP, latent_BCHW, precision=PRIOR_PRECISION, num_steps=REFINEMENT_STEPS)
        better_B1 = (self._squared_error(pose_BP, latent_BCHW) < misfit_B)[:, None]
        pose_BP = torch.where(better_B1, pose_BP, start_BP)
        return _with_pose(state, pose_BP, known_B1 & ~lost_B1)

    def set_from_truth(self, state: MapState, pose_BP: Tensor) -> MapState:
        """`refine_pose` for training, where the true pose is known: a good correction, at a hundredth of the cost."""
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
        """What play does frame by frame, over a clip. Returns: the predicted poses [B, T, P], and the state after it.

        With the true poses `pose_BTP` (training) they stand in for what frames say.
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
        known_B = torch.zeros(batch, dtype=torch.bool, device=pose_BP.device)
        return {"pose": pose_BP, "previous_pose": pose_BP.clone(), "is_localized": known_B}

    def _squared_error(self, pose_BP: Tensor, latent_BCHW: Tensor) -> Tensor:
        """Mean squared error of what is recalled. Shapes: returns [B]."""
        return (self.render(pose_BP) - latent_BCHW).square().mean((1, 2, 3))

    def _look(self, pose_BP: Tensor) -> tuple[Tensor, Tensor]:
        return self.render(pose_BP), pose_BP.new_tensor(1 / RENDER_VARIANCE)


def _with_pose(state: MapState, pose_BP: Tensor, kept_B1: Tensor) -> MapState:
    """The belief at another pose. Where it is `kept`, the pose before moves along: the jump is no speed."""
    previous_BP = torch.where(kept_B1, shift_previous(state["previous_pose"], state["pose"], pose_BP), pose_BP)
    return {"pose": pose_BP, "previous_pose": previous_BP, "is_localized": torch.ones_like(state["is_localized"])}


def fixed_map_loss(
    memory: FixedMapMemory, latent_BCHW: Tensor, pose_BP: Tensor, *, max_level: float
) -> dict[str, Tensor]:
    """recall: ||recall(p) - z||^2, localise: ||localise(z + noise) - p||^2."""
    level = torch.rand(len(latent_BCHW), 1, 1, 1, device=latent_BCHW.device) * max_level
    noisy_BCHW = (1 - level) * latent_BCHW + level * torch.randn_like(latent_BCHW)
    return {
        "recall": (memory.render(pose_BP) - latent_BCHW).square().mean(),
        "localise": (memory.estimate_pose(noisy_BCHW) - pose_BP).square().mean(),
    }
