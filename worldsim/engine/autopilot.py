"""Who controls the world: the player, or a policy that took over and yields to any new input.

Policies follow a script, a recording, or the true pose of the reference world. UI thread; torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from worldsim.actions.pose_control import key_spec
from worldsim.actions.scripted_actions import script_actions
from worldsim.core.types import NO_ACTION, Action, ActionSpec
from worldsim.engine.reference_world import ReferenceStatus

if TYPE_CHECKING:
    from worldsim.episodes.reader import RecordedSession  # loads av and pyarrow

SCRIPT = "explore"
SCRIPT_FRAMES = 2000
"""Frames scripted at a time; then with the next seed."""
AXIS_OVERRIDE_THRESHOLD = 0.1
"""Change of an axis below which a stick counts as at rest: noise must not take control back."""


class AutopilotPolicy(Protocol):
    @property
    def name(self) -> str: ...

    def peek(self) -> Action | None:
        """The next action, if it is known already. Changes nothing."""
        ...

    def take(self) -> Action | None:
        """The action of the tick that begins now; None at the end."""
        ...


class ScriptPolicy:
    """Repeats a script with seed after seed."""

    def __init__(self, spec: ActionSpec, seed: int) -> None:
        """Raises: ConfigError, never for `explore`."""
        self.name = f"script {SCRIPT!r}"
        self._spec, self._seed = spec, seed
        self._actions: list[Action] = []

    def peek(self) -> Action | None:
        if not self._actions:
            self._actions = script_actions(SCRIPT, key_spec(self._spec), self._seed, SCRIPT_FRAMES)[::-1]
            self._seed += 1
        return self._actions[-1]

    def take(self) -> Action | None:
        self.peek()
        return self._actions.pop()


@dataclass(frozen=True, kw_only=True)
class RecordedActions:
    """The actions of a recorded episode, from a reset with `seed`."""

    seed: int = 0
    spec: ActionSpec
    actions: tuple[Action, ...]


def recorded_actions(session: RecordedSession) -> RecordedActions:
    """Those of the episode that goes furthest from its reset, since a rewind or a load begins another episode."""
    spec = session.header.action_spec
    episode = max(session.episodes, key=lambda episode: episode.start.first_index + len(episode.rows))
    vectors = [run.action for run in episode.start.prelude for _ in range(run.count)]
    vectors += [row.action for row in episode.rows[0 if episode.start.first_index else 1 :]]
    actions = tuple(spec.decode(np.asarray(vector, np.float32)) for vector in vectors)
    return RecordedActions(seed=episode.start.seed, spec=spec, actions=actions)


class RecordedPolicy:
    """Repeats recorded actions; after an interruption it continues where it stopped."""

    def __init__(self, actions: Sequence[Action]) -> None:
        self._actions, self._num_taken = actions, 0

    @property
    def name(self) -> str:
        return f"recorded actions, {self._num_taken} of {len(self._actions)}"

    def peek(self) -> Action | None:
        return self._actions[self._num_taken] if self._num_taken < len(self._actions) else None

    def take(self) -> Action | None:
        action = self.peek()
        self._num_taken += action is not None
        return action

    def restart(self) -> None:
        self._num_taken = 0


class ReferencePolicy:
    """Acts on the camera's pose in the reference world, not on what the model shows."""

    name = "reference-world policy"

    def __init__(self, status_now: Callable[[], ReferenceStatus], index_now: Callable[[], int]) -> None:
        """`status_now`: status of the reference world; `index_now`: index of the newest frame of play."""
        self._status_now, self._index_now = status_now, index_now
        self._next: Action | None = None

    def peek(self) -> Action | None:
        """Known once the reference world has reached the newest frame, since the action depends on the pose there."""
        pair = self._status_now().pair
        if self._next is None and pair is not None and pair.generated.index == self._index_now():
            self._next = self._act()
        return self._next

    def take(self) -> Action | None:
        action, self._next = self._next or self._act(), None
        return action

    def _act(self) -> Action:
        """From the newest known pose, for play never waits; NO_ACTION while there is none."""
        status = self._status_now()
        if status.pair is None or status.pair.reference.pose is None or status.explorer is None:
            return NO_ACTION
        return status.explorer.act(status.pair.reference.pose)


class Autopilot:
    """`apply` is called once per tick. Any new input of the player takes control back within that tick."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self.policy: AutopilotPolicy | None = None
        """The policy in control; None: the player."""
        self._user_action = NO_ACTION

    def hand_over(self, policy: AutopilotPolicy, user_action: Action) -> None:
        """`user_action`: input held at that moment, which does not take control back."""
        self.policy, self._user_action = policy, user_action

    def take_control(self, why: str = "") -> None:
        if self.policy is not None:
            self.policy = None
            self._notify(f"autopilot off: {why}" if why else "autopilot off")

    def apply(self, user_action: Action) -> Action:
        """The action of the tick that begins now, given the player's."""
        if self.policy is None:
            return user_action
        if _is_new(user_action, self._user_action):
            self.take_control()
            return user_action
        self._user_action = user_action
        action = self.policy.take()
        if action is None:
            self.take_control("recording finished")
            return user_action
        return action

    def peek(self, user_action: Action | None) -> Action | None:
        """Prediction of what `apply` will return; None if it cannot be predicted."""
        return user_action if self.policy is None else self.policy.peek()


def _is_new(action: Action, before: Action) -> bool:
    """Whether a button was pressed or an axis moved since `before`."""
    has_moved = any(abs(value - before.axis(name)) > AXIS_OVERRIDE_THRESHOLD for name, value in action.axes)
    return has_moved or not action.buttons <= before.buttons
