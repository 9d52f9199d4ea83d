"""A learned map of a fixed world: it can be learned, tracked through, and is part of the state."""

from __future__ import annotations

import math

import torch

from worldsim.models.place import FEATURE_SIZE, POSE_SIZE, PlaceMemory, place_loss, pose_features, unit_heading

LATENT_SHAPE = (2, 2, 3)


def circle_world(num: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clips of three frames on a circle: the action is the step along it, the picture a smooth function of the pose."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(num, 1, generator=generator) * 2 * math.pi
    action = (torch.rand(num, 3, 1, generator=generator) - 0.5) * 0.4
    angle = start + action[..., 0].cumsum(1)
    pose = torch.stack((1 + angle.cos(), 1 + angle.sin(), angle.cos(), angle.sin()), -1)
    waves = torch.stack([(angle * k + shift).sin() for k in (1, 2, 3) for shift in (0.0, 0.5, 1.0, 1.5)], -1)
    return waves.unflatten(-1, LATENT_SHAPE), pose, action


def losses(memory: PlaceMemory, seed: int) -> dict[str, torch.Tensor]:
    latent, pose, action = circle_world(256, seed)
    return place_loss(memory, latent, pose, action, max_level=0.1, pose_noise=0.3)


def test_a_map_is_learned_and_tracked_from_frames_and_actions_alone() -> None:
    torch.manual_seed(0)
    memory = PlaceMemory(LATENT_SHAPE, 1, 64)
    before = losses(memory, seed=1)
    optimiser = torch.optim.AdamW(memory.parameters(), lr=3e-3)
    for update in range(600):
        optimiser.zero_grad()
        torch.stack(list(losses(memory, seed=100 + update).values())).sum().backward()
        optimiser.step()
    after = losses(memory, seed=1)
    for name in ("recall", "localise", "correct", "move"):
        assert after[name] < 0.3 * before[name], f"{name}: {before[name]:.3f} -> {after[name]:.3f}"

    latent, pose, action = circle_world(64, seed=2)
    with torch.no_grad():
        tracked = memory.track(latent, torch.zeros(64, 3, dtype=torch.bool), action)[:, 2]
    error = (tracked - pose[:, 2]).square().mean().sqrt()
    assert error < 0.15, f"lost by {error:.2f}"
    assert (memory.recall(tracked) - latent[:, 2]).square().mean() < 0.1


def test_the_first_frame_seen_is_trusted_wholly_and_an_imagined_one_not_at_all() -> None:
    torch.manual_seed(0)
    memory = PlaceMemory(LATENT_SHAPE, 1, 32)
    first, other = torch.randn(2, 1, *LATENT_SHAPE)
    action = torch.zeros(1, 3, 1)
    seen = unit_heading(memory.localise(first))
    state = memory.initial_state(1)
    assert not state["known"]
    corrected = memory.correct(state, seen)
    assert torch.equal(corrected["pose"], seen) and bool(corrected["known"])

    def third_pose(second: torch.Tensor, *, imagined: bool) -> torch.Tensor:
        latent = torch.stack((first, second, first), 1)
        return memory.track(latent, torch.tensor([[False, imagined, False]]), action)[:, 2]

    assert torch.equal(third_pose(first, imagined=True), third_pose(other, imagined=True))
    assert not torch.allclose(third_pose(first, imagined=False), third_pose(other, imagined=False))


def test_features_have_the_stated_size_and_a_heading_has_length_one() -> None:
    pose = unit_heading(torch.randn(5, POSE_SIZE))
    assert torch.allclose(pose[:, 2:].norm(dim=-1), torch.ones(5))
    assert pose_features(pose).shape == (5, FEATURE_SIZE)
