"""LPIPS and FVD with third-party networks from local files; nothing is downloaded.

Both are TorchScript files as published with StyleGAN: `vgg16.pt` computes LPIPS features, `i3d_torchscript.pt` those of
FVD. B batch, T frames, H W rows and columns.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldsim.core.errors import UsageError
from worldsim.evaluation.bootstrap import FloatArray
from worldsim.evaluation.evaluator import FrameArray, RolloutResult
from worldsim.evaluation.metrics import frechet
from worldsim.evaluation.scores import interval_fields

MIN_FVD_FRAMES = 10
"""Minimum input length of the FVD network."""
LPIPS_BATCH = 16


class PerceptualMetrics:
    """The metrics whose network files were given."""

    def __init__(self, lpips: Path | None, fvd: Path | None) -> None:
        """Raises: UsageError for a file that is missing or not TorchScript."""
        self._lpips = _load(lpips, "--lpips") if lpips else None
        self._fvd = _load(fvd, "--fvd") if fvd else None

    def scores(self, result: RolloutResult) -> dict[str, Any]:
        """`lpips` with its interval and `fvd` over all episodes, each with the autoencoder's score."""
        values: dict[str, Any] = {}
        if self._lpips:
            values |= interval_fields("lpips", self._lpips_by_seed(result.generated, result.truth))
            values["lpips_autoencoder"] = float(self._lpips_by_seed(result.autoencoder, result.truth).mean())
        if self._fvd and result.truth.shape[1] >= MIN_FVD_FRAMES and len(result.truth) > 1:
            true = self._i3d_features(result.truth)
            values["fvd"] = frechet(self._i3d_features(result.generated), true)
            values["fvd_autoencoder"] = frechet(self._i3d_features(result.autoencoder), true)
            values["fvd_videos"] = len(true)
        return values

    @torch.inference_mode()
    def _lpips_by_seed(self, image: FrameArray, truth: FrameArray) -> FloatArray:
        """Mean over the frames of each episode, [B]."""
        assert self._lpips
        return np.array([self._lpips_of(generated, true) for generated, true in zip(image, truth, strict=True)])

    def _lpips_of(self, generated: FrameArray, true: FrameArray) -> float:
        total = 0.0
        for i in range(0, len(generated), LPIPS_BATCH):
            pair = [_pixels(frames[i : i + LPIPS_BATCH]) for frames in (generated, true)]
            a, b = (self._lpips(x, resize_images=False, return_lpips=True) for x in pair)  # type: ignore[misc]
            total += float(((a - b) ** 2).sum())
        return total / len(generated)

    @torch.inference_mode()
    def _i3d_features(self, frames: FrameArray) -> FloatArray:
        """Shapes: returns [B, D]."""
        assert self._fvd
        videos = (_pixels(episode).movedim(1, 0)[None] for episode in frames)  # [1, C, T, H, W]
        features = [self._fvd(video, rescale=True, resize=True, return_features=True)[0] for video in videos]
        return np.asarray(torch.stack(features).double().numpy(), dtype=np.float64)


def _pixels(frames_THWC: FrameArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames_THWC)).movedim(-1, -3).float()


def _load(path: Path, option: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there is no newer format of these files
            return torch.jit.load(str(path)).eval()
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        hint = "use a TorchScript file: vgg16.pt of StyleGAN for LPIPS, i3d_torchscript.pt for FVD"
        raise UsageError(f"{option} {path.name} cannot be read: {reason}", hint=hint) from None
