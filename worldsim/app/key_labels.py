"""How keys are named on screen and in the README: key labels, and the help table. Pure, no pygame."""

from __future__ import annotations

from worldsim.actions.bindings import BINDINGS, MOUSE_X, PAD, Binding, Command

_KEY_LABELS = {
    MOUSE_X: "Mouse",
    "up": "Up",
    "down": "Down",
    "left": "Left",
    "right": "Right",
    "escape": "Esc",
    "period": ".",
    "space": "Space",
    "minus": "-",
    "equals": "=",
    "backspace": "Backspace",
    "tab": "Tab",
    "leftbracket": "[",
    "rightbracket": "]",
    "pad_back": "Pad Back",
    "pad_guide": "Pad Guide",
    "pad_start": "Pad Start",
    "pad_leftshoulder": "Left shoulder",
    "pad_rightshoulder": "Right shoulder",
    "pad_leftstick": "Left stick click",
    "pad_rightstick": "Right stick click",
    "pad_triggerleft+": "Left trigger",
    "pad_triggerright+": "Right trigger",
    **{f"pad_dpad_{direction}": f"D-pad {direction}" for direction in ("up", "down", "left", "right")},
    **{
        f"pad_{side}{axis}": f"{side.capitalize()} stick {direction}"
        for side in ("left", "right")
        for axis, direction in (("x-", "left"), ("x+", "right"), ("y-", "up"), ("y+", "down"))
    },
}


def key_label(key: str, ctrl: bool = False) -> str:
    """What is printed on a key of a US keyboard, or the name of a gamepad control."""
    return ("Ctrl+" if ctrl else "") + _KEY_LABELS.get(key, key.upper().replace(PAD.upper(), "Pad "))


def key_for(command: Command, argument: int | None = None, bindings: tuple[Binding, ...] = BINDINGS) -> str:
    """Label of the first key bound to `command` (with `argument`), for texts that name it."""
    row = next(row for row in bindings if row.command is command and argument in (None, row.argument))
    return key_label(row.keys[0], row.ctrl) if row.keys else "(unbound)"


def help_rows(bindings: tuple[Binding, ...] = BINDINGS, *, has_pad: bool = True) -> list[tuple[str, str]]:
    """(keys, label) in the order of the table; rows with the same label are merged. Gamepad keys come last."""
    keys_of: dict[str, list[str]] = {row.label: [] for row in bindings}
    for is_pad in (False, True)[: 1 + has_pad]:
        for row in bindings:
            keys = [key for key in row.keys if key.startswith(PAD) is is_pad]
            keys_of[row.label] += [key_label(key, row.ctrl) for key in keys]
    return [(" / ".join(keys), label) for label, keys in keys_of.items() if keys]
