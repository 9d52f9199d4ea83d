"""Drift in a long rollout: frame statistics relative to the true ones, by distance from the last true frame.

B batch (one episode per seed), T frames, C channels, H W rows and columns of the latent, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldsim.core.images import psnr
from worldsim.evaluation.bootstrap import FloatArray
from worldsim.evaluation.clips import Clips
from worldsim.evaluation.evaluator import Evaluator, FrameArray
from worldsim.evaluation.metrics import frechet, gradient_energy
from worldsim.evaluation.scores import interval_fields

DRIFT_WINDOW_FRAMES = 50


@dataclass(frozen=True, kw_only=True)
class DriftScore:
    """Scores of the window of frames that ends `distance` frames after the last true one.

    `_autoencoder`: the same for true frames encoded and decoded.
    """

    seeds: tuple[int, ...]
    distance: int
    frames: int
    """Frames of the window, per episode."""
    psnr: float
    psnr_low: float
    psnr_high: float
    psnr_by_seed: tuple[float, ...]
    psnr_mean_image: float
    psnr_repeat: float
    psnr_autoencoder: float
    sharpness: float
    """Gradient energy relative to the true frames, per seed."""
    sharpness_low: float
    sharpness_high: float
    sharpness_by_seed: tuple[float, ...]
    sharpness_autoencoder: float
    colour: float
    """Error of the mean color, root mean square over the channels, in levels of 255."""
    colour_low: float
    colour_high: float
    colour_by_seed: tuple[float, ...]
    colour_autoencoder: float
    variance: float
    """Variance of the latents relative to the true ones: below 1, frames have become similar."""
    variance_low: float
    variance_high: float
    variance_by_seed: tuple[float, ...]
    frechet_latent: float
    """See `latent_statistics`."""
    frechet_latent_low: float
    frechet_latent_high: float
    frechet_latent_by_seed: tuple[float, ...]
    frechet_latent_autoencoder: float


def drift_scores(evaluator: Evaluator, clips: Clips, *, num_context: int, distances: Sequence[int]) -> list[DriftScore]:
    """One score per distance within the length of the clips."""
    latents = evaluator.encode(clips)
    true_BTCHW = latents.latent_BTCHW[:, num_context:]
    generated_BTCHW = evaluator.generate(latents, num_context)
    scores = []
    for begin, end in drift_windows(distances, true_BTCHW.shape[1]):
        span = slice(begin, end)
        truth = clips.frames[:, num_context:][:, span]
        decoded = evaluator.decode(true_BTCHW[:, span])
        values = _window_scores(
            truth, evaluator.decode(generated_BTCHW[:, span]), decoded, true_BTCHW[:, span], generated_BTCHW[:, span]
        )
        seen = clips.frames[:, num_context - 1 : num_context]
        scores.append(
            DriftScore(
                **values,
                seeds=clips.seeds,
                distance=end,
                frames=end - begin,
                psnr_mean_image=float(psnr(np.broadcast_to(evaluator.mean_image, truth.shape), truth).mean()),
                psnr_repeat=float(psnr(np.broadcast_to(seen, truth.shape), truth).mean()),
                frechet_latent_autoencoder=float(
                    frechet_by_seed(true_BTCHW[:, span], evaluator.encode_frames(decoded)).mean()
                ),
            )
        )
    return scores


def drift_windows(distances: Sequence[int], num_frames: int) -> list[tuple[int, int]]:
    """(first, end) of the frames before each distance; windows do not overlap."""
    ends = [distance for distance in distances if distance <= num_frames]
    return [(max(before, end - DRIFT_WINDOW_FRAMES), end) for before, end in zip((0, *ends), ends, strict=False)]


def latent_statistics(latent_TCHW: Tensor) -> FloatArray:
    """Features of the latent Frechet distance: mean and standard deviation of every latent channel over the image.

    Not FVD: no third-party network, no motion, and only comparable under the same autoencoder.
    Shapes: returns [T, 2 C].
    """
    flat = latent_TCHW.double().flatten(2)
    return np.asarray(torch.cat((flat.mean(-1), flat.std(-1)), -1).cpu().numpy(), dtype=np.float64)


def frechet_by_seed(true_BTCHW: Tensor, generated_BTCHW: Tensor) -> FloatArray:
    """Frechet distance between the true and the generated frames of each episode, [B]."""
    pairs = zip(true_BTCHW, generated_BTCHW, strict=True)
    return np.array([frechet(latent_statistics(true), latent_statistics(generated)) for true, generated in pairs])


def _window_scores(
    truth: FrameArray, generated: FrameArray, decoded: FrameArray, true_BTCHW: Tensor, generated_BTCHW: Tensor
) -> dict[str, Any]:
    energy = np.maximum(gradient_energy(truth).sum(axis=1), 1e-12)
    variance_B = (_variance(generated_BTCHW) / _variance(true_BTCHW).clamp(min=1e-12)).cpu().numpy()
    return {
        **interval_fields("psnr", psnr(generated, truth).mean(axis=1)),
        "psnr_autoencoder": float(psnr(decoded, truth).mean()),
        **interval_fields("sharpness", gradient_energy(generated).sum(axis=1) / energy),
        "sharpness_autoencoder": float((gradient_energy(decoded).sum(axis=1) / energy).mean()),
        **interval_fields("colour", _color_error(generated, truth)),
        "colour_autoencoder": float(_color_error(decoded, truth).mean()),
        **interval_fields("variance", variance_B),
        **interval_fields("frechet_latent", frechet_by_seed(true_BTCHW, generated_BTCHW)),
    }


def _variance(latent_BTCHW: Tensor) -> Tensor:
    """Variance over time, averaged over channels and positions, [B]."""
    return latent_BTCHW.double().var(1).flatten(1).mean(1)


def _color_error(generated: FrameArray, truth: FrameArray) -> FloatArray:
    off = generated.mean(axis=(1, 2, 3)) - truth.mean(axis=(1, 2, 3))
    return np.asarray(np.sqrt((off**2).mean(axis=-1)), dtype=np.float64)
