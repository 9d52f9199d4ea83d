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

from worldsim.core.images import psnr
from worldsim.core.types import Frame, Pose
from worldsim.engine.history import HistoryNode
from worldsim.engine.reference_world import AlignedFrames

MAX_SIDE_PX = 64
NEAR_STEPS, NEAR_DEG = 1.0, 4.0
"""Two poses are the same up to here: a tick of walking, and less than half a tick of turning."""
AWAY_STEPS, AWAY_DEG = 12.0, 90.0
"""From here on what was in front is out of view: about a room further, or turned away by the whole field of view."""
MAX_VIEWS = 2048
NOT_AWAY = 2**62
MAX_VIEW_BYTES = 16 * 2**20
MAX_PATH_LENGTH = 1000

DRIFT_FRAMES = 35
"""Two seconds of the presets' rate: a single frame may well show nothing but a wall."""
MIN_DRIFT_FRAMES = 18
DRIFT_SCALE = 2.0
"""Drift of 1 is so many times as far from the middle of all start pictures as the start farthest from it."""
MIN_STD = np.array([4.0] * 6 + [0.05])
"""Of the features: nobody sees less than that."""
BASELINE_FRAMES = 32
"""Without start pictures the first frames after a reset take their place."""


def subsample(frame: Frame) -> Frame:
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
        self._away_since = np.full(MAX_VIEWS, NOT_AWAY)
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
        small = subsample(frame)
        if num:
            away = self._poses[:num] - here
            strides = np.hypot(away[:, 0], away[:, 1])
            turn_deg = np.degrees(np.abs((away[:, 2] + math.pi) % math.tau - math.pi))
            away_since, is_away = self._away_since[:num], (strides > AWAY_STEPS) | (turn_deg > AWAY_DEG)
            away_since[is_away & (away_since == NOT_AWAY)] = index
            same = np.flatnonzero((strides <= NEAR_STEPS) & (turn_deg <= NEAR_DEG))
            if same.size:
                nearest = int(same[np.argmin(strides[same] / NEAR_STEPS + turn_deg[same] / NEAR_DEG)])
                if away_since[nearest] != NOT_AWAY:
                    self._score(float(psnr(small, self._views[nearest].frame)))
                return
        if num < MAX_VIEWS and (num + 1) * small.nbytes <= MAX_VIEW_BYTES:
            self._views.append(_SeenView(index, small.copy()))
            self._poses[num], self._away_since[num] = here, NOT_AWAY

    def forget_after(self, index: int) -> None:
        """Play has gone back there: what came later has not been seen."""
        kept = [place for place, view in enumerate(self._views) if view.index <= index]
        self._poses[: len(kept)], self._away_since[: len(kept)] = self._poses[kept], self._away_since[kept]
        self._away_since[self._away_since > index] = NOT_AWAY
        self._views = [self._views[place] for place in kept]

    def _score(self, score_db: float) -> None:
        self.last_db = score_db
        self.num_scores += 1
        self._sum_db += self.last_db


def features(frame: Frame) -> npt.NDArray[np.float64]:
    """Colour and edges of a picture: mean and deviation per colour, then the logarithm of the mean gradient of grey.

    Shapes: returns [7].
    """
    small = subsample(frame)
    pixels = small.reshape(-1, 3).astype(np.float32)
    mean = np.full(len(pixels), 1 / len(pixels), np.float32) @ pixels  # products: ten times faster than mean and std
    variance = np.einsum("nc,nc->c", pixels, pixels) / len(pixels) - mean**2
    gray = (pixels @ np.full(3, 1 / 3, np.float32)).reshape(small.shape[:2])
    gradient = float(np.abs(np.diff(gray, axis=0)).mean() + np.abs(np.diff(gray, axis=1)).mean())
    return np.array([*mean, *np.sqrt(np.maximum(variance, 0.0)), math.log1p(gradient)], np.float64)


