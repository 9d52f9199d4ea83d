"""The key table: which physical key does what. The help panel, the README table and input handling all use it.

Keys are physical positions, named by what a US keyboard prints there, so that WASD is in the same place on every
layout. Gamepad keys are "pad_" plus SDL's name of the button, or of the axis with its direction: "pad_a", "pad_leftx-".
They are keys like any other; those of an axis are analog. `app.input` maps the names to scancodes and controller
events, `app.key_labels` to what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice

from worldsim.actions.pose_control import key_spec
from worldsim.core.types import ActionSpec

MOUSE_X = "mouse_x"
"""The pseudo-key of horizontal mouse motion."""
PAD = "pad_"
"""Prefix of gamepad key names."""


class Command(Enum):
    """What a key does in the program, rather than in the world. The values name rows in settings files."""

    RESET = "reset"
    NEXT_SEED = "next seed"
    PAUSE = "pause"
    ESCAPE = "escape"
    SINGLE_STEP = "single step"
    SPEED = "speed"
    REWIND = "rewind"
    BRANCH = "branch"
    BRANCHES = "branches"
    SAVE = "save"
    SLOT = "slot"
    LOAD = "load"
    NUM_STEPS = "num steps"
    VIEW_MODE = "view mode"
    AUTOPILOT = "autopilot"
    MEMORY = "memory"
    RESET_CONTEXT = "reset context"
    HELP = "help"
    STATUS = "status"
    RECORD = "record"
    FILTER = "scaling filter"
    SCREENSHOT = "screenshot"
    KEY_OVERLAY = "key overlay"
    FULL_SCREEN = "full screen"
    QUIT = "quit"


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One row: any of `keys` holds `button`, moves `axis` by `amount`, or issues `command` with `argument`."""

    keys: tuple[str, ...]
    label: str
    """Help text. Rows with the same label are merged into one row of the help."""
    button: str = ""
    axis: str = ""
    amount: float = 1.0
    """Value of the axis while a key is held; per pixel for the mouse."""
    command: Command | None = None
    argument: int = 0
    ctrl: bool = False
    """Requires Ctrl."""
    is_hold: bool = False
    """The command is issued with argument 1 on key down, and with 0 on key up."""

    @property
    def name(self) -> str:
        """Unique name of the row, used in settings files: "forward", "turn +", "speed -1"."""
        if self.command is not None:
            return f"{self.command.value} {self.argument:+d}" if self.argument else self.command.value
        sideways = "mouse" if MOUSE_X in self.keys else "+" if self.amount > 0 else "-"
        return self.button or f"{self.axis} {sideways}"

    @property
    def is_fixed(self) -> bool:
        """Whether the keys cannot be changed: the mouse, and the menu key, so that users cannot lock themselves out."""
        return MOUSE_X in self.keys or self.command is Command.ESCAPE


@dataclass(frozen=True, kw_only=True)
class KeyOverride:
    """User-defined keys for the row `name`."""

    name: str
    keys: tuple[str, ...]


_FREE_CAMERA_LABELS = {
    "forward": "fly forward (free camera, no collisions)",
    "back": "fly back",
    "left": "fly left",
    "right": "fly right",
}
"""Labels of the movement keys in worlds whose inputs are poses, without collisions."""
_NUM_STEPS_LABEL = "1, 2, 4 or 8 denoising steps per frame"
_SPEED_LABEL = "slower / faster (0.25x to 4x)"
_BRANCH_LABEL = "previous / next branch"

BINDINGS: tuple[Binding, ...] = (
    Binding(keys=("w", "up", "pad_lefty-"), label="walk forward", button="forward"),
    Binding(keys=("s", "down", "pad_lefty+"), label="walk back", button="back"),
    Binding(keys=("a", "pad_leftx-"), label="strafe left", button="left"),
    Binding(keys=("d", "pad_leftx+"), label="strafe right", button="right"),
    Binding(keys=("left", "q", "pad_rightx-"), label="turn left", axis="turn", amount=1.0),
    Binding(keys=("right", "e", "pad_rightx+"), label="turn right", axis="turn", amount=-1.0),
    Binding(
        keys=(MOUSE_X,), label="look around (click to capture the mouse, Esc to release)", axis="turn", amount=-1 / 60
    ),
    Binding(keys=("r", "pad_y"), label="restart with the same seed", command=Command.RESET),
    Binding(keys=("t",), label="restart with the next seed", command=Command.NEXT_SEED),
    Binding(keys=("p", "pad_x"), label="pause / resume", command=Command.PAUSE),
    Binding(keys=("escape", "pad_start"), label="release the mouse, or open the menu", command=Command.ESCAPE),
    Binding(keys=("n", "period"), label="single step (pauses)", command=Command.SINGLE_STEP),
    Binding(keys=("minus", "pad_dpad_down"), label=_SPEED_LABEL, command=Command.SPEED, argument=-1),
    Binding(keys=("equals", "pad_dpad_up"), label=_SPEED_LABEL, command=Command.SPEED, argument=1),
    Binding(
        keys=("backspace", "pad_triggerleft+"),
        label="hold to rewind, release to play from there",
        command=Command.REWIND,
        is_hold=True,
    ),
    Binding(keys=("leftbracket", "pad_dpad_left"), label=_BRANCH_LABEL, command=Command.BRANCH, argument=-1),
    Binding(keys=("rightbracket", "pad_dpad_right"), label=_BRANCH_LABEL, command=Command.BRANCH, argument=1),
    Binding(keys=("tab",), label="list branches", command=Command.BRANCHES),
    Binding(keys=("f5", "pad_leftshoulder"), label="quick save", command=Command.SAVE),
    Binding(keys=("f6",), label="save slots / next slot", command=Command.SLOT),
    Binding(keys=("f7", "pad_back"), label="quick load", command=Command.LOAD),
    Binding(keys=("1",), label=_NUM_STEPS_LABEL, command=Command.NUM_STEPS, argument=1),
    Binding(keys=("2",), label=_NUM_STEPS_LABEL, command=Command.NUM_STEPS, argument=2),
    Binding(keys=("3",), label=_NUM_STEPS_LABEL, command=Command.NUM_STEPS, argument=4),
    Binding(keys=("4",), label=_NUM_STEPS_LABEL, command=Command.NUM_STEPS, argument=8),
    Binding(keys=("v",), label="view: generated, side by side, reference, difference", command=Command.VIEW_MODE),
    Binding(keys=("g",), label="autopilot on / off (any movement key takes over)", command=Command.AUTOPILOT),
    Binding(keys=("m",), label="memory panel: revisit PSNR, drift, map and path", command=Command.MEMORY),
    Binding(keys=("b",), label="reset context (after drift)", command=Command.RESET_CONTEXT),
    Binding(keys=("f1", "pad_rightstick"), label="this help", command=Command.HELP),
    Binding(keys=("f3",), label="status: line, detail, performance, off", command=Command.STATUS),
    Binding(keys=("f4",), label="scaling filter: sharp, smooth, nearest", command=Command.FILTER),
    Binding(keys=("f2",), label="show held keys", command=Command.KEY_OVERLAY),
    Binding(keys=("f12",), label="screenshot (to your pictures folder)", command=Command.SCREENSHOT),
    Binding(keys=("f9",), label="start / stop recording", command=Command.RECORD),
    Binding(keys=("f11",), label="full screen", command=Command.FULL_SCREEN),
    Binding(keys=("q",), ctrl=True, label="quit", command=Command.QUIT),
)

