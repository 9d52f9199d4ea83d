"""Objectives against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from worldsim.diffusion.objectives import flow_loss, sample_flow_steps, sample_shortcut_steps, shortcut_loss
from worldsim.models.rollout import sample_frame


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
