"""Scores of a session against another world, and two worlds side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.engine.fakes import FakeSimulator
from tests.engine.test_replay import recorded
from worldsim.core.errors import RecordingError
from worldsim.core.images import GAP_PX, MAX_PSNR_DB
from worldsim.core.types import Action
from worldsim.engine.replay import ReplayWorld, SideBySideSimulator
from worldsim.evaluation.replay_scores import score_replay


def test_worlds_that_agree_score_as_equal_and_others_differ_from_their_first_other_frame(tmp_path: Path) -> None:
    session = recorded(tmp_path / "s")
    same = score_replay(session, FakeSimulator(), FakeSimulator())
    assert (same.num_equal, same.num_as_recorded, set(same.psnr_db)) == (12, 12, {MAX_PSNR_DB})
    assert min(same.ssim) == pytest.approx(1.0)
    other = score_replay(session, FakeSimulator(), FakeSimulator(), num_steps=4)
    assert [value < MAX_PSNR_DB for value in other.psnr_db[:3]] == [False, True, True]
    assert other.num_as_recorded == 12
    assert other.ssim[1] < 0.9


def test_weights_that_do_not_reproduce_the_recording_are_detected(tmp_path: Path) -> None:
    class Other(FakeSimulator):
        def _frame(self) -> np.ndarray:
            return super()._frame() ^ np.uint8(self._now.index == 4)

    found = score_replay(recorded(tmp_path / "s"), Other(), FakeSimulator())
    assert (found.num_as_recorded, found.num_equal) == (10, 10)


def test_worlds_with_another_frame_size_are_rejected(tmp_path: Path) -> None:
    class Smaller(FakeSimulator):
        frame_shape = (24, 32, 3)

    with pytest.raises(RecordingError):
        score_replay(recorded(tmp_path / "s"), FakeSimulator(), Smaller())


def test_two_worlds_share_one_picture_and_rewind_together(tmp_path: Path) -> None:
    session = recorded(tmp_path / "s")
    world = SideBySideSimulator(
        ReplayWorld(session, FakeSimulator()), ReplayWorld(session, FakeSimulator(), num_steps=4)
    )
    height_px, width_px, _ = FakeSimulator.frame_shape
    first = world.reset(0).frame
    assert first.shape == world.frame_shape == (height_px, 2 * width_px + GAP_PX, 3)
    assert (first[:, :width_px] == first[:, -width_px:]).all()
    here = world.snapshot()
    second = world.step(Action.of("forward")).frame
    assert (second[:, :width_px] != second[:, -width_px:]).any()
    truth = ReplayWorld(session, FakeSimulator())
    truth.reset(0)
    assert (second[:, :width_px] == truth.step(Action.of("back")).frame).all()
    world.step(Action.of("forward"))
    world.restore(here)
    assert (world.step(Action.of("left")).frame == second).all()
