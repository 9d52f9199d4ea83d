"""The true engine brought to where a preset begins, so that both can be given the same actions from there on.

Owns: the walk to a start, and the proof that it ends in the preset's own picture. Does not own: threads
(`engine.reference_world`), the engine itself (`worlds`). Torch-free; not thread-safe.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from worldsim.core.errors import WorldError
from worldsim.core.types import Step
from worldsim.engine.interfaces import ForwardOnlySimulator
from worldsim.worlds.base import PosePolicy
from worldsim.worlds.registry import GroundTruthConfig, open_world
from worldsim.worlds.trajectories import FIRST_START_SEED, START_POLICY, collect_trajectory, start_trajectory_frames

if TYPE_CHECKING:  # loads torch
    from worldsim.presets.store import Start


class ReferenceWorldAtStarts(ForwardOnlySimulator):
    """`reset(seed)` walks to a preset's own start, as the walk was once recorded."""

    def __init__(self, config: GroundTruthConfig, starts: Sequence[Start], *, script: str = START_POLICY) -> None:
        self._true, self._starts, self._script = open_world(config), starts, script
        self.steps_to_start: tuple[Step, ...] = ()
        """The steps of the walk to the start, that of the start itself the last of them."""
        super().__init__(self._true)

    def reset(self, seed: int) -> Step:
        """The last frame of the walk, its index that of the walk.

        Raises: WorldError when the engine does not come to the preset's start; MissingPackageError.
        """
        number = seed % len(self._starts)
        shown = self._starts[number].frames
        num_frames = start_trajectory_frames(len(shown))
        self.steps_to_start = tuple(collect_trajectory(self._true, FIRST_START_SEED + number, num_frames, self._script))
        if not np.array_equal(self.steps_to_start[-1].frame, shown[-1]):
            raise WorldError(
                f"the true world does not come to start {number} of the preset",
                hint="its starts were not made by `worldsim train` in this world; compare with other weights instead",
            )
        return self.steps_to_start[-1]

    def explorer(self, seed: int) -> PosePolicy:
        """A walker through the maze of the last `reset`."""
        return self._true.make_policy(self._script, random.Random(seed))
