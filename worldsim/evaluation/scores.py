"""Scores of a rollout: means over seeds with bootstrap 95 % intervals, and the same metrics of the references.

Field names are the keys of the JSON. PSNR in dB on uint8 frames (data range 255).
B batch (one episode per seed), T frames, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldsim.core.images import psnr
from worldsim.evaluation.bootstrap import FloatArray, bootstrap_interval
from worldsim.evaluation.evaluator import FrameArray, RolloutResult
from worldsim.evaluation.metrics import (
    best_match,
    gradient_energy,
    masked_psnr,
    sharpness,
    ssim,
)
from worldsim.evaluation.visibility import Mask, VisibilityMasks
from worldsim.models.world_model import MemoryPart

FORGOTTEN_PARTS: dict[str, MemoryPart] = {"psnr_no_state": "all", "psnr_no_map": "map", "psnr_no_scan": "scan"}
"""Score to the part of the memory that is cleared."""
REVERSE_BINS = 8
"""Distances at which the reverse task is scored, at most."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Means over seeds. A model's score is only meaningful next to the references."""

    seeds: tuple[int, ...]
    psnr: float
    psnr_low: float
    """Lower end of the 95 % interval of `psnr`, resampling seeds."""
    psnr_high: float
    psnr_by_seed: tuple[float, ...]
    ssim: float
    ssim_low: float
    ssim_high: float
    ssim_by_seed: tuple[float, ...]
    ssim_autoencoder: float
    psnr_repeat: float
    """The last context frame, repeated."""
    psnr_mean_image: float
    """The mean frame of training episodes: the score of a blurry average."""
    psnr_autoencoder: float
    """The true frames encoded and decoded: the ceiling."""
    psnr_no_state: float | None
    """The same weights with all memory cleared before every frame: a diagnostic, not a memory ablation."""
    psnr_no_map: float | None = None
    """For a model with both, only the map cleared."""
    psnr_no_scan: float | None = None
    """For a model with both, only the scan states cleared."""
    sharpness: float
    """Gradient energy relative to the true frames: 1 is as sharp as they are, less is blurrier."""
    sharpness_low: float
    sharpness_high: float
    sharpness_by_seed: tuple[float, ...]
    """Per seed; `sharpness` itself is a ratio of sums over all seeds, so that a blank wall does not dominate."""
    sharpness_autoencoder: float
    """Sharpness of the autoencoder's reconstruction, which a perfect model would reach."""


@dataclass(frozen=True, kw_only=True)
class HorizonScore(Score):
    """Scores of the `horizon`-th generated frame."""

    horizon: int
    psnr_window: float
    """Mean PSNR over the frames after the previous horizon, up to and including this one."""


@dataclass(frozen=True, kw_only=True)
class RegionScore:
    """Scores over a subset of pixels, pooled per seed. Seeds without such pixels are omitted."""

    seeds: tuple[int, ...]
    share: float
    """Fraction of all pixels of the task."""
    psnr: float
    psnr_low: float
    psnr_high: float
    psnr_by_seed: tuple[float, ...]
    psnr_repeat: float
    psnr_mean_image: float
    psnr_autoencoder: float


@dataclass(frozen=True, kw_only=True)
class MemoryScore(Score):
    """Scores over all generated frames of a task that revisits places."""

    frames: int
    """Generated frames per episode."""
    psnr_copy: float | None
    """The true frame one full turn earlier, which perfect memory could repeat. None for tasks without a turn."""
    psnr_best_match: float
    """Each frame against the most similar true frame of its episode, as in MAG-Bench (which matches by LPIPS)."""
    psnr_best_match_low: float
    psnr_best_match_high: float
    psnr_best_match_by_seed: tuple[float, ...]
    ssim_best_match: float
    psnr_best_match_repeat: float
    psnr_best_match_mean_image: float
    psnr_best_match_autoencoder: float
    psnr_history: float | None = None
    """Each frame against the most similar frame of the context (MAG-Bench's history column)."""
    psnr_history_low: float | None = None
    psnr_history_high: float | None = None
    psnr_history_by_seed: tuple[float, ...] = ()
    psnr_history_truth: float | None = None
    """The true frames against the context: how much of them it shows."""
    psnr_history_repeat: float | None = None
    psnr_history_mean_image: float | None = None
    psnr_history_autoencoder: float | None = None
    regions: dict[str, RegionScore | None] | None
    """`returned`, `seen`, `never_seen` (see `evaluation.visibility`); a region without pixels is None. None as a whole
    if there is no depth."""