class DriftMeter:
    """`add` every frame; `level` is how far the last two seconds are from true pictures: up to 1 is good."""

    def __init__(self, start_frames: Sequence[npt.NDArray[np.uint8]] = ()) -> None:
        """`start_frames`: true pictures, [T, H, W, 3] per start."""
        self._baseline: list[npt.NDArray[np.float64]] | None = [] if not start_frames else None
        self._last: deque[npt.NDArray[np.float64]] = deque(maxlen=DRIFT_FRAMES)
        self._mean, self._std, self._scale = np.zeros(7), np.ones(7), 1.0
        if start_frames:
            self._fit([np.stack([features(frame) for frame in frames]) for frames in start_frames])

    def add(self, frame: Frame) -> None:
        found = features(frame)
        self._last.append(found)
        if self._baseline is not None:
            self._baseline.append(found)
            if len(self._baseline) >= BASELINE_FRAMES:
                first, self._baseline = self._baseline, None
                self._fit([np.stack(first)])

    def reset_window(self) -> None:
        """Play goes on from elsewhere: the last seconds are not these any more."""
        self._last.clear()

    @property
    def level(self) -> float | None:
        """None while there are too few frames."""
        if self._baseline is not None or len(self._last) < MIN_DRIFT_FRAMES:
            return None
        return self._distance(np.mean(self._last, axis=0)) / self._scale

    def _fit(self, groups: Sequence[npt.NDArray[np.float64]]) -> None:
        found = np.concatenate(groups)
        self._mean, self._std = found.mean(0), np.maximum(found.std(0), MIN_STD)
        self._scale = DRIFT_SCALE * max(1.0, *(self._distance(group.mean(0)) for group in groups))

    def _distance(self, mean: npt.NDArray[np.float64]) -> float:
        return float(np.sqrt((((mean - self._mean) / self._std) ** 2).mean()))


class Memory:
    """What is known of the world that is being played. `follow` it from frame to frame, wherever play goes.

    Where a model has a belief of where it is, that belief counts; else the true pose, while the true world runs.
    """

    def __init__(self, start_frames: Sequence[npt.NDArray[np.uint8]] = ()) -> None:
        self.drift = DriftMeter(start_frames)
        self.revisits, self.reference_revisits = RevisitScore(), RevisitScore()
        """Of what is played, and of the true world: what a perfect memory scores, as no pose is ever quite the same."""
        self.path: deque[tuple[int, Pose]] = deque(maxlen=MAX_PATH_LENGTH)
        """(frame, pose), oldest first; in strides."""
        self._last: HistoryNode | None = None
        self._pair: AlignedFrames | None = None

    def follow(self, head: HistoryNode) -> None:
        """Side effects: says in every new moment how far the world has drifted in it."""
        if head is self._last:
            return
        new, last = _nodes_between(self._last, head), self._last
        self._last = head
        if new is None and last is not None and _nodes_between(head, last, limit=None) is not None:
            self._rewind_to(head.step.index)
            return
        if new is None:
            self._reset()
            new = [head]
        for node in new:
            self._add(node)

    def compare(self, pair: AlignedFrames, step_length: float) -> None:
        """The true world has come to the same moment."""
        pose = pair.reference.pose
        if pair is self._pair or pose is None:
            return
        self._pair = pair
        strides = Pose(x=pose.x / step_length, y=pose.y / step_length, angle_rad=pose.angle_rad)
        self.reference_revisits.add(pair.generated.index, strides, pair.reference.frame)
        if pair.generated.estimated_pose is None:
            self._score_revisit(pair.generated.index, strides, pair.generated.frame)

    def _add(self, node: HistoryNode) -> None:
        step, parent = node.step, node.parent
        if parent is not None and node.override is not parent.override:
            self.drift.reset_window()
        self.drift.add(step.frame)
        node.drift = self.drift.level
        if step.estimated_pose is not None:
            self._score_revisit(step.index, step.estimated_pose, step.frame)

    def _score_revisit(self, index: int, pose: Pose, frame: Frame) -> None:
        self.revisits.add(index, pose, frame)
        self.path.append((index, pose))

    def _rewind_to(self, index: int) -> None:
        """What was seen on the way to there stays."""
        self.drift.reset_window()
        self.revisits.forget_after(index)
        self.reference_revisits.forget_after(index)
        while self.path and self.path[-1][0] > index:
            self.path.pop()

    def _reset(self) -> None:
        """Play goes on from elsewhere: nothing of it has been seen on this way."""
        self.drift.reset_window()
        self.revisits, self.reference_revisits = RevisitScore(), RevisitScore()
        self.path.clear()


def _nodes_between(before: HistoryNode | None, after: HistoryNode, limit: int | None = 8) -> list[HistoryNode] | None:
    """The moments after `before` up to `after`; None where one does not follow from the other (within `limit`)."""
    found: list[HistoryNode] = []
    now: HistoryNode | None = after
    while now is not None and (limit is None or len(found) < limit):
        if now is before:
            return found[::-1]
        found.append(now)
        now = now.parent
    return None
