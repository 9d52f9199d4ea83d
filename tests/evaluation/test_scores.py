"""Score names, intervals and regions: a model with memory scores high, one without scores low."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from tests.evaluation.stubs import (
    RING,
    WIDTH,
    RingModel,
    StillModel,
    ring_clips,
    ring_columns,
    scroll_clips,
    stub_preset,
)
from worldsim.core.images import psnr
from worldsim.evaluation.evaluator import Evaluator, RolloutResult
from worldsim.evaluation.scores import (
    HorizonScore,
    MemoryScore,
    idle_score,
    memory_score,
    region_score,
    rollout_scores,
)
from worldsim.evaluation.visibility import VisibilityMasks, has_returned

CLIPS = scroll_clips()
GRAY = np.full(CLIPS.frames.shape[2:], 128, np.uint8)
TURN = RING // 2
RING_CLIPS = ring_clips(TURN + 20)


def still_outcome() -> RolloutResult:
    return Evaluator(stub_preset(StillModel()), mean_image=GRAY).compare(CLIPS, num_context=4)


def ring_score(*, remembers: bool, num_context: int = TURN) -> MemoryScore:
    """Score of the second turn through the panorama, with exact visibility masks."""
    clips = RING_CLIPS
    result = Evaluator(stub_preset(RingModel(remembers=remembers)), mean_image=GRAY).compare(
        clips, num_context=num_context
    )
    regions = ring_regions(num_context, clips.frames.shape[1])
    return memory_score(result, masks_B=[regions] * len(clips.seeds))


def ring_regions(num_context: int, num_frames: int) -> VisibilityMasks:
    seen, returned = [], []
    for t in range(num_context, num_frames):
        shown_SN = np.stack([np.isin(ring_columns(t), ring_columns(s)) for s in range(t)])
        seen.append(shown_SN[:num_context].any(axis=0))
        returned.append(has_returned(shown_SN, num_context, gone_frames=4))
    masks = [np.broadcast_to(np.stack(m)[:, None], (len(m), 12, WIDTH)) for m in (returned, seen)]
    return VisibilityMasks(returned=masks[0], seen=masks[1], never_seen=~masks[1])


def test_returned_pixels_score_high_when_remembered_and_low_when_forgotten() -> None:
    remembers, forgets = ring_score(remembers=True), ring_score(remembers=False)
    assert remembers.regions and forgets.regions
    kept, lost = remembers.regions["returned"], forgets.regions["returned"]
    assert kept and lost
    assert kept.psnr == pytest.approx(kept.psnr_autoencoder, abs=0.01)
    assert lost.psnr < kept.psnr - 10 and lost.psnr < lost.psnr_mean_image + 3
    assert lost.psnr_low <= lost.psnr <= lost.psnr_high and len(lost.psnr_by_seed) == 2
    assert remembers.psnr > forgets.psnr + 5, "full-frame scores agree"
    assert remembers.psnr_best_match > forgets.psnr_best_match + 5


def test_pixels_never_shown_in_the_context_are_scored_separately() -> None:
    values = ring_score(remembers=True, num_context=6)
    assert values.regions
    seen, never, returned = (values.regions[name] for name in ("seen", "never_seen", "returned"))
    assert seen and never and returned
    assert seen.share + never.share == pytest.approx(1.0)
    assert returned.share < seen.share, "pixels that stayed in view have not returned"
    assert never.psnr < seen.psnr - 8


def test_a_region_without_pixels_has_no_score_and_seeds_without_pixels_are_omitted() -> None:
    result = still_outcome()
    mask = np.zeros(result.truth.shape[:-1], bool)
    assert region_score(result, mask) is None
    mask[1, :, 3] = True
    values = region_score(result, mask)
    assert values and values.seeds == (900_001,)
    error = (result.generated[1, :, 3].astype(float) - result.truth[1, :, 3]) ** 2
    assert values.psnr == pytest.approx(10 * np.log10(255**2 / error.mean()))
    assert values.share == pytest.approx(mask.mean())


def test_there_are_no_regions_without_depth() -> None:
    assert memory_score(still_outcome()).regions is None


def test_the_frame_one_turn_earlier_is_scored_as_a_reference() -> None:
    assert memory_score(still_outcome(), copy=CLIPS.frames[:, 4:]).psnr_copy == 100.0
    assert memory_score(still_outcome()).psnr_copy is None


def test_best_match_tolerates_a_delayed_camera_unlike_frame_by_frame_scores() -> None:
    result = still_outcome()
    late = RolloutResult(
        seeds=result.seeds,
        truth=result.truth,
        generated=np.concatenate([result.truth[:, :1], result.truth[:, :-1]], axis=1),
        autoencoder=result.autoencoder,
        repeat=result.repeat,
        mean_image=result.mean_image,
    )
    values = memory_score(late)
    assert values.psnr_best_match == 100.0 and values.ssim_best_match == pytest.approx(1.0)
    assert values.psnr < 30
    assert values.psnr_best_match_mean_image < 20


def test_every_score_has_its_seeds_and_its_interval() -> None:
    (values,) = rollout_scores(still_outcome(), (3,))
    by_frame = psnr(still_outcome().generated[:, 2], CLIPS.frames[:, 6])
    assert values.psnr_by_seed == pytest.approx(tuple(by_frame))
    for name in ("psnr", "ssim", "sharpness"):
        low, high, by_seed = (getattr(values, f"{name}_{end}") for end in ("low", "high", "by_seed"))
        assert min(by_seed) - 1e-9 <= low <= getattr(values, name) <= high <= max(by_seed) + 1e-9


def test_a_static_image_is_distinguished_from_a_changing_one() -> None:
    result = still_outcome()
    values = idle_score(result)
    assert values.change == 0.0 and values.psnr_first == 100.0
    assert values.change_true == pytest.approx(np.abs(np.diff(result.truth.astype(int), axis=1)).mean())
    assert values.psnr_first_true < 30


def test_the_scores_have_the_documented_names() -> None:
    ends = {f"{name}_{end}" for name in ("psnr", "ssim", "sharpness") for end in ("low", "high", "by_seed")}
    required = {"psnr", "ssim", "psnr_repeat", "psnr_mean_image", "psnr_autoencoder", "psnr_no_state", "sharpness"}
    required |= {"psnr_no_map", "psnr_no_scan"}
    additional = {"seeds", "ssim_autoencoder", "sharpness_autoencoder"} | ends
    assert {f.name for f in fields(HorizonScore)} == required | additional | {"horizon", "psnr_window"}
    assert {f.name for f in fields(MemoryScore)} > required | additional | {"frames", "psnr_copy", "regions"}


def test_the_history_match_tells_frames_of_the_context_from_new_ones() -> None:
    shown = ring_score(remembers=True)
    assert shown.psnr_history is not None and shown.psnr_history_autoencoder is not None
    assert shown.psnr_history == pytest.approx(shown.psnr_history_autoencoder, abs=0.01)
    assert shown.psnr_history_truth == 100.0, "the context has shown every view"
    forgets = ring_score(remembers=False)
    assert forgets.psnr_history is not None and forgets.psnr_history < shown.psnr_history - 5
    short = ring_score(remembers=True, num_context=6)
    assert short.psnr_history_truth is not None and short.psnr_history_truth < 100.0
