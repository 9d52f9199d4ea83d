"""Who plays: a person, or a pilot that the person gave control to and can take it back from at any moment.

Owns: the change between the two, pilots by script, by recording and by an explorer who sees the true pose. Does not
own: keys (`engine.inputs` says what a person does), the true world (`engine.reference_world`). UI thread; torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from worldsim.actions.pose_control import key_spec
from worldsim.actions.scripted_actions import script_actions
from worldsim.core.types import NO_ACTION, Action, ActionSpec
from worldsim.engine.reference_world import ReferenceStatus
from worldsim.episodes.reader import RecordedSession

SCRIPT = "explore"
SCRIPT_FRAMES = 2000
"""So many are written at once; then another seed."""
AXIS_OVERRIDE_THRESHOLD = 0.1
"""A stick that trembles takes nothing back."""


class AutopilotPolicy(Protocol):
    @property
    def name(self) -> str: ...

    def peek(self) -> Action | None:
        """The next action, if it is known already. Asking changes nothing."""
        ...

    def take(self) -> Action | None:
        """The action of the tick that begins now; None when there is none any more."""
        ...


class ScriptPolicy:
    """Walks by a script, for ever."""

    def __init__(self, spec: ActionSpec, seed: int) -> None:
        """Raises: ConfigError, never for `explore`."""
        self.name = f"the script {SCRIPT!r}"
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
    """What was done in a recording from a reset with `seed` on."""

    seed: int = 0
    spec: ActionSpec
    actions: tuple[Action, ...]


def recorded_actions(session: RecordedSession) -> RecordedActions:
    """Of the episode that went farthest from its reset: a rewind or a load begins another."""
    spec = session.header.action_spec
    episode = max(session.episodes, key=lambda episode: episode.start.first_index + len(episode.rows))
    vectors = [run.action for run in episode.start.prelude for _ in range(run.count)]
    vectors += [row.action for row in episode.rows[0 if episode.start.first_index else 1 :]]
    actions = tuple(spec.decode(np.asarray(vector, np.float32)) for vector in vectors)
    return RecordedActions(seed=episode.start.seed, spec=spec, actions=actions)


class RecordedPolicy:
    """Does what was recorded, from the first action to the last; goes on where it was interrupted."""

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
    """A walker who sees where the camera truly is: it follows the true world, not what the model shows."""

    name = "an explorer in the true world"

    def __init__(self, status_now: Callable[[], ReferenceStatus], index_now: Callable[[], int]) -> None:
        """`status_now`: of the true world; `index_now`: of the newest frame of play."""
        self._status_now, self._index_now = status_now, index_now
        self._next: Action | None = None

    def peek(self) -> Action | None:
        """Not before the true world has come to the newest frame: the pose decides."""
        pair = self._status_now().pair
        if self._next is None and pair is not None and pair.generated.index == self._index_now():
            self._next = self._act()
        return self._next

    def take(self) -> Action | None:
        action, self._next = self._next or self._act(), None
        return action

    def _act(self) -> Action:
        """From the newest pose there is: play never waits for it. Still, while there is none."""
        status = self._status_now()
        if status.pair is None or status.pair.reference.pose is None or status.explorer is None:
            return NO_ACTION
        return status.explorer.act(status.pair.reference.pose)


class Autopilot:
    """`apply` is asked once a tick. Whatever a person newly does takes control back, in the same tick."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.policy: AutopilotPolicy | None = None
        """Who has control; None is the person."""
        self._user_action = NO_ACTION

    def hand_over(self, policy: AutopilotPolicy, user_action: Action) -> None:
        """`user_action`: what is held at that moment, which takes nothing back."""
        self.policy, self._user_action = policy, user_action

    def take_control(self, why: str = "") -> None:
        if self.policy is not None:
            self.policy = None
            self._tell(f"{why}: you have control" if why else "you have control")

    def apply(self, user_action: Action) -> Action:
        """The action of the tick that begins now, where a person does `user_action`."""
        if self.policy is None:
            return user_action
        if _is_new(user_action, self._user_action):
            self.take_control()
            return user_action
        self._user_action = user_action
        action = self.policy.take()
        if action is None:
            self.take_control("the recorded actions are at their end")
            return user_action
        return action

    def peek(self, user_action: Action | None) -> Action | None:
        """What `apply` will probably answer; None when that cannot be known."""
        return user_action if self.policy is None else self.policy.peek()


def _is_new(now: Action, before: Action) -> bool:
    """Whether something is pressed or moved that was not."""
    turned = any(abs(value - before.axis(name)) > AXIS_OVERRIDE_THRESHOLD for name, value in now.axes)
    return turned or not now.buttons <= before.buttons
