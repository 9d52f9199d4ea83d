"""Image metrics besides PSNR (`core.images`): SSIM, gradient energy, best match, Frechet distance.

Pure functions over numpy arrays, computed in float64. Unless stated otherwise they map [..., H, W, C] to one number per
frame, [...]; averaging is up to the caller. Shapes: N frames, H W rows and columns, C channels, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from worldsim.core.images import MAX_LEVEL, check_comparable, psnr_from_mse
from worldsim.evaluation.bootstrap import FloatArray

ImageArray: TypeAlias = npt.NDArray[Any]
SSIM_WINDOW = 11
SSIM_SIGMA_PX = 1.5
SSIM_C1, SSIM_C2 = (0.01 * MAX_LEVEL) ** 2, (0.03 * MAX_LEVEL) ** 2
CHUNK_FRAMES = 64


def masked_psnr(image: ImageArray, truth: ImageArray, mask: npt.NDArray[np.bool_]) -> FloatArray:
    """PSNR of each episode over the pixels of `mask`, pooled over its frames; NaN for an empty mask.

    Shapes: uint8 [B, T, H, W, C], mask bool [B, T, H, W]; returns [B].
    """
    return np.array([_pooled_psnr(*row) for row in zip(image, truth, mask, strict=True)], dtype=np.float64)


def best_match(image: ImageArray, truth: ImageArray) -> npt.NDArray[np.int64]:
    """Index of the frame of `truth` with the least squared error for every frame of `image`; the first of equals.

    As in MAG-Bench (which matches by LPIPS), so that a camera slightly faster or slower than the true one does not
    lower the score. Shapes: [N, H, W, C], [M, H, W, C]; returns [N].
    """
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (image, truth))
    error = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return np.asarray(error.argmin(axis=1), dtype=np.int64)


def frechet(feature_ND: FloatArray, other_MD: FloatArray) -> float:
    """Frechet distance between Gaussians fitted to both: |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2))."""
    mean, other_mean = feature_ND.mean(axis=0), other_MD.mean(axis=0)
    root = _matrix_sqrt(np.atleast_2d(np.cov(feature_ND, rowvar=False)))
    other = np.atleast_2d(np.cov(other_MD, rowvar=False))
    # (S S')^(1/2) has the trace of (S^(1/2) S' S^(1/2))^(1/2), which is symmetric
    trace = np.trace(root @ root) + np.trace(other) - 2.0 * np.trace(_matrix_sqrt(root @ other @ root))
    return float(((mean - other_mean) ** 2).sum() + max(float(trace), 0.0))


def balanced_accuracy(predicted: npt.NDArray[np.int64], label: npt.NDArray[np.int64]) -> float:
    """Mean recall over the labels that occur: always predicting one of K labels scores 1 / K. Shapes: [N], [N]."""
    return float(np.mean([(predicted[label == value] == value).mean() for value in np.unique(label)]))


def ssim(image: ImageArray, truth: ImageArray) -> FloatArray:
    """Structural similarity of each frame: mean over channels and all positions where the window fits completely.

    Source: Wang et al. 2004, equation 13, with its window of 11 pixels and sigma 1.5.
    """
    check_comparable(image, truth)
    height, width = image.shape[-3:-1]
    assert min(height, width) >= SSIM_WINDOW, f"frames of {height}x{width} are smaller than the {SSIM_WINDOW} px window"

    def similarity(x: FloatArray, y: FloatArray) -> FloatArray:
        mean_x, mean_y = _blur(x), _blur(y)
        var_x = _blur(x * x) - mean_x**2
        var_y = _blur(y * y) - mean_y**2
        covariance = _blur(x * y) - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
        structure = (2 * covariance + SSIM_C2) / (var_x + var_y + SSIM_C2)
        return np.asarray((luminance * structure).mean(axis=(-3, -2, -1)), dtype=np.float64)

    return _map_frames(similarity, image, truth)


def gradient_energy(image: ImageArray) -> FloatArray:
    """Mean squared difference between adjacent pixels of each frame, along rows plus along columns."""

    def energy(x: FloatArray) -> FloatArray:
        across = np.mean(np.diff(x, axis=-2) ** 2, axis=(-3, -2, -1))
        down = np.mean(np.diff(x, axis=-3) ** 2, axis=(-3, -2, -1))
        return np.asarray(across + down, dtype=np.float64)

    return _map_frames(energy, image)


def sharpness(image: ImageArray, truth: ImageArray) -> float:
    """Gradient energy of `image` relative to `truth`: below 1 is blur, above 1 is noise.

    A ratio of sums, not a mean of ratios: a single blank wall in the truth must not dominate.
    """
    assert image.shape == truth.shape, f"{image.shape} is not {truth.shape}"
    true_energy = float(gradient_energy(truth).sum())
    return float(gradient_energy(image).sum()) / max(true_energy, 1e-12)


def _pooled_psnr(image: ImageArray, truth: ImageArray, mask: npt.NDArray[np.bool_]) -> float:
    if not mask.any():
        return math.nan
    return float(psnr_from_mse(np.mean((image[mask].astype(np.float64) - truth[mask]) ** 2)))


def _matrix_sqrt(matrix_DD: FloatArray) -> FloatArray:
    """Square root of a symmetric matrix whose negative eigenvalues, if any, are rounding errors."""
    values, vectors = np.linalg.eigh(matrix_DD)
    return np.asarray((vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T, dtype=np.float64)


def _map_frames(function: Callable[..., FloatArray], *images: ImageArray) -> FloatArray:
    """Applies `function` to float64 frames [N, H, W, C] in chunks: as float64, frames take eight times the memory."""
    leading, frame_shape = images[0].shape[:-3], images[0].shape[-3:]
    flat = [image.reshape(-1, *frame_shape) for image in images]
    parts = [
        function(*(image[i : i + CHUNK_FRAMES].astype(np.float64) for image in flat))
        for i in range(0, len(flat[0]), CHUNK_FRAMES)
    ]
    return np.concatenate(parts).reshape(leading)


def _blur(x: FloatArray) -> FloatArray:
    """Gaussian-weighted mean at all positions where the window fits completely: [..., H - 10, W - 10, C]."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    weights /= weights.sum()
    height, width = x.shape[-3] - SSIM_WINDOW + 1, x.shape[-2] - SSIM_WINDOW + 1
    rows = sum(w * x[..., i : i + height, :, :] for i, w in enumerate(weights))
    blurred = sum(w * rows[..., :, i : i + width, :] for i, w in enumerate(weights))
    return np.asarray(blurred, dtype=np.float64)
