"""Measures of how well a world is remembered during play: revisits, drift, path. Cheap enough for every frame.

The revisit score compares a frame with the first one from the same pose, once that view has been out of sight. The
drift meter needs no ground truth: it compares colors and edges of the last seconds with those of the preset's start
frames. It detects fog, wrong colors and noise, but not a wall in the wrong place.

Poses are a model's own estimate, or the reference world's. Frames wider than `MAX_SIDE_PX` are subsampled first. UI
thread; torch-free.
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
"""Largest difference between two equal poses: a tick of walking, and less than half a tick of turning."""
AWAY_STEPS, AWAY_DEG = 12.0, 90.0
"""Difference from which a view is out of sight: about a room away, or turned by the full field of view."""
MAX_VIEWS = 2048
NOT_AWAY = 2**62
MAX_VIEW_BYTES = 16 * 2**20
MAX_PATH_LENGTH = 1000

DRIFT_FRAMES = 35
"""Averaging window: two seconds at the presets' rate, because a single frame may show nothing but a wall."""
MIN_DRIFT_FRAMES = 18
DRIFT_SCALE = 2.0
"""A drift of 1 is this many times the distance from the mean of all start frames to the furthest start."""
MIN_STD = np.array([4.0] * 6 + [0.05])
"""Lower bound for the features' standard deviations: smaller differences are invisible."""
BASELINE_FRAMES = 32
"""Frames after a reset that serve as the baseline if there are no start frames."""


def subsample(frame: Frame) -> Frame:
    """Keeps every n-th pixel, for a width of about `MAX_SIDE_PX` at most."""
    n = max(1, frame.shape[1] // MAX_SIDE_PX)
    return frame[::n, ::n]


@dataclass(frozen=True)
class _SeenView:
    index: int
    frame: Frame


class RevisitScore:
    """`add` every frame with its pose. A revisited view is compared with its first frame, which stays the reference."""

    def __init__(self) -> None:
        self._views: list[_SeenView] = []
        self._poses = np.zeros((MAX_VIEWS, 3), np.float32)
        self._away_since = np.full(MAX_VIEWS, NOT_AWAY)
        """Index of the first frame at which each view was out of sight."""
        self.num_scores = 0
        self._sum_db = 0.0
        self.last_db: float | None = None

    @property
    def mean_db(self) -> float | None:
        return self._sum_db / self.num_scores if self.num_scores else None

    def add(self, index: int, pose: Pose, frame: Frame) -> None:
        """Units: x and y of the pose in ticks of walking."""
        num, current = len(self._views), np.array((pose.x, pose.y, pose.angle_rad), np.float32)
        small = subsample(frame)
        if num:
            offset = self._poses[:num] - current
            distance = np.hypot(offset[:, 0], offset[:, 1])
            turn_deg = np.degrees(np.abs((offset[:, 2] + math.pi) % math.tau - math.pi))
            away_since, is_away = self._away_since[:num], (distance > AWAY_STEPS) | (turn_deg > AWAY_DEG)
            away_since[is_away & (away_since == NOT_AWAY)] = index
            same = np.flatnonzero((distance <= NEAR_STEPS) & (turn_deg <= NEAR_DEG))
            if same.size:
                nearest = int(same[np.argmin(distance[same] / NEAR_STEPS + turn_deg[same] / NEAR_DEG)])
                if away_since[nearest] != NOT_AWAY:
                    self._score(float(psnr(small, self._views[nearest].frame)))
                return
        if num < MAX_VIEWS and (num + 1) * small.nbytes <= MAX_VIEW_BYTES:
            self._views.append(_SeenView(index, small.copy()))
            self._poses[num], self._away_since[num] = current, NOT_AWAY

    def forget_after(self, index: int) -> None:
        """Play has gone back to frame `index`: forget what was seen after it."""
        kept = [n for n, view in enumerate(self._views) if view.index <= index]
        self._poses[: len(kept)], self._away_since[: len(kept)] = self._poses[kept], self._away_since[kept]
        self._away_since[self._away_since > index] = NOT_AWAY
        self._views = [self._views[n] for n in kept]

    def _score(self, score_db: float) -> None:
        self.last_db = score_db
        self.num_scores += 1
        self._sum_db += self.last_db


def features(frame: Frame) -> npt.NDArray[np.float64]:
    """Colors and edges of a frame: mean and standard deviation per channel, then log(1 + mean gradient of gray).

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
    """`add` every frame; `level` is the distance of the last two seconds from ground-truth frames: up to 1 is good."""

    def __init__(self, start_frames: Sequence[npt.NDArray[np.uint8]] = ()) -> None:
        """`start_frames`: ground-truth frames, [T, H, W, 3] per start."""
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
        """Forgets the last seconds: play continues from elsewhere."""
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
    """All measures of the world being played. `follow` takes it to the current node, wherever play goes.

    Poses are the model's estimates if it has any, otherwise those of the reference world while it runs.
    """

    def __init__(self, start_frames: Sequence[npt.NDArray[np.uint8]] = ()) -> None:
        self.drift = DriftMeter(start_frames)
        self.revisits, self.reference_revisits = RevisitScore(), RevisitScore()
        """Scores of the played world and of the reference world. The latter is the score of a perfect memory: poses are
        never exactly equal."""
        self.path: deque[tuple[int, Pose]] = deque(maxlen=MAX_PATH_LENGTH)
        """(frame index, pose in ticks of walking), oldest first."""
        self._last: HistoryNode | None = None
        self._pair: AlignedFrames | None = None

    def follow(self, head: HistoryNode) -> None:
        """Side effects: sets `drift` of every new node."""
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
        """The reference world has reached the same frame."""
        pose = pair.reference.pose
        if pair is self._pair or pose is None:
            return
        self._pair = pair
        scaled = Pose(x=pose.x / step_length, y=pose.y / step_length, angle_rad=pose.angle_rad)
        self.reference_revisits.add(pair.generated.index, scaled, pair.reference.frame)
        if pair.generated.estimated_pose is None:
            self._score_revisit(pair.generated.index, scaled, pair.generated.frame)

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
        """Keeps what was seen up to frame `index`."""
        self.drift.reset_window()
        self.revisits.forget_after(index)
        self.reference_revisits.forget_after(index)
        while self.path and self.path[-1][0] > index:
            self.path.pop()

    def _reset(self) -> None:
        """Play continues from elsewhere: forget everything seen."""
        self.drift.reset_window()
        self.revisits, self.reference_revisits = RevisitScore(), RevisitScore()
        self.path.clear()


def _nodes_between(before: HistoryNode | None, after: HistoryNode, limit: int | None = 8) -> list[HistoryNode] | None:
    """The nodes after `before` up to `after`; None if it does not lead there (within `limit` nodes)."""
    found: list[HistoryNode] = []
    at: HistoryNode | None = after
    while at is not None and (limit is None or len(found) < limit):
        if at is before:
            return found[::-1]
        found.append(at)
        at = at.parent
    return None
