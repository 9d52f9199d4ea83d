"""Generated frames, their references, and the frames behind a score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.stubs import (
    OracleModel,
    ScrollModel,
    StillModel,
    StubModel,
    roll,
    scroll_clips,
    stub_preset,
)
from worldsim.core.errors import NonFiniteError
from worldsim.core.images import psnr
from worldsim.evaluation.clips import Clips
from worldsim.evaluation.evaluator import Evaluator
from worldsim.evaluation.rollout import LatentClips, decode_frames, encode_clips, generate
from worldsim.evaluation.scores import one_step_score, rollout_scores, score
from worldsim.models.state import WorldState
from worldsim.models.world_model import FrameContext, MemoryPart

CLIPS = scroll_clips()
NUM_FRAMES = CLIPS.frames.shape[1]
GRAY = np.full(CLIPS.frames.shape[2:], 128, np.uint8)


def evaluator(model: StubModel, **options: float) -> Evaluator:
    return Evaluator(stub_preset(model, **options), mean_image=GRAY)


def test_a_perfect_model_reaches_the_score_of_the_autoencoder() -> None:
    (score,) = rollout_scores(evaluator(OracleModel(CLIPS)).compare(CLIPS, num_context=4), (8,))
    assert score.psnr == score.psnr_autoencoder < 60
    assert score.sharpness == score.sharpness_autoencoder
    assert score.psnr > score.psnr_mean_image


def test_a_model_that_ignores_actions_scores_no_better_than_repeating_a_frame() -> None:
    (still,) = rollout_scores(evaluator(StillModel()).compare(CLIPS, num_context=4), (8,))
    (scroll,) = rollout_scores(evaluator(ScrollModel()).compare(CLIPS, num_context=4), (8,))
    assert scroll.psnr == scroll.psnr_autoencoder
    assert still.psnr < scroll.psnr - 10
    assert still.psnr == pytest.approx(still.psnr_repeat, abs=0.5)  # except for the autoencoder's rounding


def test_clearing_the_state_only_affects_its_own_score() -> None:
    values = score(evaluator(ScrollModel()).compare(CLIPS, num_context=4, forget=("all",)))
    assert values.psnr == values.psnr_autoencoder
    assert values.psnr_no_state is not None and values.psnr_no_state < values.psnr - 10
    assert score(evaluator(ScrollModel()).compare(CLIPS, num_context=4)).psnr_no_state is None


def test_each_part_of_the_memory_has_its_own_score() -> None:
    parts = []

    class NotingModel(ScrollModel):
        def without_memory(self, state: WorldState, part: MemoryPart = "all") -> WorldState:
            parts.append(part)
            return super().without_memory(state, part)

    values = score(evaluator(NotingModel()).compare(CLIPS, num_context=4, forget=("all", "map", "scan")))
    assert [parts.count(part) for part in ("all", "map", "scan")] == [NUM_FRAMES] * 3
    assert values.psnr_no_map == values.psnr_no_scan == values.psnr_no_state


def test_the_state_is_cleared_before_every_frame_of_the_diagnostic_only() -> None:
    model = ScrollModel()
    evaluator(model).compare(CLIPS, num_context=4, forget=("all",))
    before_begin = [model.calls[i - 1] if i else "" for i, call in enumerate(model.calls) if call == "begin"]
    assert len(before_begin) == 2 * NUM_FRAMES
    assert "without_memory" not in before_begin[:NUM_FRAMES]
    assert before_begin[NUM_FRAMES:] == ["without_memory"] * NUM_FRAMES
    assert model.calls.count("without_memory") == NUM_FRAMES


def test_no_context_frame_enters_a_score() -> None:
    frames = CLIPS.frames.copy()
    frames[:, :4] = 255 - frames[:, :4]
    other = replace(CLIPS, frames=frames)
    clean = score(evaluator(OracleModel(CLIPS)).compare(CLIPS, num_context=4))
    spoiled = score(evaluator(OracleModel(CLIPS)).compare(other, num_context=4))
    assert spoiled.psnr_repeat != clean.psnr_repeat
    assert replace(spoiled, psnr_repeat=clean.psnr_repeat) == clean


def test_a_horizon_scores_one_frame_and_its_window_all_since_the_previous_horizon() -> None:
    result = evaluator(StillModel()).compare(CLIPS, num_context=4)
    by_frame = psnr(result.generated, result.truth).mean(axis=0)
    scores = rollout_scores(result, (1, 3, 8, 200))
    assert [score.horizon for score in scores] == [1, 3, 8], "200 exceeds the length"
    assert [score.psnr for score in scores] == pytest.approx([by_frame[0], by_frame[2], by_frame[7]])
    assert [score.psnr_window for score in scores] == pytest.approx(
        [by_frame[0], by_frame[1:3].mean(), by_frame[3:8].mean()]
    )
    assert all(score.psnr_low <= score.psnr <= score.psnr_high for score in scores)


def test_next_frame_prediction_has_true_context_and_repeats_the_previous_frame() -> None:
    result = evaluator(StillModel()).compare(CLIPS, num_context=4, autoregressive=False)
    np.testing.assert_array_equal(result.repeat, CLIPS.frames[:, 3:-1])
    score = one_step_score(result)
    assert score.horizon == 1
    assert score.psnr == pytest.approx(score.psnr_repeat, abs=0.5)
    assert one_step_score(evaluator(ScrollModel()).compare(CLIPS, num_context=4, autoregressive=False)).psnr > 20


def test_generated_frames_are_committed_at_the_presets_noise_level_and_true_ones_at_zero() -> None:
    model = StillModel()
    evaluator(model, context_noise=0.25).compare(CLIPS, num_context=4, forget=("all",))
    assert model.levels == ([0.0] * 4 + [0.25] * 8) * 2
    assert model.generated == ([False] * 4 + [True] * 8) * 2
    model = StillModel()
    evaluator(model, context_noise=0.25).compare(CLIPS, num_context=4, autoregressive=False)
    assert set(model.levels) == {0.0} and set(model.generated) == {False}


def test_a_non_finite_frame_stops_the_rollout_with_its_index() -> None:
    class BrokenModel(StillModel):
        def predict(self, context: FrameContext) -> torch.Tensor:
            return super().predict(context) / (0.0 if context.state.frame_index == 6 else 1.0)

    with pytest.raises(NonFiniteError) as caught:
        evaluator(BrokenModel()).compare(CLIPS, num_context=4)
    assert "frame 6" in caught.value.message


def test_a_batch_row_equals_a_session_of_the_simulator(tiny_preset_folder: Path) -> None:
    from worldsim.engine.simulator import Simulator
    from worldsim.presets.store import load_preset

    preset = load_preset(tiny_preset_folder)
    seed, num_context = 7, preset.config.play.context_frames
    simulator = Simulator(preset, num_steps=2)
    simulator.reset(seed)
    actions = np.random.default_rng(1).integers(0, 2, (3, preset.config.action_spec.size)).astype(np.float32)
    played = [simulator.step(preset.config.action_spec.decode(action)).frame for action in actions]

    start = preset.starts[seed % len(preset.starts)]
    frames = np.concatenate([start.frames[-num_context:], np.stack(played)])
    clips = Clips(
        seeds=(seed,), frames=frames[None], actions=np.concatenate([start.actions[-num_context:], actions])[None]
    )
    result = Evaluator(preset, mean_image=frames[0], num_steps=2).compare(clips, num_context=num_context)
    np.testing.assert_array_equal(result.generated[0], np.stack(played))


def test_rows_of_a_batch_are_independent(tiny_preset_folder: Path) -> None:
    from worldsim.presets.store import load_preset

    preset = load_preset(tiny_preset_folder)
    spec, shape = preset.config.action_spec, preset.config.latent_shape
    generator = torch.Generator().manual_seed(0)
    latents = LatentClips(
        seeds=(900_000, 900_001),
        latent_BTCHW=torch.randn(2, 6, *shape, generator=generator),
        action_BTA=torch.randint(0, 2, (2, 6, spec.size), generator=generator).float(),
    )
    second = LatentClips(seeds=(900_001,), latent_BTCHW=latents.latent_BTCHW[1:], action_BTA=latents.action_BTA[1:])
    both = generate(preset.model, latents, num_context=3, num_steps=1, context_noise=0.0)
    alone = generate(preset.model, second, num_context=3, num_steps=1, context_noise=0.0)
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_encoding_and_decoding_keep_rows_and_frames_in_place() -> None:
    autoencoder = stub_preset(StillModel()).autoencoder
    latents = encode_clips(autoencoder, CLIPS, "cpu")
    assert latents.latent_BTCHW.shape[:2] == (3, NUM_FRAMES)
    decoded = decode_frames(autoencoder, latents.latent_BTCHW)
    assert psnr(decoded, CLIPS.frames).min() > 25
    torch.testing.assert_close(roll(latents.latent_BTCHW[:, 3], latents.action_BTA[:, 4]), latents.latent_BTCHW[:, 4])
