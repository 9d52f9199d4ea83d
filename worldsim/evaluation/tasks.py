"""The four tasks: roll-out, one step ahead, out and back, spin. From clips and a preset to scores.

Owns: what is generated, what it is compared with, and the names of the scores. Does not own: where clips come from
(`evaluation.clips`), the scores' formulas (`evaluation.metrics`). No context frame enters a score.
B batch (one episode per seed), T frames, H W rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from worldsim.evaluation.clips import Clips
from worldsim.evaluation.latents import Advance, LatentClips, decode_frames, encode_clips, generate
from worldsim.evaluation.metrics import Scores, bootstrap_interval, psnr, sharpness, ssim
from worldsim.presets.store import Preset

Images: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Means over seeds, PSNR in dB on uint8 frames. What a model score means shows only beside the references."""

    psnr: float
    psnr_low: float
    """Lower end of the 95 % interval of `psnr`, resampling seeds."""
    psnr_high: float
    ssim: float
    psnr_repeat: float
    """The last true frame the model saw, repeated."""
    psnr_mean_image: float
    """The mean frame of training episodes: what fog scores."""
    psnr_autoencoder: float
    """The truth through the autoencoder: the ceiling."""
    psnr_no_state: float
    """The same weights, the scan state cleared before every frame: a diagnostic, not a control for memory."""
    sharpness: float
    """Gradient energy, generated over true: 1 is right, less is fog, more is noise."""
    sharpness_autoencoder: float
    """The same of the autoencoder's reconstruction: what a perfect model would have."""


@dataclass(frozen=True, kw_only=True)
class HorizonScore(Score):
    """Scores of the frame that many frames after the last true one."""

    horizon: int
    psnr_window: float
    """Mean PSNR over the frames since the horizon before, this one among them."""


@dataclass(frozen=True, kw_only=True)
class MemoryScore(Score):
    """Scores over all generated frames of a task that shows places again."""

    frames: int
    """Generated frames per episode."""
    psnr_copy: float | None
    """The frame one full turn ago: all that perfect memory needs to show. None where no such frame is known."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Frames of one task, all about the same moments. Shapes: uint8 [B, T, H, W, 3] each; seen is [B, H, W, 3]."""

    seeds: tuple[int, ...]
    truth: Images = field(repr=False)
    generated: Images = field(repr=False)
    no_state: Images = field(repr=False)
    autoencoder: Images = field(repr=False)
    repeat: Images = field(repr=False)
    mean_image: Images = field(repr=False)

    def score(self, frames: slice) -> Score:
        """Over frames `frames` of every episode."""
        truth, generated = self.truth[:, frames], self.generated[:, frames]
        psnr_B = psnr(generated, truth).mean(axis=1)
        low, high = bootstrap_interval(psnr_B)
        return Score(
            psnr=float(psnr_B.mean()),
            psnr_low=low,
            psnr_high=high,
            ssim=float(ssim(generated, truth).mean()),
            psnr_repeat=_mean_psnr(self.repeat[:, frames], truth),
            psnr_mean_image=_mean_psnr(self.mean_image[:, frames], truth),
            psnr_autoencoder=_mean_psnr(self.autoencoder[:, frames], truth),
            psnr_no_state=_mean_psnr(self.no_state[:, frames], truth),
            sharpness=sharpness(generated, truth),
            sharpness_autoencoder=sharpness(self.autoencoder[:, frames], truth),
        )


class Evaluator:
    """Runs a preset on clips. One per evaluation; `advance` hears of every frame that goes through the model."""

    def __init__(
        self,
        preset: Preset,
        *,
        mean_image: Images,
        num_steps: int | None = None,
        device: str = "cpu",
        advance: Advance | None = None,
    ) -> None:
        self._preset = preset
        self._mean_image = mean_image
        self.num_steps = preset.config.play.num_steps if num_steps is None else num_steps
        self._device = device
        self._advance = advance

    def compare(self, clips: Clips, *, num_context: int, feed_back: bool = True) -> Outcome:
        """Everything there is to be compared about the frames from `num_context` on, made under the true actions.

        `feed_back` False is one step ahead: the past is true, and the frame repeated is the one before.
        """
        latents = encode_clips(self._preset.autoencoder, clips, self._device)
        truth = clips.frames[:, num_context:]
        seen = clips.frames[:, num_context - 1 : -1]
        return Outcome(
            seeds=clips.seeds,
            truth=truth,
            generated=self._generate(latents, num_context, feed_back=feed_back, keep_memory=True),
            no_state=self._generate(latents, num_context, feed_back=feed_back, keep_memory=False),
            autoencoder=decode_frames(self._preset.autoencoder, latents.latent_BTCHW[:, num_context:]),
            repeat=np.broadcast_to(seen[:, :1], truth.shape) if feed_back else seen,
            mean_image=np.broadcast_to(self._mean_image, truth.shape),
        )

    def _generate(self, latents: LatentClips, num_context: int, *, feed_back: bool, keep_memory: bool) -> Images:
        latent_BTCHW = generate(
            self._preset.model,
            latents,
            num_context=num_context,
            num_steps=self.num_steps,
            context_noise=self._preset.config.play.context_noise,
            feed_back=feed_back,
            keep_memory=keep_memory,
            advance=self._advance,
        )
        return decode_frames(self._preset.autoencoder, latent_BTCHW)


def rollout_scores(outcome: Outcome, horizons: tuple[int, ...]) -> list[HorizonScore]:
    """One score per horizon that the outcome is long enough for."""
    psnr_BT = psnr(outcome.generated, outcome.truth)
    scores = []
    for before, horizon in zip((0, *horizons), horizons, strict=False):
        if horizon <= psnr_BT.shape[1]:
            score = outcome.score(slice(horizon - 1, horizon))
            scores.append(_horizon_score(score, horizon, psnr_BT[:, before:horizon]))
    return scores


def one_step_score(outcome: Outcome) -> HorizonScore:
    """Over all frames of an outcome that was made without feeding back: horizon 1 under true context."""
    return _horizon_score(outcome.score(slice(None)), 1, psnr(outcome.generated, outcome.truth))


def memory_score(outcome: Outcome, *, copy: Images | None = None) -> MemoryScore:
    """Over all frames. `copy` are the frames one full turn ago, [B, T, H, W, 3]."""
    return MemoryScore(
        **vars(outcome.score(slice(None))),
        frames=outcome.truth.shape[1],
        psnr_copy=None if copy is None else _mean_psnr(copy, outcome.truth),
    )


def _horizon_score(score: Score, horizon: int, psnr_BT: Scores) -> HorizonScore:
    return HorizonScore(**vars(score), horizon=horizon, psnr_window=float(psnr_BT.mean()))


def _mean_psnr(image: Images, truth: Images) -> float:
    return float(psnr(image, truth).mean())
