"""A simulator for tests: every frame is a function of all actions since the reset."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, replace

import numpy as np

from worldsim.core.errors import NonFiniteError
from worldsim.core.types import NO_ACTION, Action, ActionSpec, Frame, PoseControl, Step
from worldsim.engine.interfaces import LoadedWorld, StageTimes
from worldsim.engine.worker import StageCallback
from worldsim.episodes.format import ContextOverride, SessionHeader

SPEC = ActionSpec(
    buttons=("forward", "back", "left", "right"), axes=("turn",), axis_units=(("turn", "10 deg per tick"),)
)


@dataclass(frozen=True)
class FakeSnapshot:
    seed: int
    index: int
    history: str


class FakeSimulator:
    """Fails with NaN at frame `fail_at` after a reset with `fail_seed`, and on every action `fail_on`.

    `device`: frames differ between devices, as with a real model.
    """

    action_spec = SPEC
    frame_shape = (48, 64, 3)

    def __init__(
        self,
        device: str = "",
        *,
        step_s: float = 0.0,
        fail_at: int | None = None,
        fail_seed: int = 0,
        fail_on: Action | None = None,
    ) -> None:
        self.device, self.num_steps = device, 1
        self.last_times = StageTimes(ms_denoise=3.0, ms_commit=1.0, ms_decode=1.0)
        self.num_calls = 0
        self.is_closed = False
        self._step_s, self._fail_on = step_s, fail_on
        self._fail_place = (fail_seed, fail_at)
        self._now = FakeSnapshot(0, 0, "")

    def reset(self, seed: int) -> Step:
        self._now = FakeSnapshot(seed, 0, _digest(f"seed {seed}"))
        return Step(index=0, action=NO_ACTION, frame=self._frame(), device=self.device)

    def step(self, action: Action) -> Step:
        self.num_calls += 1
        time.sleep(self._step_s)
        before = self._now
        if (before.seed, before.index + 1) == self._fail_place or action == self._fail_on:
            raise NonFiniteError(f"frame {before.index + 1} is NaN or infinite", hint="reset")
        text = f"{before.history} {sorted(action.buttons)} {action.axes} {self.num_steps} {self.device}"
        self._now = FakeSnapshot(before.seed, before.index + 1, _digest(text))
        frame, device = self._frame(), self.device
        return Step(index=self._now.index, action=action, frame=frame, num_steps=self.num_steps, device=device)

    def reset_context(self, anchor: ContextOverride, seed: int) -> Step:
        frames = anchor.frames(self.frame_shape)
        self._now = FakeSnapshot(seed, anchor.index, _digest(f"{seed} {anchor.actions} {frames.tobytes().hex()}"))
        return Step(index=anchor.index, action=NO_ACTION, frame=frames[-1], device=self.device)

    def snapshot(self) -> FakeSnapshot:
        return self._now

    def restore(self, snapshot: FakeSnapshot) -> None:
        self._now = snapshot

    def close(self) -> None:
        self.is_closed = True

    def _frame(self) -> Frame:
        rng = np.random.default_rng(int(self._now.history, 16))
        return np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), dtype=np.uint8))


class FakePoseControlled(FakeSimulator):
    """Its inputs are poses: starts look along x, each seed from another place."""

    action_spec = ActionSpec(
        buttons=(),
        axes=("x", "y", "cos", "sin"),
        pose_control=PoseControl(step_length=1 / 16, turn_rad=math.radians(10)),
    )

    def reset(self, seed: int) -> Step:
        return replace(super().reset(seed), action=Action.of(x=0.25 * seed - 0.5, y=0.25, cos=1.0))


class FakeWithWall(FakePoseControlled):
    """A wall stops the camera at x = `WALL`."""

    WALL = -0.25
    action_spec = ActionSpec(
        buttons=(),
        axes=FakePoseControlled.action_spec.axes,
        pose_control=PoseControl(step_length=1 / 16, turn_rad=math.radians(10), has_collisions=True),
    )

    def step(self, action: Action) -> Step:
        axes = dict(action.axes)
        return super().step(Action.of(**{**axes, "x": min(axes.get("x", 0.0), self.WALL)}))


HEADER = SessionHeader(
    preset="fake",
    preset_ref="fake",
    preset_sha256="",
    worldsim="0.1.0",
    num_steps=1,
    frames_per_s=10.0,
    frame_shape=FakeSimulator.frame_shape,
    action_spec=SPEC,
)
"""Header of its recordings."""


def fake_load(simulator: FakeSimulator, *, ticks_per_s: float = 10.0, stage: str = "loading the fake"):  # type: ignore[no-untyped-def]  # a test's shorthand
    def load(report: StageCallback) -> LoadedWorld:
        report(stage)
        return LoadedWorld(playable=simulator, title="fake", ticks_per_s=ticks_per_s)

    return load


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
