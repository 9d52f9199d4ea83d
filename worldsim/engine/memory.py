"""How well a world is remembered while it is played: looks back, drift, the path. Cheap enough to run at every frame.

Owns: the views that were seen and from where, the scores. Does not own: poses (a model's belief, or the true world's),
how it is shown (`app.memory_panel`). UI thread; torch-free. A picture of more than `MAX_SIDE_PX` is thinned out first:
every second, third... pixel of it counts.

The look-back score compares the frame seen now with the one seen first from the same pose, after the place had left
the view. The drift meter needs no truth: it compares colours and edges of the last seconds with those of the preset's
own start pictures. It notices fog, wrong colours and noise, not a wall in the wrong place.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worldsim.core.images import psnr_db
from worldsim.core.types import Frame, Pose
from worldsim.engine.history import HistoryNode
from worldsim.engine.reference_world import AlignedFrames

MAX_SIDE_PX = 64
NEAR_STRIDES, NEAR_DEG = 1.0, 4.0
"""Two poses are the same up to here: a tick of walking, and less than half a tick of turning."""
LEFT_STRIDES, LEFT_DEG = 12.0, 90.0
"""From here on what was in front is out of view: about a room further, or turned away by the whole field of view."""
MAX_VIEWS = 2048
NEVER = 2**62
MAX_VIEW_BYTES = 16 * 2**20
MAX_PATH = 1000
EQUAL_DB = 100.0
"""What equal pictures score."""

DRIFT_FRAMES = 35
"""Two seconds of the presets' rate: a single frame may well show nothing but a wall."""
MIN_DRIFT_FRAMES = 18
GOOD_RATIO = 2.0
"""Drift of 1 is so many times as far from the middle of all start pictures as the start farthest from it."""
LEAST_SPREAD = np.array([4.0] * 6 + [0.05])
"""Of the features: nobody sees less than that."""
FIRST_FRAMES = 32
"""Without start pictures the first frames after a reset take their place."""


