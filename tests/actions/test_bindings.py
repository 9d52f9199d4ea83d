"""The key table: no key twice, only rows that the world can use, help from the same rows."""

from __future__ import annotations

from collections import Counter

from worldsim.actions.bindings import (
    BINDINGS,
    SPARE_KEYS,
    SPARE_PAD_AXES,
    SPARE_PAD_BUTTONS,
    Command,
    KeyOverride,
    apply_overrides,
    available_bindings,
    binding_conflicts,
    help_rows,
    key_for,
)
from worldsim.core.types import ActionSpec
from worldsim.worlds.memory_maze.config import MemoryMazeConfig

SPEC = ActionSpec(buttons=("forward", "back", "left", "right"), axes=("turn",))


def test_no_key_is_bound_twice() -> None:
    bound = Counter((key, row.ctrl) for row in BINDINGS for key in row.keys)
    assert {key: n for key, n in bound.items() if n > 1} == {}


def test_every_row_does_exactly_one_thing() -> None:
    for row in BINDINGS:
        assert sum((bool(row.button), bool(row.axis), row.command is not None)) == 1, row


def test_every_command_has_a_key() -> None:
    assert {row.command for row in BINDINGS if row.command} == set(Command)


def test_a_world_with_the_four_buttons_and_a_turn_is_offered_every_row() -> None:
    assert available_bindings(SPEC) == BINDINGS


def test_a_world_without_an_input_is_not_offered_its_keys() -> None:
    rows = available_bindings(ActionSpec(buttons=("forward",)))
    assert {row.button for row in rows if row.button} == {"forward"}
    assert not any(row.axis for row in rows)


def test_inputs_that_the_table_does_not_know_get_keys_of_their_own() -> None:
    spec = ActionSpec(buttons=("forward", "jump", "fire"), axes=("pitch",))
    rows = [row for row in available_bindings(spec) if row not in BINDINGS]
    assert [(row.button, row.axis, row.amount) for row in rows] == [
        ("jump", "", 1.0),
        ("fire", "", 1.0),
        ("", "pitch", 1.0),
        ("", "pitch", -1.0),
    ]
    assert [row.keys for row in rows] == [
        (SPARE_KEYS[0], "pad_a"),
        (SPARE_KEYS[1], "pad_b"),
        (SPARE_KEYS[2], "pad_righty-"),
        (SPARE_KEYS[3], "pad_righty+"),
    ]
    assert dict(help_rows(tuple(rows)))["Space / Pad A"] == "jump"
    bound = {key for row in BINDINGS for key in row.keys}
    spare = (*SPARE_KEYS, *SPARE_PAD_BUTTONS, *SPARE_PAD_AXES)
    assert not bound & set(spare) and len(set(spare)) == len(spare)
    many = ActionSpec(buttons=tuple(f"button{index}" for index in range(40)))
    assert len([row for row in available_bindings(many) if row.button]) == len(SPARE_KEYS)


def test_where_inputs_are_poses_the_usual_keys_fly_the_camera_and_no_spare_ones_are_used() -> None:
    rows = available_bindings(MemoryMazeConfig(inputs="pose").action_spec)
    assert [row.keys for row in rows] == [row.keys for row in BINDINGS]
    helped = dict(help_rows(rows, has_pad=False))
    assert [helped[keys] for keys in ("W / Up", "S / Down", "A", "D")] == [
        "fly forward, through walls too",
        "fly back",
        "fly to the left",
        "fly to the right",
    ]
    assert helped["Left / Q"] == "turn left" and helped["R"] == "reset: the same start again"


def test_a_world_without_denoising_steps_is_not_offered_their_keys() -> None:
    assert not any(row.command is Command.NUM_STEPS for row in available_bindings(SPEC, has_num_steps=False))


def test_help_has_every_key_once_and_no_row_twice() -> None:
    rows = help_rows()
    keys = [key for keys, _ in rows for key in keys.split(" / ")]
    assert len(keys) == len(set(keys)) == sum(len(row.keys) for row in BINDINGS)
    assert len({what for _, what in rows}) == len(rows)


def test_help_reads_as_on_the_keyboard() -> None:
    rows = dict(help_rows())
    assert rows["W / Up / Left stick up"] == "walk forward"
    assert rows["P / Pad X"] == "pause, go on"
    assert rows["1 / 2 / 3 / 4"].startswith("1, 2, 4 or 8")
    assert rows["Ctrl+Q"] == "quit"


def test_help_without_a_gamepad_says_nothing_of_one() -> None:
    rows = help_rows(has_pad=False)
    assert dict(rows)["W / Up"] == "walk forward"
    assert not any(word in keys for keys, _ in rows for word in ("Pad", "stick", "trigger", "shoulder"))
    only_pad = apply_overrides((KeyOverride(name="reset", keys=("pad_y",)),))
    assert len(help_rows(only_pad, has_pad=False)) == len(rows) - 1


def test_texts_name_the_first_key_of_a_command() -> None:
    assert (key_for(Command.PAUSE), key_for(Command.QUIT), key_for(Command.ESCAPE)) == ("P", "Ctrl+Q", "Esc")


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({row.name for row in BINDINGS}) == len(BINDINGS)


def test_own_keys_take_the_place_of_the_tables_and_nothing_else_changes() -> None:
    rows = apply_overrides(
        (KeyOverride(name="speed -1", keys=("z", "x")), KeyOverride(name="of a later worldsim", keys=("y",)))
    )
    changed = [(old, new) for old, new in zip(BINDINGS, rows, strict=True) if old != new]
    assert [(old.name, new.keys) for old, new in changed] == [("speed -1", ("z", "x"))]
    assert key_for(Command.SPEED, -1, rows) == "Z"
    assert key_for(Command.SPEED, bindings=apply_overrides((KeyOverride(name="speed -1", keys=()),))) == "no key"
    assert apply_overrides(()) == BINDINGS


def test_the_mouse_and_the_way_to_the_menu_keep_their_keys() -> None:
    rows = apply_overrides((KeyOverride(name="escape", keys=("x",)), KeyOverride(name="turn mouse", keys=("x",))))
    assert rows == BINDINGS


def test_the_mouse_sensitivity_is_that_of_the_mouse_alone() -> None:
    rows = apply_overrides((), mouse_sensitivity=2.0)
    assert [new.amount / old.amount for old, new in zip(BINDINGS, rows, strict=True) if old != new] == [2.0]


def test_rows_that_share_a_key_are_in_conflict() -> None:
    assert binding_conflicts(BINDINGS) == {}
    rows = apply_overrides((KeyOverride(name="reset", keys=("t",)),))
    assert binding_conflicts(rows) == {"reset": ("another start",), "other start": ("reset: the same start again",)}


def test_a_spare_key_that_is_taken_is_not_given_to_a_worlds_own_input() -> None:
    rows = apply_overrides((KeyOverride(name="reset", keys=SPARE_KEYS[:1]),))
    (jump,) = [row for row in available_bindings(ActionSpec(buttons=("jump",)), bindings=rows) if row.button]
    assert jump.keys[0] == SPARE_KEYS[1]
