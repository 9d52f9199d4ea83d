"""LPIPS and FVD with stand-in networks: their inputs, and scores from their outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.stubs import ScrollModel, StillModel, StubModel, scroll_clips, stub_preset
from worldsim.core.errors import UsageError
from worldsim.evaluation.evaluator import Evaluator, RolloutResult
from worldsim.evaluation.perceptual import PerceptualMetrics

CLIPS = scroll_clips(num_frames=16)
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Lpips(nn.Module):
    """Like StyleGAN's: pixels 0 to 255 in, features out whose squared difference is the distance."""

    def forward(self, x: Tensor, resize_images: bool = True, return_lpips: bool = False) -> Tensor:
        assert return_lpips and not resize_images
        return x.flatten(1) / 255.0


class Motion(nn.Module):
    """Like the FVD network: [N, C, T, H, W], 0 to 255."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        assert rescale and resize and return_features and x.shape[1] == 3
        return torch.stack([x.mean((1, 2, 3, 4)), (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3, 4))], 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("networks")
    for name, module in (("lpips.pt", Lpips()), ("fvd.pt", Motion())):
        torch.jit.script(module).save(str(folder / name))
    return folder / "lpips.pt", folder / "fvd.pt"


def result(model: StubModel) -> RolloutResult:
    return Evaluator(stub_preset(model), mean_image=CLIPS.frames[0, 0]).compare(CLIPS, num_context=4)


def test_both_metrics_are_reported_beside_the_autoencoders(files: tuple[Path, Path]) -> None:
    perceptual = PerceptualMetrics(*files)
    still, right = perceptual.scores(result(StillModel())), perceptual.scores(result(ScrollModel()))
    assert right["lpips"] == pytest.approx(right["lpips_autoencoder"])
    assert still["lpips"] > 5 * still["lpips_autoencoder"]
    assert still["lpips_low"] <= still["lpips"] <= still["lpips_high"] and len(still["lpips_by_seed"]) == 3
    assert still["fvd"] > still["fvd_autoencoder"] + 100 and still["fvd_videos"] == 3
    difference = (CLIPS.frames[:, 3].astype(float)[:, None] - CLIPS.frames[:, 4:]) / 255
    assert still["lpips"] == pytest.approx((difference**2).sum(axis=(2, 3, 4)).mean(), rel=0.05)


def test_without_files_nothing_is_added_and_short_episodes_have_no_fvd(files: tuple[Path, Path]) -> None:
    assert PerceptualMetrics(None, None).scores(result(StillModel())) == {}
    short = Evaluator(stub_preset(StillModel()), mean_image=np.zeros(CLIPS.frames.shape[2:], np.uint8)).compare(
        CLIPS.first(8), num_context=4
    )
    assert "fvd" not in PerceptualMetrics(None, files[1]).scores(short)


def test_an_invalid_network_file_is_reported_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"no")
    for path in (tmp_path / "weights.pt", tmp_path / "missing.pt"):
        with pytest.raises(UsageError) as caught:
            PerceptualMetrics(path, None)
        assert path.name in caught.value.message and "i3d" in caught.value.hint
