"""A fixed map can be learned, and its pose tracked in the state."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from worldsim.models.maps.fixed_map import PLAN_POINTS, FixedMapMemory
from worldsim.models.pose import POSE_SIZE, heading_rad, move_by, rotate, turn_between, unit_heading
from worldsim.training.recipes.map import fixed_map_loss, motion_loss

LATENT_SHAPE = (4, 2, 3)
WALL = 0.8
"""How far from the middle of the room one can walk; its walls stand at 1."""


def walled_world(num_walks: int, num_frames: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Walks in a square room: latents [B, T, C, H, W], poses [B, T, P], actions (forward, turn) [B, T, 2].

    Every column of the picture shows where its ray hits a wall; walls stop motion towards them.
    """
    generator = torch.Generator().manual_seed(seed)
    xy = (torch.rand(num_walks, 2, generator=generator) * 2 - 1) * WALL
    angle = torch.rand(num_walks, generator=generator) * 2 * math.pi
    poses, actions = [], []
    for _ in range(num_frames):
        action = torch.rand(num_walks, 2, generator=generator) * 2 - 1
        angle = angle + 0.3 * action[:, 1]
        heading = torch.stack((angle.cos(), angle.sin()), -1)
        xy = (xy + 0.1 * action[:, :1] * heading).clamp(-WALL, WALL)
        poses.append(torch.cat((xy, heading), -1))
        actions.append(action)
    pose = torch.stack(poses, 1)
    return picture(pose), pose, torch.stack(actions, 1)


def picture(pose: Tensor) -> Tensor:
    """A room with painted walls, through a lens of 90 degrees. Shapes: [..., P] -> [..., C, H, W]."""
    channels, rows, columns = LATENT_SHAPE
    across = (torch.arange(columns) + 0.5) / columns * 2 - 1
    angle = heading_rad(pose)[..., None] - torch.atan(across)
    ray = torch.stack((angle.cos(), angle.sin()), -1)
    start = pose[..., None, :2]
    length = ((ray.sign() - start) / ray).amin(-1)
    hit = start + ray * length[..., None]
    depth = length * torch.atan(across).cos()
    phases = [3 * hit[..., 0], 3 * hit[..., 1], 2 * depth, 2 * (hit[..., 0] + hit[..., 1])]
    waves = torch.stack([(phase + shift).sin() for phase in phases for shift in (0.0, 1.5)], -2)
    return waves.unflatten(-2, (channels, rows))


def losses(memory: FixedMapMemory, seed: int) -> dict[str, Tensor]:
    latent, pose, action = walled_world(256, 5, seed)
    return {
        **fixed_map_loss(memory, latent[:64, 2], pose[:64, 2], max_level=0.1),
        "move": motion_loss(memory.move, pose, action, position_noise=0.01),
    }


def test_a_fixed_map_is_learned_and_tracked_from_actions_only() -> None:
    torch.manual_seed(0)
    memory = FixedMapMemory(LATENT_SHAPE, 2, 64)
    before = losses(memory, seed=1)
    optimizer = torch.optim.AdamW(memory.parameters(), lr=3e-3)
    for update in range(400):
        optimizer.zero_grad()
        torch.stack(list(losses(memory, seed=100 + update).values())).sum().backward()
        optimizer.step()
    after = losses(memory, seed=1)
    for name in ("recall", "localize", "move"):
        assert after[name] < 0.3 * before[name], f"{name}: {before[name]:.3f} -> {after[name]:.3f}"

    latent, pose, action = walled_world(64, 40, seed=2)
    generated = torch.arange(40).expand(64, -1) >= 8
    with torch.no_grad():
        tracked, _ = memory.track(latent, generated, action)
    error_T = (tracked - pose)[..., :2].norm(dim=-1).median(0).values
    assert error_T[7] < 0.05, f"with true frames the pose is off by {error_T[7]:.3f}"
    assert error_T[39] < 0.15, f"after 32 ticks without any it is off by {error_T[39]:.3f}"
    assert tracked[:, 8:, :2].abs().quantile(0.99) < WALL + 0.2, "walked through a wall"

    believed = move_by(pose[:, 0], 0.06 * torch.randn(64, 3))
    state = {"pose": believed, "previous_pose": believed, "is_localized": torch.ones(64, dtype=torch.bool)}
    corrected = memory.refine_pose(state, latent[:, 0])["pose"]
    before_off, after_off = ((p - pose[:, 0])[:, :2].norm(dim=-1).median() for p in (believed, corrected))
    assert after_off < 0.8 * before_off, f"one frame brings the belief from {before_off:.3f} to {after_off:.3f} only"


