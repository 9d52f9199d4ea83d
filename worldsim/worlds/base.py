"""What every true world can do beyond `World`: be walked in by an explorer, and be seen in depth."""

from __future__ import annotations

import random
from typing import Protocol

import numpy as np
import numpy.typing as npt

from worldsim.core.types import Action, Pose, World


class PosePolicy(Protocol):
    def act(self, pose: Pose) -> Action:
        """The action to take at `pose`. Call once per tick, with the newest pose."""
        ...


class WorldConfig(Protocol):
    """What every true world's config says."""

    @property
    def turn_deg(self) -> float:
        """Degrees of the turn axis at 1 in one model tick, counter-clockwise."""
        ...

    @property
    def fov_deg(self) -> float:
        """The camera's horizontal field of view."""
        ...

    @property
    def cell_units(self) -> int:
        """From one cell's centre to the next, in units of the pose."""
        ...

    @property
    def waypoint_radius(self) -> float:
        """So near to a point counts as there, for somebody who holds keys: a tick's walk does not carry past it."""
        ...


class GroundTruthWorld(World, Protocol):
    """An engine, with the truth behind its frames. Every Step has a pose."""

    @property
    def config(self) -> WorldConfig: ...

    @property
    def depth(self) -> npt.NDArray[np.float32]:
        """Of the newest frame, along the view direction. Shapes: [H, W]. Units: those of the pose."""
        ...

    def make_policy(self, name: str, rng: random.Random) -> PosePolicy:
        """A walker through the place of the newest reset. The same `rng` state and poses, the same actions.

        Raises: ConfigError for a name this world does not know.
        """
        ...
