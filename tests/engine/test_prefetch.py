"""Prefetch depth: grows while one action is held and there is time, and is reset by a misprediction."""

from __future__ import annotations

import pytest

from worldsim.core.types import Action
from worldsim.engine.worker import FULL_TAKES_TO_DEEPEN, Prefetch, PrefetchedFrame

FORWARD = PrefetchedFrame(action=Action.of("forward"))


def play(prefetch: Prefetch, num_frames: int, *, most_in_time: int = 99) -> None:
    """Takes correctly predicted frames; before each, the model fills the queue up to `most_in_time`."""
    for _ in range(num_frames):
        while prefetch.has_room and len(prefetch) < most_in_time:
            prefetch.add(FORWARD)
        prefetch.take()


def test_depth_grows_by_one_up_to_the_maximum_while_there_is_time() -> None:
    prefetch = Prefetch(3)
    depths = []
    for _ in range(4 * FULL_TAKES_TO_DEEPEN):
        play(prefetch, 1)
        depths.append(prefetch.depth)
    assert depths == [1] * (FULL_TAKES_TO_DEEPEN - 1) + [2] * FULL_TAKES_TO_DEEPEN + [3] * (
        2 * FULL_TAKES_TO_DEEPEN + 1
    )


def test_wrong_prediction_resets_the_depth_and_returns_the_discarded_count() -> None:
    prefetch = Prefetch(3)
    play(prefetch, 20)
    play(prefetch, 1)
    assert (prefetch.depth, prefetch.drop()) == (3, 2)
    assert (prefetch.depth, len(prefetch)) == (1, 0)
    play(prefetch, FULL_TAKES_TO_DEEPEN - 1)
    assert prefetch.depth == 1, "takes before the misprediction no longer count"


@pytest.mark.parametrize("most_in_time", [0, 1])
def test_depth_does_not_grow_without_spare_time(most_in_time: int) -> None:
    prefetch = Prefetch(4)
    play(prefetch, 50, most_in_time=most_in_time)
    assert prefetch.depth == 1 + most_in_time


def test_depth_zero_never_has_room() -> None:
    prefetch = Prefetch(0)
    play(prefetch, 20)
    prefetch.drop()
    assert not prefetch.has_room