def test_true_frames_correct_the_pose_and_generated_ones_do_not() -> None:
    torch.manual_seed(0)
    memory = FixedMapMemory(LATENT_SHAPE, 1, 32)
    first, other = torch.randn(2, 1, *LATENT_SHAPE)
    action = torch.zeros(1, 3, 1)
    state = memory.initial_state(1)
    assert not state["is_localized"]
    corrected = memory.refine_pose(state, first)
    assert bool(corrected["is_localized"]) and torch.equal(corrected["pose"], corrected["previous_pose"])

    def third_pose(second: Tensor, *, generated: bool) -> Tensor:
        latent = torch.stack((first, second, first), 1)
        return memory.track(latent, torch.tensor([[False, generated, False]]), action)[0][:, 2]

    assert torch.equal(third_pose(first, generated=True), third_pose(other, generated=True))
    assert not torch.allclose(third_pose(first, generated=False), third_pose(other, generated=False))


def test_a_known_true_pose_replaces_pose_refinement() -> None:
    torch.manual_seed(0)
    memory = FixedMapMemory(LATENT_SHAPE, 2, 32)
    latent, pose, action = walled_world(16, 12, seed=0)
    generated = torch.arange(12).expand(16, -1) >= 6
    with torch.no_grad():
        believed, _ = memory.track(torch.full_like(latent, float("nan")), generated, action, pose)
    off_BT = (believed - pose)[..., :2].norm(dim=-1)
    assert off_BT[:, 1:7].max() < 0.3, "one tick after a known pose the belief is about a step off"
    assert off_BT[:, 11].mean() > off_BT[:, 6].mean(), "an untrained motion walks away from the truth"


def test_poses_rotate_and_translate_like_vectors() -> None:
    pose = unit_heading(torch.randn(5, POSE_SIZE))
    assert torch.allclose(pose[:, 2:].norm(dim=-1), torch.ones(5))
    step = torch.tensor([0.1, -0.2, 0.5]).expand(5, 3)
    moved = move_by(pose, step)
    assert torch.allclose(moved[:, :2] - pose[:, :2], step[:, :2], atol=1e-6)
    assert torch.allclose(turn_between(pose, moved), step[:, 2], atol=1e-6)
    assert torch.allclose(
        rotate(torch.tensor([1.0, 0.0]), torch.tensor(math.pi / 2)), torch.tensor([0.0, 1.0]), atol=1e-6
    )


@torch.no_grad()
def walled_in_the_west(**options: bool) -> FixedMapMemory:
    torch.manual_seed(0)
    memory = FixedMapMemory(LATENT_SHAPE, 2, 16, **options)
    for level in memory.field.walls.levels:
        level.zero_()
        level[0] = -3.0  # free
        level[0, :, : level.shape[2] // 4] = 3.0  # a wall at low x
    return memory


@torch.no_grad()
def test_a_floor_plan_shows_the_walls_in_the_weights_where_they_are() -> None:
    memory = walled_in_the_west()
    wall, known, reach = memory.floor_plan(memory.initial_state(2))
    assert wall.shape == known.shape == (2, PLAN_POINTS, PLAN_POINTS) and reach >= 1
    assert float(wall[0, :, : PLAN_POINTS // 5].min()) > 0.5 > 0.1 > float(wall[0, :, PLAN_POINTS // 2 :].max())
    assert bool((known == 1).all())


@torch.no_grad()
def test_a_key_held_down_ends_at_a_solid_wall_and_beyond_any_other() -> None:
    ends = []
    for solid_walls in (True, False):
        memory = walled_in_the_west(solid_walls=solid_walls)
        memory.motion.linear.weight[:, 3:] = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
        state = memory.initial_state(1)
        state["pose"] = state["previous_pose"] = torch.tensor([[0.0, 0.0, -1.0, 0.0]])  # looking west
        for _ in range(40):
            state = memory.predict_pose(state, torch.tensor([[1.0, 0.0]]))
        ends.append(float(state["pose"][0, 0]))
    assert ends[1] < -1 < ends[0] < -0.3
