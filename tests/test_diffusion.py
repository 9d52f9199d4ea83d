"""Noise is a function of (seed, frame), context levels have the shape of the paper; objectives against hand values."""

from __future__ import annotations

import pytest
import torch

from worldsim.diffusion import (
    context_levels,
    flow_loss,
    frame_noise,
    mix_noise,
    sample_flow_steps,
    sample_shortcut_steps,
    shortcut_loss,
)
from worldsim.models.rollout import sample_frame


def test_noise_depends_only_on_seed_and_frame_index() -> None:
    first = frame_noise(7, 3, (4, 5))
    torch.randn(10)
    assert torch.equal(first, frame_noise(7, 3, (4, 5)))
    others = [frame_noise(7, 4, (4, 5)), frame_noise(8, 3, (4, 5)), frame_noise(0, 3, (4, 5))]
    assert all(not torch.equal(first, other) for other in others)


def test_noise_of_many_frames_is_standard_normal_and_uncorrelated() -> None:
    noise = torch.stack([frame_noise(5, i, (1000,)) for i in range(50)])
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02
    correlation = torch.corrcoef(noise) - torch.eye(50)
    assert float(correlation.abs().max()) < 0.2


def test_mixing_at_tau_0_and_1_gives_noise_and_the_clean_latent() -> None:
    clean, noise = torch.ones(1, 2, 1, 1, 1), torch.zeros(1, 2, 1, 1, 1)
    mixed = mix_noise(clean, noise, torch.tensor([[0.0, 1.0]]))
    assert mixed.flatten().tolist() == [0.0, 1.0]


def test_a_fraction_of_rows_has_a_clean_prefix_longer_than_half() -> None:
    levels = context_levels(2000, 20, max_level=0.3, prefix_prob=0.5, generator=torch.Generator().manual_seed(0))
    assert float(levels.max()) <= 0.3
    has_prefix = (levels[:, :11] == 0).all(dim=1)
    assert abs(float(has_prefix.float().mean()) - 0.5) < 0.05
    assert bool((levels[~has_prefix] > 0).all())
    lengths = (levels[has_prefix].cumsum(1) == 0).sum(1)
    assert int(lengths.min()) == 11 and int(lengths.max()) == 20


def latent(*values: float) -> torch.Tensor:
    """One row, one frame per value, latents of one number."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1, 1)


def test_flow_loss_is_the_weighted_squared_error() -> None:
    tau, mask = torch.tensor([[0.0, 0.5]]), torch.ones(1, 2)
    loss = flow_loss(latent(1.0, 3.0), latent(0.0, 1.0), tau, mask, floor=0.1)
    assert float(loss) == pytest.approx((0.1 * 1 + 0.55 * 4) / 2)


def test_flow_loss_ignores_masked_frames() -> None:
    tau, mask = torch.tensor([[0.0, 0.5]]), torch.tensor([[0.0, 1.0]])
    loss = flow_loss(latent(1.0, 3.0), latent(0.0, 1.0), tau, mask, floor=0.1)
    assert float(loss) == pytest.approx(0.55 * 4)


def test_shortcut_loss_is_zero_for_a_perfect_network() -> None:
    clean = latent(2.0, -1.0)
    loss = shortcut_loss(
        lambda *_: clean, lambda *_: clean, clean, latent(0.3, 0.4),
        torch.tensor([[0.0, 0.5]]), torch.tensor([[1.0, 0.5]]), torch.ones(1, 2), floor=1.0,
    )  # fmt: skip
    assert float(loss) == pytest.approx(0.0, abs=1e-12)


def test_shortcut_loss_targets_the_result_of_two_half_steps() -> None:
    # Teacher f = 1 at tau 0 and 3 at tau 1/2. From noise 0: v1 = 1, z' = 1/2, v2 = (3 - 1/2) / (1/2) = 5,
    # landing (1 + 5) / 2 = 3.
    def teacher(noisy: torch.Tensor, tau: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        assert torch.equal(step, torch.full_like(step, 0.5))
        return torch.where(tau[..., None, None, None] < 0.25, 1.0, 3.0).to(noisy)

    def student(noisy: torch.Tensor, tau: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        assert torch.equal(step, torch.ones_like(step))
        return noisy + 2.5

    one = torch.ones(1, 1)
    loss = shortcut_loss(student, teacher, latent(9.0), latent(0.0), torch.zeros(1, 1), one, one, floor=1.0)
    assert float(loss) == pytest.approx((2.5 - 3.0) ** 2)


def test_sampled_shortcuts_stay_on_their_grid() -> None:
    tau, step = sample_shortcut_steps(50, 40, torch.Generator().manual_seed(0))
    assert set(step.unique().tolist()) == {0.25, 0.5, 1.0}
    assert bool((tau + step <= 1).all()) and bool((tau % step == 0).all())
    assert set(tau[step == 0.25].unique().tolist()) == {0.0, 0.25, 0.5, 0.75}


def test_flows_cover_the_grid_of_the_smallest_step() -> None:
    tau, step = sample_flow_steps(50, 40, torch.Generator().manual_seed(0))
    assert tau.unique().tolist() == [i / 8 for i in range(8)]
    assert step.unique().tolist() == [1 / 8]


def test_a_fraction_of_flow_steps_starts_from_pure_noise() -> None:
    tau, step = sample_flow_steps(50, 40, torch.Generator().manual_seed(0), one_step_prob=0.4)
    in_one = step == 1
    assert float(in_one.float().mean()) == pytest.approx(0.4, abs=0.05)
    assert not tau[in_one].any() and step[~in_one].unique().tolist() == [1 / 8]


class StraightPath:
    """Predicts the same clean latent whatever the noise, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []

    def denoise(self, context: None, noisy: torch.Tensor, tau: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        self.asked.append((float(tau), float(step)))
        return torch.full_like(noisy, 4.0)


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_sampling_ends_at_the_prediction_after_equal_steps(num_steps: int) -> None:
    model = StraightPath()
    sampled = sample_frame(model, None, torch.zeros(1, 2, 3, 3), num_steps)
    assert torch.allclose(sampled, torch.full_like(sampled, 4.0))
    assert model.asked == [(i / num_steps, 1 / num_steps) for i in range(num_steps)]
