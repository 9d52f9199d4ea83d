"""Handing control to a policy and taking it back, and what each policy does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.fake_reference import STRIDE_UNITS
from tests.engine.fakes import SPEC
from tests.engine.test_reference_world import FORWARD, Played
from tests.engine.test_replay import recorded
from tests.engine.test_session import TICK_S
from tests.engine.test_session import Play as SessionPlay
from worldsim.core.types import NO_ACTION, Action
from worldsim.engine.autopilot import Autopilot, RecordedPolicy, ReferencePolicy, ScriptPolicy, recorded_actions
from worldsim.episodes.reader import open_session

LEFT, BACK = Action.of("left"), Action.of("back")
RECORDED = [FORWARD, LEFT, BACK]


class Play(SessionPlay):
    """A session with an autopilot. `actions` are those of the new frames."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.autopilot, self.session.on_notify = self.session.autopilot, self.told.append
        self.start()

    def ticks(self, count: int) -> None:
        for _ in range(count):
            self.go(TICK_S)

    @property
    def actions(self) -> list[Action]:
        return [step.action for step in self.steps]


def test_policy_acts_every_tick_and_its_next_action_is_prefetched() -> None:
    play = Play()
    play.autopilot.hand_over(RecordedPolicy(RECORDED), NO_ACTION)
    play.ticks(3)
    assert play.actions == RECORDED
    assert play.worker.counters.hits >= 2


def test_user_key_takes_control_in_the_same_tick_and_policy_resumes_where_it_stopped() -> None:
    play, policy = Play(), RecordedPolicy(RECORDED)
    play.autopilot.hand_over(policy, NO_ACTION)
    play.ticks(1)
    play.session.inputs.press("d")
    play.session.inputs.release("d")
    play.ticks(2)
    assert play.actions == [FORWARD, Action.of("right"), NO_ACTION]
    assert play.autopilot.policy is None and play.told == ["autopilot off"]
    play.autopilot.hand_over(policy, NO_ACTION)
    play.ticks(1)
    assert play.actions[-1] == LEFT


def test_key_held_since_handover_does_not_take_control_but_a_second_key_does() -> None:
    play = Play()
    play.session.inputs.press("s")
    play.autopilot.hand_over(RecordedPolicy([FORWARD, FORWARD, LEFT]), BACK)
    play.ticks(1)
    play.session.inputs.release("s")
    play.ticks(1)
    assert play.actions == [FORWARD, FORWARD]
    play.session.inputs.press("s")
    play.ticks(1)
    assert play.actions[-1] == BACK


def test_stick_jitter_does_not_take_control() -> None:
    autopilot = Autopilot(lambda text: None)
    autopilot.hand_over(RecordedPolicy(RECORDED), Action.of(turn=0.3))
    assert autopilot.apply(Action.of(turn=0.34)) == FORWARD
    assert autopilot.apply(Action.of(turn=0.9)) == Action.of(turn=0.9)


def test_user_has_control_after_the_recording_ends() -> None:
    play = Play()
    play.autopilot.hand_over(RecordedPolicy(RECORDED[:1]), NO_ACTION)
    play.ticks(2)
    assert play.actions == [FORWARD, NO_ACTION]
    assert "recording finished" in play.told[0]


def test_script_never_ends_and_can_be_peeked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldsim.engine.autopilot.SCRIPT_FRAMES", 7)
    policy, again = ScriptPolicy(SPEC, 3), ScriptPolicy(SPEC, 3)
    taken = []
    for _ in range(20):
        expected = policy.peek()
        taken.append(policy.take())
        assert taken[-1] == expected
    assert [again.take() for _ in range(20)] == taken
    assert len(set(taken)) > 1


def test_reference_policy_uses_the_true_pose_and_can_be_peeked_once_it_has_caught_up() -> None:
    played = Played()
    policy = ReferencePolicy(lambda: played.reference.status, lambda: played.world.snapshot().index)
    assert policy.peek() is None
    assert policy.take() == NO_ACTION, "without a pose yet it does not wait for one"
    played.step(FORWARD, FORWARD)
    assert policy.peek() is None
    played.catch_up()
    expected = Action.of("forward", turn=2 * STRIDE_UNITS / 1000)
    assert policy.peek() == expected
    assert policy.peek() == expected and policy.take() == expected


def test_recorded_actions_start_at_the_reset(tmp_path: Path) -> None:
    recorded(tmp_path / "s")
    session = open_session(tmp_path / "s")
    found = recorded_actions(session)
    longest = max(session.episodes, key=lambda e: e.start.first_index + len(e.rows))
    assert found.seed == longest.start.seed
    assert len(found.actions) == longest.start.first_index + len(longest.rows) - 1
