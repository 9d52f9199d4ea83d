"""A reference world for tests: a fake with a pose, steps that led to its start, and a policy that sees the pose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tests.engine.fakes import FakeSimulator
from worldsim.core.errors import MissingPackageError
from worldsim.core.types import Action, Pose, Step
from worldsim.engine.interfaces import ReferenceSource

STRIDE_UNITS = 16.0


class FakeReference(FakeSimulator):
    """Gives the frames of a FakeSimulator with the same seed and actions."""

    def __init__(self) -> None:
        super().__init__()
        self.resets: list[int] = []
        self.steps_to_start: Sequence[Step] = ()
        self._pose = Pose(x=0.0, y=0.0, angle_rad=0.0)

    def reset(self, seed: int) -> Step:
        self.resets.append(seed)
        self._pose = Pose(x=0.0, y=0.0, angle_rad=0.0)
        start = replace(super().reset(seed), pose=self._pose)
        before = replace(start, pose=Pose(x=-STRIDE_UNITS, y=0.0, angle_rad=0.0), action=Action.of("forward"))
        self.steps_to_start = (before, start)
        return start

    def step(self, action: Action) -> Step:
        turn, walk = math.radians(10) * action.axis("turn"), STRIDE_UNITS * ("forward" in action.buttons)
        angle_rad = self._pose.angle_rad + turn
        x, y = self._pose.x + walk * math.cos(angle_rad), self._pose.y + walk * math.sin(angle_rad)
        self._pose = Pose(x=x, y=y, angle_rad=angle_rad)
        return replace(super().step(action), pose=self._pose)

    def explorer(self, seed: int) -> Turner:
        return Turner()


class Turner:
    """Turns left by the distance walked, so that an action shows which pose it was based on."""

    def act(self, pose: Pose) -> Action:
        return Action.of("forward", turn=min(1.0, pose.x / 1000))


def fake_source(world: FakeReference, num_context: int = 4) -> ReferenceSource:
    return ReferenceSource(open=lambda: world, num_context=num_context)


def no_source() -> ReferenceSource:
    def fail() -> FakeReference:
        raise MissingPackageError("the package of the reference world is not there", hint="pip install it")

    return ReferenceSource(open=fail, num_context=4)
