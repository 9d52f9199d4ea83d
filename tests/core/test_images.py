"""PSNR against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.core.images import MAX_PSNR_DB, grid, psnr


def noise_frames(num_frames: int, height: int = 16, width: int = 20) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, size=(num_frames, height, width, 3), dtype=np.uint8)


def test_psnr_of_frames_sixteen_levels_apart_is_24_05_db() -> None:
    truth = np.full((2, 4, 4, 3), 100, dtype=np.uint8)
    image = truth.copy()
    image[0] += 16
    image[1] -= 16  # a difference taken in uint8 would wrap around here
    np.testing.assert_allclose(psnr(image, truth), 20 * np.log10(255 / 16))
    assert psnr(image, truth)[0] == pytest.approx(24.0485, abs=1e-4)


def test_psnr_of_floats_is_refused() -> None:
    truth = np.zeros((4, 4, 3))
    with pytest.raises(AssertionError, match="float64 and float64 are not uint8"):
        psnr(truth + 0.1, truth)


def test_psnr_of_equal_frames_is_finite() -> None:
    frames = noise_frames(2)
    assert psnr(frames, frames).tolist() == [MAX_PSNR_DB, MAX_PSNR_DB]


def test_psnr_is_computed_per_frame() -> None:
    truth = noise_frames(3)
    image = truth.copy()
    image[1] = 255 - image[1]
    scores = psnr(image, truth)
    assert scores.shape == (3,)
    assert scores[0] == scores[2] == MAX_PSNR_DB and scores[1] < 15


def test_a_grid_enlarges_frames_and_leaves_gaps_and_missing_cells_black() -> None:
    frames = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = grid([frames[:2], frames[2:]], scale=2, gap_px=1)
    assert sheet.shape == (9, 13, 3)
    assert (sheet[:4, :6] == 10).all() and (sheet[:4, 7:] == 20).all() and (sheet[5:, :6] == 30).all()
    assert not sheet[4].any() and not sheet[:, 6].any() and not sheet[5:, 7:].any()