@dataclass(frozen=True, kw_only=True)
class DistanceScore:
    """Scores of the frames that were seen a similar number of frames before."""

    distance: int
    """The largest of these numbers of frames."""
    psnr: float
    psnr_recall: float
    psnr_autoencoder: float


@dataclass(frozen=True, kw_only=True)
class ReverseScore(MemoryScore):
    """Scores of the context in reverse order."""

    psnr_recall: float
    psnr_recall_low: float
    psnr_recall_high: float
    psnr_recall_by_seed: tuple[float, ...]
    """Every frame generated from the state after the context: no own frame shows the model the place again."""
    by_distance: tuple[DistanceScore, ...]
    """Up to `REVERSE_BINS` bins of equal size, nearest first."""


@dataclass(frozen=True, kw_only=True)
class IdleScore(Score):
    """How much the image changes without input."""

    frames: int
    change: float
    """Mean absolute difference between consecutive frames, in levels of 255."""
    change_low: float
    change_high: float
    change_by_seed: tuple[float, ...]
    change_true: float
    change_autoencoder: float
    psnr_first: float
    """PSNR of the last generated frame against the first."""
    psnr_first_low: float
    psnr_first_high: float
    psnr_first_by_seed: tuple[float, ...]
    psnr_first_true: float


def interval_fields(name: str, value_B: FloatArray, weight_B: FloatArray | None = None) -> dict[str, Any]:
    """NAME (the mean over seeds), NAME_low and NAME_high (its interval), NAME_by_seed."""
    low, high = bootstrap_interval(value_B, weight_B)
    ends = {f"{name}_low": low, f"{name}_high": high}
    return {name: float(np.average(value_B, weights=weight_B)), **ends, f"{name}_by_seed": tuple(value_B.tolist())}


def score(result: RolloutResult, frames: slice = slice(None)) -> Score:
    """Scores over the frames `frames` of every episode."""
    return Score(**_score_fields(result, frames))


def rollout_scores(result: RolloutResult, horizons: Sequence[int]) -> list[HorizonScore]:
    """One score per horizon within the length of the rollout."""
    psnr_BT = psnr(result.generated, result.truth)
    scores = []
    for before, horizon in zip((0, *horizons), horizons, strict=False):
        if horizon <= psnr_BT.shape[1]:
            values = _score_fields(result, slice(horizon - 1, horizon))
            window = float(psnr_BT[:, before:horizon].mean())
            scores.append(HorizonScore(**values, horizon=horizon, psnr_window=window))
    return scores


def one_step_score(result: RolloutResult) -> HorizonScore:
    """Scores over all frames of a next-frame result, each generated after true frames."""
    values = _score_fields(result)
    return HorizonScore(**values, horizon=1, psnr_window=values["psnr"])


def memory_score(
    result: RolloutResult, *, copy: FrameArray | None = None, masks_B: Sequence[VisibilityMasks] | None = None
) -> MemoryScore:
    """Scores over all frames. `copy`: the true frames a full turn earlier, [B, T, H, W, 3]. `masks_B`: per episode."""
    return MemoryScore(
        **_score_fields(result),
        **_best_match_fields(result),
        **_history_fields(result),
        frames=result.truth.shape[1],
        psnr_copy=None if copy is None else _mean_psnr(copy, result.truth),
        regions=None if masks_B is None else _mask_scores(result, masks_B),
    )


def reverse_score(result: RolloutResult, *, masks_B: Sequence[VisibilityMasks] | None = None) -> ReverseScore:
    """As `memory_score`, from the state after the context too, and by distance to the frame that is repeated: frame t
    was seen 2 (t + 1) frames before, and the state after the context is t + 1 frames younger than that."""
    assert result.recalled is not None, "the reverse task is evaluated with recall"
    images = (result.generated, result.recalled, result.autoencoder)
    psnr_T, recall_T, ceiling_T = (psnr(image, result.truth).mean(axis=0) for image in images)
    bins = np.array_split(np.arange(len(psnr_T)), min(REVERSE_BINS, len(psnr_T)))
    by_distance = tuple(
        DistanceScore(
            distance=2 * (int(frames[-1]) + 1),
            psnr=float(psnr_T[frames].mean()),
            psnr_recall=float(recall_T[frames].mean()),
            psnr_autoencoder=float(ceiling_T[frames].mean()),
        )
        for frames in bins
    )
    recall = interval_fields("psnr_recall", psnr(result.recalled, result.truth).mean(axis=1))
    return ReverseScore(**vars(memory_score(result, masks_B=masks_B)), **recall, by_distance=by_distance)