SPARE_KEYS = ("space", *"fcxzhjkluio")
"""For inputs that the table does not know (custom games): each gets the next free keys."""
SPARE_PAD_BUTTONS = ("pad_a", "pad_b", "pad_rightshoulder", "pad_triggerright+", "pad_leftstick")
SPARE_PAD_AXES = ("pad_righty-", "pad_righty+")


def apply_overrides(overrides: Iterable[KeyOverride], *, mouse_sensitivity: float = 1.0) -> tuple[Binding, ...]:
    """The table with the user's keys. Unknown row names are ignored: a newer worldsim may have written them."""
    keys_of = {override.name: override.keys for override in overrides}
    return tuple(_apply_override(row, keys_of.get(row.name, row.keys), mouse_sensitivity) for row in BINDINGS)


def _apply_override(row: Binding, keys: tuple[str, ...], mouse_sensitivity: float) -> Binding:
    if MOUSE_X in row.keys:
        return replace(row, amount=row.amount * mouse_sensitivity)
    return row if row.is_fixed else replace(row, keys=keys)


def binding_conflicts(bindings: Iterable[Binding]) -> dict[str, tuple[str, ...]]:
    """Row name to the labels of the rows that share a key with it; only rows that share one."""
    rows = tuple(bindings)
    found: dict[str, tuple[str, ...]] = {}
    for row in rows:
        others = [r for r in rows if r is not row and r.ctrl == row.ctrl and not set(r.keys).isdisjoint(row.keys)]
        if others:
            found[row.name] = tuple(other.label for other in others)
    return found


def available_bindings(
    spec: ActionSpec, *, has_num_steps: bool = True, bindings: tuple[Binding, ...] = BINDINGS
) -> tuple[Binding, ...]:
    """The rows of `bindings` that have an effect in a world with this action spec.

    A reference world has no denoising steps (`has_num_steps=False`). Where the inputs are poses, the movement rows move
    the camera. Inputs without a row get one, as long as there are spare keys.
    """
    keys = key_spec(spec)
    rows = tuple(
        row
        for row in bindings
        if (not row.button or row.button in keys.buttons)
        and (not row.axis or row.axis in keys.axes)
        and (row.command is not Command.NUM_STEPS or has_num_steps)
    )
    if spec.pose_control is not None:
        labels = {} if spec.pose_control.has_collisions else _FREE_CAMERA_LABELS
        return tuple(replace(row, label=labels.get(row.button, row.label)) for row in rows)
    return rows + tuple(_spare_rows(spec, bindings))


def _spare_rows(spec: ActionSpec, bindings: tuple[Binding, ...]) -> Iterator[Binding]:
    known = {row.button or row.axis for row in bindings}
    taken = {key for row in bindings for key in row.keys}
    spare, pad_buttons, pad_axes = (
        iter([key for key in keys if key not in taken]) for keys in (SPARE_KEYS, SPARE_PAD_BUTTONS, SPARE_PAD_AXES)
    )
    wanted = [(name, "", 1.0) for name in spec.buttons] + [("", n, sign) for n in spec.axes for sign in (1.0, -1.0)]
    new = [(button, axis, amount) for button, axis, amount in wanted if (button or axis) not in known]
    for (button, axis, amount), key in zip(new, spare, strict=False):
        label = button or f"{axis} {'+' if amount > 0 else '-'}"
        keys = (key, *islice(pad_buttons if button else pad_axes, 1))
        yield Binding(keys=keys, label=label, button=button, axis=axis, amount=amount)
