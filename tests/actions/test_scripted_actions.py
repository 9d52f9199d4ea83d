"""Scripted actions: seeded, in the units of the world, for any length."""

from __future__ import annotations

import pytest

from worldsim.actions.scripted_actions import SCRIPT_NAMES, script_actions, turn_deg_per_tick
from worldsim.core.errors import ConfigError
from worldsim.core.types import NO_ACTION, ActionSpec


def spec(turn_deg: float = 10.0) -> ActionSpec:
    return ActionSpec(
        buttons=("forward", "back", "left", "right"),
        axes=("turn",),
        axis_units=(("turn", f"{turn_deg:g} deg per tick"),),
    )


@pytest.mark.parametrize("name", SCRIPT_NAMES)
@pytest.mark.parametrize("num_frames", [0, 1, 17, 18, 19, 300])
def test_script_has_requested_length_and_known_inputs(name: str, num_frames: int) -> None:
    actions = script_actions(name, spec(), 3, num_frames)
    assert len(actions) == num_frames
    for action in actions:
        spec().check(action)


@pytest.mark.parametrize("name", SCRIPT_NAMES)
def test_same_seed_gives_same_actions(name: str) -> None:
    assert script_actions(name, spec(), 3, 200) == script_actions(name, spec(), 3, 200)
    assert len({tuple(script_actions(name, spec(), seed, 200)) for seed in range(8)}) > 1


def test_return_turns_around_and_mirrors_the_outbound_path() -> None:
    actions = script_actions("return", spec(), 5, 118)
    out, about, back = actions[:50], actions[50:68], actions[68:]
    assert [action.axis("turn") for action in about] == [1.0] * 18
    assert all(not action.buttons for action in about)
    for there, here in zip(out, reversed(back), strict=True):
        assert there.buttons == here.buttons and there.axis("turn") == -here.axis("turn")
    assert all("forward" in action.buttons for action in out)


@pytest.mark.parametrize(("turn_deg", "ticks"), [(10.0, 36), (5.0, 72)])
def test_look_turns_a_full_circle_each_way(turn_deg: float, ticks: int) -> None:
    turns = [action.axis("turn") for action in script_actions("look", spec(turn_deg), 1, 2 * ticks)]
    assert abs(sum(turns[:ticks])) * turn_deg == 360.0
    assert sum(turns) == 0.0


def test_explore_mixes_actions_like_a_player() -> None:
    actions = script_actions("explore", spec(), 0, 4000)
    forward = sum("forward" in action.buttons for action in actions) / len(actions)
    turning = sum(action.axis("turn") != 0 for action in actions) / len(actions)
    assert 0.5 < forward < 0.9 and 0.2 < turning < 0.6, (forward, turning)
    assert {action.axis("turn") for action in actions} == {-1.0, 0.0, 1.0}, "full turns only, as from keys"


def test_unknown_scripts_and_unsupported_worlds_raise() -> None:
    with pytest.raises(ConfigError) as caught:
        script_actions("retrun", spec(), 0, 10)
    assert "return" in caught.value.hint
    with pytest.raises(ConfigError, match="unit"):
        turn_deg_per_tick(ActionSpec(buttons=("forward",), axes=("turn",)))
    with pytest.raises(ConfigError, match="forward"):
        script_actions("look", ActionSpec(buttons=("jump",), axes=("turn",), axis_units=(("turn", "5 deg"),)), 0, 10)


def test_explore_uses_every_input_in_worlds_without_walking() -> None:
    spec = ActionSpec(buttons=("jump", "left"), axes=("lean",))
    actions = script_actions("explore", spec, 3, 2000)
    assert len(actions) == 2000 and actions == script_actions("explore", spec, 3, 2000)
    assert {button for action in actions for button in action.buttons} == {"jump", "left"}
    assert {action.axis("lean") for action in actions} == {-1.0, 0.0, 1.0}
    assert any(len(action.buttons) == 2 for action in actions) and NO_ACTION in actions
