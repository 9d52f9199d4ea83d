"""The key table: unique keys, rows available in a world, help."""

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
)
from worldsim.app.key_labels import help_rows, key_for
from worldsim.core.types import ActionSpec
from worldsim.worlds.memory_maze.config import MemoryMazeConfig

SPEC = ActionSpec(buttons=("forward", "back", "left", "right"), axes=("turn",))


def test_no_key_is_bound_twice() -> None:
    bound = Counter((key, row.ctrl) for row in BINDINGS for key in row.keys)
    assert {key: n for key, n in bound.items() if n > 1} == {}


def test_every_row_has_exactly_one_effect() -> None:
    for row in BINDINGS:
        assert sum((bool(row.button), bool(row.axis), row.command is not None)) == 1, row


def test_every_command_has_a_key() -> None:
    assert {row.command for row in BINDINGS if row.command} == set(Command)


def test_standard_world_gets_every_row() -> None:
    assert available_bindings(SPEC) == BINDINGS


def test_rows_of_missing_inputs_are_left_out() -> None:
    rows = available_bindings(ActionSpec(buttons=("forward",)))
    assert {row.button for row in rows if row.button} == {"forward"}
    assert not any(row.axis for row in rows)


def test_unknown_inputs_get_spare_keys() -> None:
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


def test_pose_inputs_use_movement_keys_to_fly_the_camera() -> None:
    rows = available_bindings(MemoryMazeConfig(inputs="pose").action_spec)
    assert [row.keys for row in rows] == [row.keys for row in BINDINGS]
    helped = dict(help_rows(rows, has_pad=False))
    assert [helped[keys] for keys in ("W / Up", "S / Down", "A", "D")] == [
        "fly forward (free camera, no collisions)",
        "fly back",
        "fly left",
        "fly right",
    ]
    assert helped["Left / Q"] == "turn left" and helped["R"] == "restart with the same seed"


def test_reference_world_has_no_denoising_step_keys() -> None:
    assert not any(row.command is Command.NUM_STEPS for row in available_bindings(SPEC, has_num_steps=False))


def test_help_lists_every_key_once() -> None:
    rows = help_rows()
    keys = [key for keys, _ in rows for key in keys.split(" / ")]
    assert len(keys) == len(set(keys)) == sum(len(row.keys) for row in BINDINGS)
    assert len({what for _, what in rows}) == len(rows)


def test_help_uses_keyboard_labels() -> None:
    rows = dict(help_rows())
    assert rows["W / Up / Left stick up"] == "walk forward"
    assert rows["P / Pad X"] == "pause / resume"
    assert rows["1 / 2 / 3 / 4"].startswith("1, 2, 4 or 8")
    assert rows["Ctrl+Q"] == "quit"


def test_help_without_gamepad_lists_no_gamepad_keys() -> None:
    rows = help_rows(has_pad=False)
    assert dict(rows)["W / Up"] == "walk forward"
    assert not any(word in keys for keys, _ in rows for word in ("Pad", "stick", "trigger", "shoulder"))
    only_pad = apply_overrides((KeyOverride(name="reset", keys=("pad_y",)),))
    assert len(help_rows(only_pad, has_pad=False)) == len(rows) - 1


def test_key_for_returns_the_first_key() -> None:
    assert (key_for(Command.PAUSE), key_for(Command.QUIT), key_for(Command.ESCAPE)) == ("P", "Ctrl+Q", "Esc")


def test_row_names_are_unique() -> None:
    assert len({row.name for row in BINDINGS}) == len(BINDINGS)


def test_overrides_replace_keys_and_nothing_else() -> None:
    rows = apply_overrides(
        (KeyOverride(name="speed -1", keys=("z", "x")), KeyOverride(name="of a newer worldsim", keys=("y",)))
    )
    changed = [(old, new) for old, new in zip(BINDINGS, rows, strict=True) if old != new]
    assert [(old.name, new.keys) for old, new in changed] == [("speed -1", ("z", "x"))]
    assert key_for(Command.SPEED, -1, rows) == "Z"
    assert key_for(Command.SPEED, bindings=apply_overrides((KeyOverride(name="speed -1", keys=()),))) == "(unbound)"
    assert apply_overrides(()) == BINDINGS


def test_mouse_and_menu_key_are_fixed() -> None:
    rows = apply_overrides((KeyOverride(name="escape", keys=("x",)), KeyOverride(name="turn mouse", keys=("x",))))
    assert rows == BINDINGS


def test_sensitivity_affects_only_the_mouse() -> None:
    rows = apply_overrides((), mouse_sensitivity=2.0)
    assert [new.amount / old.amount for old, new in zip(BINDINGS, rows, strict=True) if old != new] == [2.0]


def test_rows_sharing_a_key_conflict() -> None:
    assert binding_conflicts(BINDINGS) == {}
    rows = apply_overrides((KeyOverride(name="reset", keys=("t",)),))
    assert binding_conflicts(rows) == {
        "reset": ("restart with the next seed",),
        "next seed": ("restart with the same seed",),
    }


def test_used_spare_key_is_not_assigned() -> None:
    rows = apply_overrides((KeyOverride(name="reset", keys=SPARE_KEYS[:1]),))
    (jump,) = [row for row in available_bindings(ActionSpec(buttons=("jump",)), bindings=rows) if row.button]
    assert jump.keys[0] == SPARE_KEYS[1]
