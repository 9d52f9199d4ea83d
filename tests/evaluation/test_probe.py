"""The probe predicts actions from frames that follow them, and from no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldsim.core.types import ActionSpec
from worldsim.evaluation.clips import Clips
from worldsim.evaluation.evaluator import RolloutResult
from worldsim.evaluation.probe import (
    MIN_HELD_TICKS,
    NUM_FRAME_PAIRS,
    ActionProbe,
    block_shifts,
    fidelity_score,
    input_labels,
    is_held,
    train_probe,
)

SPEC = ActionSpec(buttons=("up",), axes=("turn",))
HEIGHT, HIDDEN_WIDTH = 24, 32


def clips(seeds: range, num_frames: int = 40) -> Clips:
    """An image that the button moves by 2 rows and the axis by 3 columns; keys are held for 5 to 8 ticks."""
    rng = np.random.default_rng(seeds.start)
    frames = np.empty((len(seeds), num_frames, HEIGHT, HIDDEN_WIDTH, 3), np.uint8)
    actions = np.zeros((len(seeds), num_frames, 2), np.float32)
    for row in range(len(seeds)):
        frames[row, 0] = rng.integers(0, 256, (HEIGHT // 4, HIDDEN_WIDTH // 4, 3)).repeat(4, axis=0).repeat(4, axis=1)
        left = 0
        for t in range(1, num_frames):
            if not left:
                held, left = (rng.integers(0, 2), rng.integers(-1, 2)), rng.integers(5, 9)
            left -= 1
            actions[row, t] = held
            frames[row, t] = np.roll(frames[row, t - 1], (2 * held[0], 3 * held[1]), axis=(0, 1))
    return Clips(seeds=tuple(seeds), frames=frames, actions=actions)


TRAINING, HELD_OUT = clips(range(8)), clips(range(900_000, 900_003))


@pytest.fixture(scope="module")
def probe() -> ActionProbe:
    return train_probe(TRAINING, SPEC, num_updates=100)


def result(generated: np.ndarray) -> RolloutResult:  # type: ignore[type-arg]
    truth = HELD_OUT.frames
    repeat = np.broadcast_to(truth[:, :1], truth.shape)
    return RolloutResult(
        seeds=HELD_OUT.seeds, truth=truth, generated=generated, autoencoder=truth, repeat=repeat, mean_image=repeat
    )


def test_labels_are_low_rest_and_high() -> None:
    actions = np.array([[0.0, -1.0], [1.0, 0.1], [0.0, 0.6]], np.float32)
    assert input_labels(actions, SPEC).tolist() == [[1, 0], [2, 1], [1, 2]]


def test_an_action_is_held_when_it_stays_the_same_for_several_ticks() -> None:
    label = np.array([[0, 0, 0, 0, 0, 1, 1, 1, 1, 0]])[..., None]
    assert MIN_HELD_TICKS == 4
    assert is_held(label)[0].tolist() == [False] * 3 + [True] * 2 + [False] * 3 + [True, False]


def test_block_matching_finds_the_previous_position() -> None:
    right = block_shifts(np.stack([np.roll(HELD_OUT.frames[0, 0], 3 * t, axis=1) for t in range(5)]))
    assert right.shape[0] == 5 - NUM_FRAME_PAIRS
    across = right.reshape(2, NUM_FRAME_PAIRS, 3, -1)[:, :, 1]
    assert float(across.median()) == pytest.approx(-3 / 6, abs=0.05), "it was 3 of 6 pixels to the left"


def test_true_frames_are_the_ceiling_and_frozen_frames_are_at_chance(probe: ActionProbe) -> None:
    true = fidelity_score(probe, result(HELD_OUT.frames), HELD_OUT.actions, SPEC, trained=(480, 200))
    assert true.accuracy == true.accuracy_true > 0.9
    assert true.accuracy_repeat == pytest.approx(true.chance, abs=0.1)
    assert set(true.by_input) == {"up", "turn"} and true.by_input["turn"]["true"] > 0.9
    frozen = fidelity_score(probe, result(result(HELD_OUT.frames).repeat), HELD_OUT.actions, SPEC, trained=(0, 0))
    assert frozen.accuracy == frozen.accuracy_repeat < 0.6 < frozen.accuracy_true
    assert frozen.accuracy_low <= frozen.accuracy <= frozen.accuracy_high


def test_frames_that_move_the_other_way_score_below_chance(probe: ActionProbe) -> None:
    mirrored = HELD_OUT.frames[:, :, :, ::-1]
    values = fidelity_score(probe, result(mirrored), HELD_OUT.actions, SPEC, trained=(0, 0))
    assert values.by_input["turn"]["generated"] < 0.5
    assert values.by_input["up"]["generated"] > 0.9, "vertical motion still follows the action"


def test_the_same_clips_give_the_same_probe_regardless_of_the_global_generator() -> None:
    few = HELD_OUT.first(12)
    first = train_probe(few, SPEC, num_updates=3)
    torch.manual_seed(5)
    again = train_probe(few, SPEC, num_updates=3)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
