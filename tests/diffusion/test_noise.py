"""Noise is a function of (seed, frame), context levels have the shape that the paper describes."""

from __future__ import annotations

import torch

from worldsim.diffusion.noise import context_levels, frame_noise, mix_noise


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