def idle_score(result: RolloutResult) -> IdleScore:
    return IdleScore(
        **_score_fields(result),
        **interval_fields("change", _frame_change(result.generated)),
        **interval_fields("psnr_first", psnr(result.generated[:, -1], result.generated[:, 0])),
        frames=result.truth.shape[1],
        change_true=float(_frame_change(result.truth).mean()),
        change_autoencoder=float(_frame_change(result.autoencoder).mean()),
        psnr_first_true=_mean_psnr(result.truth[:, -1], result.truth[:, 0]),
    )


def region_score(result: RolloutResult, mask_BTHW: Mask) -> RegionScore | None:
    """Scores over the pixels of the mask; None for an empty one."""
    has_pixels = mask_BTHW.any(axis=(1, 2, 3))
    if not has_pixels.any():
        return None
    truth, mask = result.truth[has_pixels], mask_BTHW[has_pixels]

    def by_seed(image: FrameArray) -> FloatArray:
        return masked_psnr(image[has_pixels], truth, mask)

    return RegionScore(
        **interval_fields("psnr", by_seed(result.generated)),
        seeds=tuple(np.array(result.seeds)[has_pixels].tolist()),
        share=float(mask_BTHW.mean()),
        psnr_repeat=float(by_seed(result.repeat).mean()),
        psnr_mean_image=float(by_seed(result.mean_image).mean()),
        psnr_autoencoder=float(by_seed(result.autoencoder).mean()),
    )


def _mask_scores(result: RolloutResult, masks_B: Sequence[VisibilityMasks]) -> dict[str, RegionScore | None]:
    names = ("returned", "seen", "never_seen")
    return {name: region_score(result, np.stack([getattr(r, name) for r in masks_B])) for name in names}


def _score_fields(result: RolloutResult, frames: slice = slice(None)) -> dict[str, Any]:
    truth, generated, autoencoder = (x[:, frames] for x in (result.truth, result.generated, result.autoencoder))
    true_energy = np.maximum(gradient_energy(truth).sum(axis=1), 1e-12)
    return {
        "seeds": result.seeds,
        **interval_fields("psnr", psnr(generated, truth).mean(axis=1)),
        **interval_fields("ssim", ssim(generated, truth).mean(axis=1)),
        "ssim_autoencoder": float(ssim(autoencoder, truth).mean()),
        "psnr_repeat": _mean_psnr(result.repeat[:, frames], truth),
        "psnr_mean_image": _mean_psnr(result.mean_image[:, frames], truth),
        "psnr_autoencoder": _mean_psnr(autoencoder, truth),
        **{
            name: _mean_psnr(result.forgotten[part][:, frames], truth) if part in result.forgotten else None
            for name, part in FORGOTTEN_PARTS.items()
        },
        **interval_fields("sharpness", gradient_energy(generated).sum(axis=1) / true_energy, true_energy),
        "sharpness_autoencoder": sharpness(autoencoder, truth),
    }


def _best_match_fields(result: RolloutResult) -> dict[str, Any]:
    matched = _best_matches(result.generated, result.truth)
    return {
        **interval_fields("psnr_best_match", psnr(result.generated, matched).mean(axis=1)),
        "ssim_best_match": float(ssim(result.generated, matched).mean()),
        **_reference_matches("psnr_best_match", result, result.truth),
    }


def _history_fields(result: RolloutResult) -> dict[str, Any]:
    history = result.history
    if history is None:
        return {}
    matched = _best_matches(result.generated, history)
    return {
        **interval_fields("psnr_history", psnr(result.generated, matched).mean(axis=1)),
        "psnr_history_truth": _mean_psnr(result.truth, _best_matches(result.truth, history)),
        **_reference_matches("psnr_history", result, history),
    }


def _reference_matches(name: str, result: RolloutResult, frames: FrameArray) -> dict[str, float]:
    references = {
        "repeat": result.repeat,
        "mean_image": result.mean_image,
        "autoencoder": result.autoencoder,
    }
    return {f"{name}_{end}": _mean_psnr(image, _best_matches(image, frames)) for end, image in references.items()}


def _best_matches(image: FrameArray, truth: FrameArray) -> FrameArray:
    """The most similar frame of `truth` in the same episode for every frame."""
    return np.stack([true[best_match(generated, true)] for generated, true in zip(image, truth, strict=True)])


def _frame_change(frames: FrameArray) -> FloatArray:
    """Mean absolute difference between consecutive frames, [B]."""
    per_seed = [np.abs(np.diff(episode.astype(np.int16), axis=0)).mean() for episode in frames]
    return np.array(per_seed, dtype=np.float64)


def _mean_psnr(image: FrameArray, truth: FrameArray) -> float:
    return float(psnr(image, truth).mean())
