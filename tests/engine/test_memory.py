"""Revisit scores, drift and path."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.engine.fakes import SPEC
from worldsim.core.images import psnr
from worldsim.core.types import NO_ACTION, Action, Frame, Pose, Step
from worldsim.engine.history import PlayHistory
from worldsim.engine.interfaces import Position
from worldsim.engine.memory import (
    AWAY_STEPS,
    BASELINE_FRAMES,
    DRIFT_FRAMES,
    MAX_VIEW_BYTES,
    MIN_DRIFT_FRAMES,
    DriftMeter,
    Memory,
    RevisitScore,
    subsample,
)
from worldsim.engine.reference_world import AlignedFrames
from worldsim.episodes.format import ContextOverride

RNG = np.random.default_rng(0)


def noise(low: int = 0, high: int = 256, size: tuple[int, int] = (48, 64)) -> Frame:
    return RNG.integers(low, high, (*size, 3), dtype=np.uint8)


def at(x: float = 0.0, y: float = 0.0, deg: float = 0.0) -> Pose:
    return Pose(x=x, y=y, angle_rad=math.radians(deg))


A, B, C = noise(), noise(), noise()


def test_a_view_is_compared_with_the_first_from_there_once_it_has_been_out_of_view() -> None:
    revisits = RevisitScore()
    revisits.add(0, at(), A)
    revisits.add(1, at(0.5), B)
    assert revisits.last_db is None, "it never left the view"
    revisits.add(2, at(deg=120), C)
    revisits.add(3, at(0.4, deg=2), B)
    assert revisits.last_db == psnr(B, A), "the first view counts, not the second"
    revisits.add(4, at(deg=-361), A)
    assert revisits.last_db == 100.0
    assert revisits.mean_db == pytest.approx((100 + psnr(B, A)) / 2)
    assert revisits.num_scores == 2


def test_walking_on_takes_a_place_out_of_view_and_another_heading_is_another_view() -> None:
    revisits = RevisitScore()
    revisits.add(0, at(), A)
    revisits.add(1, at(AWAY_STEPS - 1), B)
    revisits.add(2, at(), A)
    assert revisits.num_scores == 0
    revisits.add(3, at(AWAY_STEPS + 1), B)
    revisits.add(4, at(deg=20), C)
    assert revisits.num_scores == 0
    revisits.add(5, at(), A)
    assert revisits.num_scores == 1


def test_what_is_seen_after_a_moment_can_be_forgotten() -> None:
    revisits = RevisitScore()
    revisits.add(0, at(), A)
    revisits.add(9, at(deg=180), B)
    revisits.forget_after(5)
    revisits.add(6, at(deg=181), C)
    assert revisits.num_scores == 0, "frame 9 was rewound"
    revisits.add(7, at(), A)
    assert revisits.last_db == 100.0


def test_large_pictures_are_thinned_and_their_memory_is_bounded() -> None:
    large = noise(size=(192, 256))
    assert subsample(large).shape == (48, 64, 3)
    revisits = RevisitScore()
    for n in range(MAX_VIEW_BYTES // subsample(large).nbytes + 10):
        revisits.add(n, at(x=2.0 * n), large)
    assert sum(view.frame.nbytes for view in revisits._views) <= MAX_VIEW_BYTES
    assert all(view.frame.base is None for view in revisits._views), "a view keeps the full frame alive"


def starts() -> list[np.ndarray]:
    return [np.stack([noise(n, 130 + n) for _ in range(8)]) for n in (0, 30, 60)]


def test_drift_is_low_for_frames_like_the_starts_and_high_for_fog_and_wrong_colors() -> None:
    def level(make: Frame) -> float:
        meter = DriftMeter(starts())
        for _ in range(DRIFT_FRAMES):
            meter.add(make)
        found = meter.level
        assert found is not None
        return found

    fog = np.full((48, 64, 3), 95, np.uint8)
    red = noise(20, 150)
    red[..., 0] = 255
    assert level(noise(20, 150)) < 0.7
    assert level(fog) > 1.5
    assert level(red) > 1.5


def test_without_starts_the_first_frames_are_what_is_good() -> None:
    meter = DriftMeter()
    for _ in range(BASELINE_FRAMES - 1):
        meter.add(noise())
    assert meter.level is None
    meter.add(noise())
    assert meter.level is not None and meter.level < 1
    for _ in range(DRIFT_FRAMES):
        meter.add(np.zeros((48, 64, 3), np.uint8))
    assert meter.level > 1


def test_after_a_jump_the_meter_needs_a_second_of_new_frames() -> None:
    meter = DriftMeter(starts())
    for _ in range(MIN_DRIFT_FRAMES):
        meter.add(noise(20, 150))
    assert meter.level is not None
    meter.reset_window()
    assert meter.level is None


class Walk:
    """A history built by hand, with an estimated pose per frame."""

    def __init__(self, believes: bool = True) -> None:
        self.history = PlayHistory(spec=SPEC, snapshot_bytes=1)
        self.memory = Memory(starts())
        self._believes = believes
        self.history.begin(Position(step=self._step(0, at(), A), snapshot=object(), seed=0))
        self.see()

    def go(self, pose: Pose, frame: Frame) -> None:
        assert self.history.head is not None
        self.history.add(self._step(self.history.head.step.index + 1, pose, frame), object())
        self.see()

    def see(self) -> None:
        assert self.history.head is not None
        self.memory.follow(self.history.head)

    def _step(self, index: int, pose: Pose, frame: Frame) -> Step:
        return Step(index=index, action=NO_ACTION, frame=frame, estimated_pose=pose if self._believes else None)


def test_every_moment_is_told_how_far_it_has_drifted_and_the_path_is_kept() -> None:
    walk = Walk()
    for n in range(MIN_DRIFT_FRAMES):
        walk.go(at(x=n), noise(20, 150))
    head = walk.history.head
    assert head is not None and head.drift is not None and head.drift < 1
    assert head.parent is not None and head.parent.drift is not None
    assert [index for index, _ in walk.memory.path] == list(range(MIN_DRIFT_FRAMES + 1))


def test_true_pictures_in_the_place_of_memory_end_what_has_drifted() -> None:
    walk = Walk()
    for _ in range(DRIFT_FRAMES):
        walk.go(at(), np.zeros((48, 64, 3), np.uint8))
    head = walk.history.head
    assert head is not None and head.drift is not None and head.drift > 1
    anchor = ContextOverride.from_frames(head.step.index, [A], [[0.0] * SPEC.size])
    walk.history.add_context_reset(replace(head.position(object()), override=anchor))
    walk.see()
    assert walk.history.head is not head and walk.memory.drift.level is None
    for _ in range(MIN_DRIFT_FRAMES):
        walk.go(at(), noise(20, 150))
    assert walk.memory.drift.level is not None and walk.memory.drift.level < 1


def test_frames_that_came_two_at_a_time_are_both_seen() -> None:
    walk = Walk()
    walk.history.add(walk._step(1, at(deg=150), B), object())
    walk.go(at(), A)
    assert walk.memory.revisits.last_db == 100.0


def test_a_rewind_keeps_what_was_seen_on_the_way_and_another_branch_does_not() -> None:
    walk = Walk()
    walk.go(at(deg=100), B)
    fork = walk.history.head
    walk.go(at(deg=200), C)
    tip = walk.history.head
    assert fork is not None and tip is not None
    walk.history.move_to(fork, object())
    walk.see()
    assert [index for index, _ in walk.memory.path] == [0, 1]
    walk.go(at(deg=200), A)
    assert walk.memory.revisits.num_scores == 0, "views of another line of play count"
    walk.go(at(), A)
    assert walk.memory.revisits.last_db == 100.0
    walk.history.move_to(tip, object())
    walk.see()
    assert walk.memory.revisits.num_scores == 0


def test_without_a_belief_the_true_pose_counts_and_the_truth_has_scores_of_its_own() -> None:
    walk = Walk(believes=False)
    assert not walk.memory.path
    for index, (deg, generated, reference) in enumerate([(0, A, A), (150, B, B), (0, C, A)]):
        step = Step(index=index, action=Action.of("left"), frame=generated)
        true_step = Step(index=index, action=NO_ACTION, frame=reference, pose=at(x=160, deg=deg))
        walk.memory.compare(AlignedFrames(generated=step, reference=true_step, psnr_db=1.0, context=(true_step,)), 16.0)
    assert walk.memory.revisits.last_db == psnr(C, A)
    assert walk.memory.reference_revisits.last_db == 100.0
    assert walk.memory.path[0][1].x == 10.0, "in ticks of walking"
