"""Where am I, where do I go, what does it look like there: a learned map of a fixed world.

Owns: an estimate of the camera's pose, carried in the state, and a picture of the world as a function of pose, held in
the weights. Does not own: the frame that is shown (the denoiser makes it; what is recalled here is one of its inputs).
In training the true pose is the target; at play there are only frames and actions. Of use where the map is fixed: a
maze never seen before is not in the weights, there the scan has to remember.

A pose is (x, y, cos, sin), x and y in the training's scaled units. Letters as in `world_model`; P pose size.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PlaceState: TypeAlias = dict[str, Tensor]

POSE_SIZE = 4
POSITION_OCTAVES = 6
ANGLE_HARMONICS = (1, 2, 3, 4, 6, 8, 12, 16)
FEATURE_SIZE = 2 + 4 * POSITION_OCTAVES + 2 * len(ANGLE_HARMONICS)
TICK_SCALE = 0.05
"""About how far a pose moves in one tick, in scaled units: brings motions to the size that networks like."""


class ResidualMLP(nn.Module):
    def __init__(self, size_in: int, width: int, size_out: int, num_blocks: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(size_in, width)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
                for _ in range(num_blocks)
            ]
        )
        self.project_out = nn.Linear(width, size_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project_in(x)
        for block in self.blocks:
            x = x + block(x)
        projected: Tensor = self.project_out(F.silu(x))
        return projected


class PlaceMemory(nn.Module):
    """Predict and correct, as a Kalman filter does, with learned parts; then recall."""

    def __init__(self, latent_shape: tuple[int, int, int], action_size: int, width: int) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        latent_size = math.prod(latent_shape)
        self.recall_net = ResidualMLP(FEATURE_SIZE, width, latent_size, 3)
        self.localise_net = ResidualMLP(latent_size, width // 2, POSE_SIZE, 2)
        self.move_net = ResidualMLP(FEATURE_SIZE + POSE_SIZE + action_size, width // 4, POSE_SIZE, 2)
        self.trust_net = nn.Sequential(nn.Linear(POSE_SIZE, 32), nn.SiLU(), nn.Linear(32, 1))
        nn.init.zeros_(self.move_net.project_out.weight)
        nn.init.constant_(self.trust_net[-1].bias, -2.0)  # type: ignore[arg-type]  # a Linear

    def recall(self, pose_BP: Tensor) -> Tensor:
        """What the world looks like from a pose. Shapes: [B, P] -> [B, C, H, W]."""
        recalled: Tensor = self.recall_net(pose_features(pose_BP))
        return recalled.unflatten(1, self.latent_shape)

    def localise(self, latent_BCHW: Tensor) -> Tensor:
        """The pose from which a frame was seen, heading not yet of length 1. Shapes: [B, C, H, W] -> [B, P]."""
        seen: Tensor = self.localise_net(latent_BCHW.flatten(1))
        return seen

    def correction(self, pose_BP: Tensor, seen_BP: Tensor) -> Tensor:
        """How far to draw the believed pose towards the one that the frame shows: as far as that is trusted."""
        surprise_BP = (seen_BP - pose_BP) / TICK_SCALE
        trust_B1 = self.trust_net(surprise_BP.clamp(-20, 20)).sigmoid()
        return trust_B1 * (seen_BP - pose_BP)

    def move(self, pose_BP: Tensor, previous_BP: Tensor, action_BA: Tensor) -> Tensor:
        """The pose one tick later: the one before gives the speed."""
        speed_BP = (pose_BP - previous_BP) / TICK_SCALE
        motion_BP = self.move_net(torch.cat((pose_features(pose_BP), speed_BP, action_BA), -1))
        return unit_heading(pose_BP + TICK_SCALE * motion_BP)

    def predict(self, state: PlaceState, action_BA: Tensor) -> PlaceState:
        """Where the next frame will be seen from."""
        pose_BP = self.move(state["pose"], state["previous"], action_BA)
        return {"pose": pose_BP, "previous": state["pose"], "known": state["known"]}

    def correct(self, state: PlaceState, seen_BP: Tensor) -> PlaceState:
        """The belief drawn to the pose that a true frame shows; the first such frame is believed wholly.

        Never with a frame that was imagined: it was drawn from the believed pose and holds no news of it, and the
        network's own error would be fed back (the pose is then lost within ten frames).
        A correction moves the pose before along, so that it is not taken for speed.
        """
        known_B1, shift_BP = state["known"][:, None], self.correction(state["pose"], seen_BP)
        return {
            "pose": torch.where(known_B1, unit_heading(state["pose"] + shift_BP), seen_BP),
            "previous": torch.where(known_B1, unit_heading(state["previous"] + shift_BP), seen_BP),
            "known": torch.ones_like(state["known"]),
        }

    def track(self, latent_BTCHW: Tensor, imagined_BT: Tensor, action_BTA: Tensor) -> Tensor:
        """What play does frame by frame, over a clip. Shapes: returns the predicted poses, [B, T, P]."""
        seen_BTP = unit_heading(self.localise(latent_BTCHW.flatten(0, 1))).unflatten(0, latent_BTCHW.shape[:2])
        state, poses = self.initial_state(len(action_BTA)), []
        for t in range(action_BTA.shape[1]):
            state = self.predict(state, action_BTA[:, t])
            poses.append(state["pose"])
            corrected, imagined_B = self.correct(state, seen_BTP[:, t]), imagined_BT[:, t]
            state = {
                name: torch.where(imagined_B.view(-1, *[1] * (old.dim() - 1)), old, corrected[name])
                for name, old in state.items()
            }
        return torch.stack(poses, 1)

    def initial_state(self, batch: int) -> PlaceState:
        """Shapes: `pose` and `previous` [B, P]; `known` [B] bool, False before the first true frame."""
        pose_BP = self.recall_net.project_in.weight.new_zeros(batch, POSE_SIZE).detach()
        known_B = torch.zeros(batch, dtype=torch.bool, device=pose_BP.device)
        return {"pose": pose_BP, "previous": torch.zeros_like(pose_BP), "known": known_B}


def unit_heading(pose_BP: Tensor) -> Tensor:
    return torch.cat((pose_BP[..., :2], F.normalize(pose_BP[..., 2:], dim=-1)), -1)


def pose_features(pose_BP: Tensor) -> Tensor:
    """Octaves of the position and harmonics of the heading. Shapes: [B, P] -> [B, FEATURE_SIZE]."""
    xy_B2, angle_B1 = pose_BP[..., :2], torch.atan2(pose_BP[..., 3:], pose_BP[..., 2:3])
    octaves = [xy_B2 * (math.pi / 2 * 2.0**k) for k in range(POSITION_OCTAVES)]
    waves = torch.cat([*octaves, *(angle_B1 * k for k in ANGLE_HARMONICS)], -1)
    return torch.cat((xy_B2, waves.sin(), waves.cos()), -1)


def place_loss(
    memory: PlaceMemory,
    latent_BTCHW: Tensor,
    pose_BTP: Tensor,
    action_BTA: Tensor,
    *,
    max_level: float,
    pose_noise: float,
) -> dict[str, Tensor]:
    """The four parts against the truth, on clips of three frames.

    recall:   ||recall(p2) - z2||^2                  localise: ||localise(z1 + noise) - p1||^2
    correct:  ||p1 + noise + correction - p1||^2     move:     ||(move(p1, p0, a2) - p2) / TICK_SCALE||^2
    """
    latent_BCHW = latent_BTCHW[:, 1]
    level = torch.rand(len(latent_BCHW), 1, 1, 1, device=latent_BCHW.device) * max_level
    seen_BP = memory.localise((1 - level) * latent_BCHW + level * torch.randn_like(latent_BCHW))
    before_BP, now_BP, after_BP = pose_BTP.unbind(1)
    wrong_BP = now_BP + pose_noise * torch.rand_like(now_BP[:, :1]) ** 2 * torch.randn_like(now_BP)
    wrong_BP = unit_heading(wrong_BP)
    corrected_BP = unit_heading(wrong_BP + memory.correction(wrong_BP, unit_heading(seen_BP.detach())))
    moved_BP = memory.move(now_BP, before_BP, action_BTA[:, 2])
    return {
        "recall": (memory.recall(after_BP) - latent_BTCHW[:, 2]).square().mean(),
        "localise": (seen_BP - now_BP).square().mean(),
        "correct": (corrected_BP - now_BP).square().mean(),
        "move": ((moved_BP - after_BP) / TICK_SCALE).square().mean(),
    }
