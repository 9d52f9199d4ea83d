"""Windows of a long rollout, and scores of models with and without drift."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluation.stubs import CoarseAutoencoder, OracleModel, StillModel, StubModel, scroll_clips, stub_preset
from worldsim.evaluation.drift import DriftScore, drift_scores, drift_windows, frechet_by_seed, latent_statistics
from worldsim.evaluation.evaluator import Evaluator
from worldsim.models.world_model import FrameContext

CLIPS = scroll_clips(num_frames=40)
GRAY = np.full(CLIPS.frames.shape[2:], 128, np.uint8)


def scores(model: StubModel) -> list[DriftScore]:
    return drift_scores(Evaluator(stub_preset(model), mean_image=GRAY), CLIPS, num_context=4, distances=(8, 36, 1000))


def test_drift_windows_end_at_a_distance_and_do_not_overlap() -> None:
    assert drift_windows((20, 50, 200, 2000), 2000) == [(0, 20), (20, 50), (150, 200), (1950, 2000)]
    assert drift_windows((20, 50), 49) == [(0, 20)]


def test_a_model_that_knows_the_truth_does_not_drift() -> None:
    first, last = scores(OracleModel(CLIPS))
    assert (first.distance, first.frames, last.distance, last.frames) == (8, 8, 36, 28)
    for score in (first, last):
        assert score.psnr == score.psnr_autoencoder
        assert score.sharpness == pytest.approx(score.sharpness_autoencoder)
        assert score.colour == pytest.approx(score.colour_autoencoder)
        assert score.variance == pytest.approx(1.0, abs=1e-5)
        assert score.frechet_latent == pytest.approx(0.0, abs=1e-6)
        assert score.psnr_low <= score.psnr <= score.psnr_high and len(score.psnr_by_seed) == 3


def test_a_frozen_model_has_no_variance_and_a_fading_one_loses_color() -> None:
    assert scores(StillModel())[-1].variance == pytest.approx(0.0, abs=1e-9)

    class FadingModel(OracleModel):
        def predict(self, context: FrameContext) -> torch.Tensor:
            return super().predict(context) * 0.9 ** max(0, context.state.frame_index - 3) - 0.02

    first, last = scores(FadingModel(CLIPS))
    assert last.psnr < first.psnr
    assert last.sharpness < first.sharpness < first.sharpness_autoencoder
    assert last.variance < first.variance < 0.9
    assert last.colour > 2.0 and last.frechet_latent > first.frechet_latent


def test_latent_statistics_are_mean_and_std_of_every_channel_and_differ_by_episode() -> None:
    latent = torch.zeros(5, 2, 2, 2)
    latent[:, 1] = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    assert latent_statistics(latent)[0].tolist() == pytest.approx([0.0, 2.0, 0.0, 4 / 3 * 0.8660254])
    noise = torch.randn(2, 30, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    same, moved = frechet_by_seed(noise, torch.cat([noise[:1], noise[1:] + 1.0]))
    assert same == pytest.approx(0.0, abs=1e-6)
    assert moved == pytest.approx(3.0, rel=1e-3), "three channel means, each off by 1"


def test_the_stub_autoencoder_is_not_the_identity() -> None:
    """Otherwise the ceiling of these tests would be a perfect score."""
    latent = torch.full((1, 3, 12, 16), 0.1)
    assert not torch.equal(CoarseAutoencoder().decode(latent), latent)