def thinned(frame: Frame) -> Frame:
    """At most about `MAX_SIDE_PX` pixels wide: every n-th of them."""
    n = max(1, frame.shape[1] // MAX_SIDE_PX)
    return frame[::n, ::n]


@dataclass(frozen=True)
class _SeenView:
    index: int
    frame: Frame


class RevisitScore:
    """`add` every frame with its pose. A view that was seen before is compared with the first time, and kept so."""

    def __init__(self) -> None:
        self._views: list[_SeenView] = []
        self._poses = np.zeros((MAX_VIEWS, 3), np.float32)
        self._left_at = np.full(MAX_VIEWS, NEVER)
        """The first frame at which a view was out of sight."""
        self.num_scores = 0
        self._sum_db = 0.0
        self.last_db: float | None = None

    @property
    def mean_db(self) -> float | None:
        return self._sum_db / self.num_scores if self.num_scores else None

    def add(self, index: int, pose: Pose, frame: Frame) -> None:
        """Units: x and y of the pose in strides, ticks of walking."""
        num, here = len(self._views), np.array((pose.x, pose.y, pose.angle_rad), np.float32)
        thin = thinned(frame)
        if num:
            away = self._poses[:num] - here
            strides = np.hypot(away[:, 0], away[:, 1])
            turned_deg = np.degrees(np.abs((away[:, 2] + math.pi) % math.tau - math.pi))
            left_at, is_away = self._left_at[:num], (strides > LEFT_STRIDES) | (turned_deg > LEFT_DEG)
            left_at[is_away & (left_at == NEVER)] = index
            same = np.flatnonzero((strides <= NEAR_STRIDES) & (turned_deg <= NEAR_DEG))
            if same.size:
                nearest = int(same[np.argmin(strides[same] / NEAR_STRIDES + turned_deg[same] / NEAR_DEG)])
                if left_at[nearest] != NEVER:
                    self._score(psnr_db(thin, self._views[nearest].frame))
                return
        if num < MAX_VIEWS and (num + 1) * thin.nbytes <= MAX_VIEW_BYTES:
            self._views.append(_SeenView(index, thin.copy()))
            self._poses[num], self._left_at[num] = here, NEVER

    def forget_after(self, index: int) -> None:
        """Play has gone back there: what came later has not been seen."""
        kept = [place for place, view in enumerate(self._views) if view.index <= index]
        self._poses[: len(kept)], self._left_at[: len(kept)] = self._poses[kept], self._left_at[kept]
        self._left_at[self._left_at > index] = NEVER
        self._views = [self._views[place] for place in kept]

    def _score(self, score_db: float) -> None:
        self.last_db = min(score_db, EQUAL_DB)
        self.num_scores += 1
        self._sum_db += self.last_db


def features(frame: Frame) -> npt.NDArray[np.float64]:
    """Colour and edges of a picture: mean and deviation per colour, then the logarithm of the mean gradient of grey.

    Shapes: returns [7].
    """
    thin = thinned(frame)
    pixels = thin.reshape(-1, 3).astype(np.float32)
    mean = np.full(len(pixels), 1 / len(pixels), np.float32) @ pixels  # products: ten times faster than mean and std
    variance = np.einsum("nc,nc->c", pixels, pixels) / len(pixels) - mean**2
    grey = (pixels @ np.full(3, 1 / 3, np.float32)).reshape(thin.shape[:2])
    gradient = float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
    return np.array([*mean, *np.sqrt(np.maximum(variance, 0.0)), math.log1p(gradient)], np.float64)


class DriftMeter:
    """`add` every frame; `level` is how far the last two seconds are from true pictures: up to 1 is good."""

    def __init__(self, start_frames: Sequence[npt.NDArray[np.uint8]] = ()) -> None:
        """`start_frames`: true pictures, [T, H, W, 3] per start."""
        self._first: list[npt.NDArray[np.float64]] | None = [] if not start_frames else None
        self._last: deque[npt.NDArray[np.float64]] = deque(maxlen=DRIFT_FRAMES)
        self._middle, self._spread, self._far = np.zeros(7), np.ones(7), 1.0
        if start_frames:
            self._learn([np.stack([features(frame) for frame in frames]) for frames in start_frames])

    def add(self, frame: Frame) -> None:
        found = features(frame)
        self._last.append(found)
        if self._first is not None:
            self._first.append(found)
            if len(self._first) >= FIRST_FRAMES:
                first, self._first = self._first, None
                self._learn([np.stack(first)])

    def settle(self) -> None:
        """Play goes on from elsewhere: the last seconds are not these any more."""
        self._last.clear()

    @property
    def level(self) -> float | None:
        """None while there are too few frames."""
        if self._first is not None or len(self._last) < MIN_DRIFT_FRAMES:
            return None
        return self._distance(np.mean(self._last, axis=0)) / self._far

    def _learn(self, groups: Sequence[npt.NDArray[np.float64]]) -> None:
        found = np.concatenate(groups)
        self._middle, self._spread = found.mean(0), np.maximum(found.std(0), LEAST_SPREAD)
        self._far = GOOD_RATIO * max(1.0, *(self._distance(group.mean(0)) for group in groups))

    def _distance(self, mean: npt.NDArray[np.float64]) -> float:
        return float(np.sqrt((((mean - self._middle) / self._spread) ** 2).mean()))


class Memory:
    """What is known of the world that is being played. `follow` it from frame to frame, wherever play goes.

    Where a model has a belief of where it is, that belief counts; else the true pose, while the true world runs.
    """

    def __init__(self, start_frames: Sequence[npt.NDArray[np.uint8]] = ()) -> None:
        self.drift = DriftMeter(start_frames)
        self.looks, self.true_looks = RevisitScore(), RevisitScore()
        """Of what is played, and of the true world: what a perfect memory scores, as no pose is ever quite the same."""
        self.path: deque[tuple[int, Pose]] = deque(maxlen=MAX_PATH)
        """(frame, pose), oldest first; in strides."""
        self._last: HistoryNode | None = None
        self._pair: AlignedFrames | None = None

    def follow(self, head: HistoryNode) -> None:
        """Side effects: says in every new moment how far the world has drifted in it."""
        if head is self._last:
            return
        new, last = _since(self._last, head), self._last
        self._last = head
        if new is None and last is not None and _since(head, last, limit=None) is not None:
            self._go_back(head.step.index)
            return
        if new is None:
            self._forget()
            new = [head]
        for moment in new:
            self._add(moment)

    def compare(self, pair: AlignedFrames, stride_units: float) -> None:
        """The true world has come to the same moment."""
        pose = pair.truth.pose
        if pair is self._pair or pose is None:
            return
        self._pair = pair
        strides = Pose(x=pose.x / stride_units, y=pose.y / stride_units, angle_rad=pose.angle_rad)
        self.true_looks.add(pair.dream.index, strides, pair.truth.frame)
        if pair.dream.estimated_pose is None:
            self._look(pair.dream.index, strides, pair.dream.frame)

    def _add(self, moment: HistoryNode) -> None:
        step, parent = moment.step, moment.parent
        if parent is not None and moment.anchor is not parent.anchor:
            self.drift.settle()
        self.drift.add(step.frame)
        moment.drift = self.drift.level
        if step.estimated_pose is not None:
            self._look(step.index, step.estimated_pose, step.frame)

    def _look(self, index: int, pose: Pose, frame: Frame) -> None:
        self.looks.add(index, pose, frame)
        self.path.append((index, pose))

    def _go_back(self, index: int) -> None:
        """What was seen on the way to there stays."""
        self.drift.settle()
        self.looks.forget_after(index)
        self.true_looks.forget_after(index)
        while self.path and self.path[-1][0] > index:
            self.path.pop()

    def _forget(self) -> None:
        """Play goes on from elsewhere: nothing of it has been seen on this way."""
        self.drift.settle()
        self.looks, self.true_looks = RevisitScore(), RevisitScore()
        self.path.clear()


def _since(before: HistoryNode | None, after: HistoryNode, limit: int | None = 8) -> list[HistoryNode] | None:
    """The moments after `before` up to `after`; None where one does not follow from the other (within `limit`)."""
    found: list[HistoryNode] = []
    now: HistoryNode | None = after
    while now is not None and (limit is None or len(found) < limit):
        if now is before:
            return found[::-1]
        found.append(now)
        now = now.parent
    return None
