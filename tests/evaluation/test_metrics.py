"""Metrics against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.core.images import psnr
from worldsim.evaluation.metrics import (
    balanced_accuracy,
    best_match,
    frechet,
    gradient_energy,
    masked_psnr,
    sharpness,
    ssim,
)


def noise_frames(num_frames: int, height: int = 16, width: int = 20) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, size=(num_frames, height, width, 3), dtype=np.uint8)


def test_scores_of_many_frames_equal_those_of_each_frame() -> None:
    image, truth = (noise_frames(140).reshape(2, 70, 16, 20, 3) for _ in range(2))
    image = (image * np.linspace(0.2, 1.0, 140).reshape(2, 70, 1, 1, 1)).astype(np.uint8)
    for metric in (psnr, ssim):
        scores = metric(image, truth)
        assert scores.shape == (2, 70)
        assert scores[1, 30] == pytest.approx(float(metric(image[1, 30], truth[1, 30])))
        assert scores[0, 65] == pytest.approx(float(metric(image[0, 65], truth[0, 65])))
    assert gradient_energy(image)[1, 30] == pytest.approx(float(gradient_energy(image[1, 30])))


def test_ssim_of_equal_frames_is_one() -> None:
    frames = noise_frames(2)
    np.testing.assert_allclose(ssim(frames, frames), 1.0)


def test_ssim_of_two_flat_frames_is_the_luminance_term() -> None:
    dark, bright = np.full((16, 16, 3), 50, np.uint8), np.full((16, 16, 3), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(dark, bright) == pytest.approx((2 * 50 * 100 + c1) / (50**2 + 100**2 + c1))


def test_ssim_equals_its_definition_computed_window_by_window() -> None:
    image, truth = noise_frames(2, 13, 14)
    image = (0.5 * image + 0.5 * truth).astype(np.uint8)
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(3):
        for left in range(4):
            for channel in range(3):
                x = image[top : top + 11, left : left + 11, channel].astype(float)
                y = truth[top : top + 11, left : left + 11, channel].astype(float)
                mean_x, mean_y = (window * x).sum(), (window * y).sum()
                var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
                covariance = (window * (x - mean_x) * (y - mean_y)).sum()
                values.append(
                    (2 * mean_x * mean_y + c1)
                    * (2 * covariance + c2)
                    / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
                )
    assert 0.2 < np.mean(values) < 0.95
    assert ssim(image, truth) == pytest.approx(np.mean(values), abs=1e-10)


def test_gradient_energy_of_stripes_by_hand() -> None:
    stripes = np.zeros((4, 4, 3), np.uint8)
    stripes[:, 1::2] = 10  # every step across differs by 10, none down
    assert gradient_energy(stripes) == pytest.approx(100.0)


def test_blur_lowers_sharpness_and_noise_raises_it() -> None:
    truth = noise_frames(1, 24, 24)
    truth = np.repeat(np.repeat(truth[:, ::4, ::4], 4, axis=1), 4, axis=2)
    blur = ((truth.astype(float) + 3 * truth.mean()) / 4).astype(np.uint8)
    assert sharpness(truth, truth) == pytest.approx(1.0)
    assert sharpness(blur, truth) == pytest.approx(1 / 16, rel=0.05)
    assert sharpness(noise_frames(1, 24, 24), truth) > 1.5


def test_a_blank_wall_in_the_truth_does_not_dominate_the_sharpness() -> None:
    truth, image = np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 16, 16, 3), np.uint8)
    truth[1, :, ::2] = image[1, :, ::2] = 100
    image[0, 0, 0] = 5
    assert sharpness(image, truth) == pytest.approx(1.0, abs=0.01)


def test_masked_psnr_ignores_other_pixels_and_is_nan_for_an_empty_mask() -> None:
    truth = np.full((2, 3, 4, 4, 3), 100, np.uint8)
    image = truth.copy()
    image[:, :, 0] = 200
    image[:, 0, 1] = 116
    mask = np.zeros((2, 3, 4, 4), bool)
    mask[0, :, 1] = True
    values = masked_psnr(image, truth, mask)
    assert values[0] == pytest.approx(10 * np.log10(255**2 / (256 / 3)))  # a third of the pixels 16 levels off
    assert np.isnan(values[1])


def test_best_match_finds_frames_in_any_order() -> None:
    truth = noise_frames(5)
    shuffled = truth[[3, 0, 4]].astype(int) + 2
    assert best_match(np.clip(shuffled, 0, 255).astype(np.uint8), truth).tolist() == [3, 0, 4]
    assert best_match(truth[:1], np.stack([truth[0], truth[0]])).tolist() == [0]


def test_frechet_distance_by_hand() -> None:
    """Two Gaussians on a line: (m - m')^2 + (s - s')^2."""
    points = np.array([[-1.0], [0.0], [1.0]])
    assert frechet(points, points) == pytest.approx(0.0, abs=1e-9)
    assert frechet(points, points + 3.0) == pytest.approx(9.0)
    assert frechet(points, 4.0 * points) == pytest.approx(9.0)
    square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    stretched = square * np.array([2.0, 1.0])  # along one side; standard deviation sqrt(4/3) there
    assert frechet(square, stretched) == pytest.approx(4 / 3)


def test_balanced_accuracy_of_a_constant_prediction_is_chance() -> None:
    label = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    assert balanced_accuracy(np.zeros(8, np.int64), label) == 0.5
    assert balanced_accuracy(label, label) == 1.0
    assert balanced_accuracy(np.array([0, 0, 0, 1, 1, 1, 1, 1]), label) == pytest.approx((3 / 7 + 1) / 2)
