"""Open-loop scripts: seeded, in the world's own units, and valid for any length."""

from __future__ import annotations

import pytest

from worldsim.actions.scripts import SCRIPT_NAMES, script_actions, turn_deg_per_tick
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
def test_a_script_has_the_length_asked_for_and_only_known_inputs(name: str, num_frames: int) -> None:
    actions = script_actions(name, spec(), 3, num_frames)
    assert len(actions) == num_frames
    for action in actions:
        spec().check(action)


@pytest.mark.parametrize("name", SCRIPT_NAMES)
def test_the_same_seed_gives_the_same_actions(name: str) -> None:
    assert script_actions(name, spec(), 3, 200) == script_actions(name, spec(), 3, 200)
    assert len({tuple(script_actions(name, spec(), seed, 200)) for seed in range(8)}) > 1


def test_return_goes_out_turns_half_round_and_mirrors_the_way_out() -> None:
    actions = script_actions("return", spec(), 5, 118)
    out, about, back = actions[:50], actions[50:68], actions[68:]
    assert [action.axis("turn") for action in about] == [1.0] * 18
    assert all(not action.buttons for action in about)
    for there, here in zip(out, reversed(back), strict=True):
        assert there.buttons == here.buttons and there.axis("turn") == -here.axis("turn")
    assert all("forward" in action.buttons for action in out)


@pytest.mark.parametrize(("turn_deg", "ticks"), [(10.0, 36), (5.0, 72)])
def test_look_turns_one_full_circle_each_way_in_the_worlds_unit(turn_deg: float, ticks: int) -> None:
    turns = [action.axis("turn") for action in script_actions("look", spec(turn_deg), 1, 2 * ticks)]
    assert abs(sum(turns[:ticks])) * turn_deg == 360.0
    assert sum(turns) == 0.0


def test_explore_is_a_person_at_the_keyboard() -> None:
    actions = script_actions("explore", spec(), 0, 4000)
    forward = sum("forward" in action.buttons for action in actions) / len(actions)
    turning = sum(action.axis("turn") != 0 for action in actions) / len(actions)
    assert 0.5 < forward < 0.9 and 0.2 < turning < 0.6, (forward, turning)
    assert {action.axis("turn") for action in actions} == {-1.0, 0.0, 1.0}, "keys, not a mouse"


def test_unknown_script_and_unusable_worlds_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        script_actions("retrun", spec(), 0, 10)
    assert "return" in caught.value.hint
    with pytest.raises(ConfigError, match="unit"):
        turn_deg_per_tick(ActionSpec(buttons=("forward",), axes=("turn",)))
    with pytest.raises(ConfigError, match="forward"):
        script_actions("look", ActionSpec(buttons=("jump",), axes=("turn",), axis_units=(("turn", "5 deg"),)), 0, 10)


def test_explore_presses_everything_in_a_world_in_which_nobody_walks() -> None:
    spec = ActionSpec(buttons=("jump", "left"), axes=("lean",))
    actions = script_actions("explore", spec, 3, 2000)
    assert len(actions) == 2000 and actions == script_actions("explore", spec, 3, 2000)
    assert {button for action in actions for button in action.buttons} == {"jump", "left"}
    assert {action.axis("lean") for action in actions} == {-1.0, 0.0, 1.0}
    assert any(len(action.buttons) == 2 for action in actions) and NO_ACTION in actions
