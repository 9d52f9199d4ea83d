"""THE key table: which physical key does what. Help overlay, README table and input handling all come from it.

Owns: the rows, a person's own keys in their place, and their rendering as help. Does not own: how a window reports keys
(`app.input_handler` maps these names to scancodes, `app.gamepad` to a gamepad's buttons and sticks), where a person's
keys are kept (`app.settings`). Keys are physical positions named by what a US keyboard prints there, so that WASD is in
the same place on every layout. A gamepad's are "pad_" and SDL's name of the button, or of the axis with the direction:
"pad_a", "pad_leftx-"; they are keys like any other, and on an axis they count as far as they are moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice

from worldsim.actions.pose_control import key_spec
from worldsim.core.types import ActionSpec

MOUSE_X = "mouse_x"
"""The pseudo-key of sideways mouse motion."""
PAD = "pad_"
"""How the names of a gamepad's keys begin."""


class Command(Enum):
    """What a key can ask of the program, rather than of the world."""

    RESET = "reset"
    NEXT_SEED = "other start"
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
    VIEW_MODE = "worlds"
    AUTOPILOT = "autopilot"
    MEMORY = "memory"
    RESET_CONTEXT = "anchor"
    HELP = "help"
    STATUS = "status"
    RECORD = "record"
    FILTER = "filter"
    SCREENSHOT = "screenshot"
    KEY_OVERLAY = "keys"
    FULL_SCREEN = "full screen"
    QUIT = "quit"


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One row: any of `keys` holds `button`, or moves `axis` by `amount`, or gives `command` with `argument`."""

    keys: tuple[str, ...]
    label: str
    """Help text. Rows with the same text are one row of the help."""
    button: str = ""
    axis: str = ""
    amount: float = 1.0
    """Of the axis: its value while a key is held; per pixel for the mouse."""
    command: Command | None = None
    argument: int = 0
    ctrl: bool = False
    """Only together with Ctrl."""
    is_hold: bool = False
    """The command is given with argument 1 when the key goes down, and with 0 when it comes up."""

    @property
    def name(self) -> str:
        """What the row does, for files: "forward", "turn +", "speed -1". No two rows of the table have the same."""
        if self.command is not None:
            return f"{self.command.value} {self.argument:+d}" if self.argument else self.command.value
        sideways = "mouse" if MOUSE_X in self.keys else "+" if self.amount > 0 else "-"
        return self.button or f"{self.axis} {sideways}"

    @property
    def is_fixed(self) -> bool:
        """Whether it keeps its keys: the mouse, and the way to the menu, out of which nobody shall lock himself."""
        return MOUSE_X in self.keys or self.command is Command.ESCAPE


@dataclass(frozen=True, kw_only=True)
class KeyOverride:
    """The keys that a person wants for the row `name`, in place of the table's."""

    name: str
    keys: tuple[str, ...]


_POSE_CONTROL_LABELS = {
    "forward": "fly forward, through walls too",
    "back": "fly back",
    "left": "fly to the left",
    "right": "fly to the right",
}
"""What the buttons of walking do where the inputs are poses."""
_NUM_STEPS_LABEL = "1, 2, 4 or 8 denoising steps per frame"
_SPEED_LABEL = "slower, faster: 0.25 to 4 times"
_BRANCH_LABEL = "the branch of play before, after this one"

BINDINGS: tuple[Binding, ...] = (
    Binding(keys=("w", "up", "pad_lefty-"), label="walk forward", button="forward"),
    Binding(keys=("s", "down", "pad_lefty+"), label="walk back", button="back"),
    Binding(keys=("a", "pad_leftx-"), label="step left", button="left"),
    Binding(keys=("d", "pad_leftx+"), label="step right", button="right"),
    Binding(keys=("left", "q", "pad_rightx-"), label="turn left", axis="turn", amount=1.0),
    Binding(keys=("right", "e", "pad_rightx+"), label="turn right", axis="turn", amount=-1.0),
    Binding(
        keys=(MOUSE_X,), label="look round (click to capture the mouse, Esc frees it)", axis="turn", amount=-1 / 60
    ),
    Binding(keys=("r", "pad_y"), label="reset: the same start again", command=Command.RESET),
    Binding(keys=("t",), label="another start", command=Command.NEXT_SEED),
    Binding(keys=("p", "pad_x"), label="pause, go on", command=Command.PAUSE),
    Binding(keys=("escape", "pad_start"), label="free the mouse; if it is free: the menu", command=Command.ESCAPE),
    Binding(keys=("n", "period"), label="one single step (pauses)", command=Command.SINGLE_STEP),
    Binding(keys=("minus", "pad_dpad_down"), label=_SPEED_LABEL, command=Command.SPEED, argument=-1),
    Binding(keys=("equals", "pad_dpad_up"), label=_SPEED_LABEL, command=Command.SPEED, argument=1),
    Binding(
        keys=("backspace", "pad_triggerleft+"),
        label="hold: rewind; play goes on from there",
        command=Command.REWIND,
        is_hold=True,
    ),
    Binding(keys=("leftbracket", "pad_dpad_left"), label=_BRANCH_LABEL, command=Command.BRANCH, argument=-1),
    Binding(keys=("rightbracket", "pad_dpad_right"), label=_BRANCH_LABEL, command=Command.BRANCH, argument=1),
    Binding(keys=("tab",), label="the branches that rewinding has left", command=Command.BRANCHES),
    Binding(keys=("f5", "pad_leftshoulder"), label="quick-save", command=Command.SAVE),
    Binding(keys=("f6",), label="the slots for it, the next slot", command=Command.SLOT),
    Binding(keys=("f7", "pad_back"), label="quick-load", command=Command.LOAD),
    Binding(keys=("1",), label=_NUM_STEPS_LABEL, command=Command.NUM_STEPS, argument=1),
    Binding(keys=("2",), label=_NUM_STEPS_LABEL, command=Command.NUM_STEPS, argument=2),
    Binding(keys=("3",), label=_NUM_STEPS_LABEL, command=Command.NUM_STEPS, argument=4),
    Binding(keys=("4",), label=_NUM_STEPS_LABEL, command=Command.NUM_STEPS, argument=8),
    Binding(keys=("v",), label="worlds: learned, true beside it, true, difference", command=Command.VIEW_MODE),
    Binding(keys=("g",), label="autopilot; it or any key of play takes control back", command=Command.AUTOPILOT),
    Binding(keys=("m",), label="memory: looks back, drift, map of the path", command=Command.MEMORY),
    Binding(keys=("b",), label="bring a drifted world back", command=Command.RESET_CONTEXT),
    Binding(keys=("f1", "pad_rightstick"), label="this help", command=Command.HELP),
    Binding(keys=("f3",), label="status: line, detail, performance, off", command=Command.STATUS),
    Binding(keys=("f4",), label="picture: sharp, smooth, nearest", command=Command.FILTER),
    Binding(keys=("f2",), label="the keys that are held", command=Command.KEY_OVERLAY),
    Binding(keys=("f12",), label="screenshot, into the pictures folder", command=Command.SCREENSHOT),
    Binding(keys=("f9",), label="start and stop recording", command=Command.RECORD),
    Binding(keys=("f11",), label="full screen", command=Command.FULL_SCREEN),
    Binding(keys=("q",), ctrl=True, label="quit", command=Command.QUIT),
)

SPARE_KEYS = ("space", *"fcxzhjkluio")
"""For the inputs of worlds that the table does not know (a game of one's own): each gets the next ones."""
SPARE_PAD_BUTTONS = ("pad_a", "pad_b", "pad_rightshoulder", "pad_triggerright+", "pad_leftstick")
SPARE_PAD_AXES = ("pad_righty-", "pad_righty+")

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
    "pad_leftstick": "Left stick pressed",
    "pad_rightstick": "Right stick pressed",
    "pad_triggerleft+": "Left trigger",
    "pad_triggerright+": "Right trigger",
    **{f"pad_dpad_{way}": f"D-pad {way}" for way in ("up", "down", "left", "right")},
    **{
        f"pad_{side}{direction}": f"{side.capitalize()} stick {way}"
        for side in ("left", "right")
        for direction, way in (("x-", "left"), ("x+", "right"), ("y-", "up"), ("y+", "down"))
    },
}


def apply_overrides(own_keys: Iterable[KeyOverride], *, mouse_sensitivity: float = 1.0) -> tuple[Binding, ...]:
    """The table with a person's own keys. Names that no row has are passed over: they may be a later worldsim's."""
    keys_of = {own.name: own.keys for own in own_keys}
    return tuple(_apply_override(row, keys_of.get(row.name, row.keys), mouse_sensitivity) for row in BINDINGS)


def _apply_override(row: Binding, keys: tuple[str, ...], mouse_sensitivity: float) -> Binding:
    if MOUSE_X in row.keys:
        return replace(row, amount=row.amount * mouse_sensitivity)
    return row if row.is_fixed else replace(row, keys=keys)


def binding_conflicts(bindings: Iterable[Binding]) -> dict[str, tuple[str, ...]]:
    """Row name to what else its keys do; only rows that share a key with another."""
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
    """The rows of `bindings` that do something in a world with this action spec.

    A true world has no denoising steps (`has_num_steps=False`). Where the inputs are poses, the rows that walk fly the
    camera. An input that no row knows gets a row of its own, as long as there are spare keys.
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
        return tuple(replace(row, label=_POSE_CONTROL_LABELS.get(row.button, row.label)) for row in rows)
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


def help_rows(bindings: tuple[Binding, ...] = BINDINGS, *, has_pad: bool = True) -> list[tuple[str, str]]:
    """(keys, what they do), in the table's order; rows with the same text become one. `has_pad`: a gamepad's too,
    after those of the keyboard."""
    keys_of: dict[str, list[str]] = {row.label: [] for row in bindings}
    for is_pad in (False, True)[: 1 + has_pad]:
        for row in bindings:
            keys = [key for key in row.keys if key.startswith(PAD) is is_pad]
            keys_of[row.label] += [key_label(key, row.ctrl) for key in keys]
    return [(" / ".join(keys), what) for what, keys in keys_of.items() if keys]


def key_for(command: Command, argument: int | None = None, bindings: tuple[Binding, ...] = BINDINGS) -> str:
    """What is printed on the first key that gives `command` (with `argument`), for texts that name it."""
    row = next(row for row in bindings if row.command is command and argument in (None, row.argument))
    return key_label(row.keys[0], row.ctrl) if row.keys else "no key"


def key_label(key: str, ctrl: bool = False) -> str:
    """What is printed on a key."""
    return ("Ctrl+" if ctrl else "") + _KEY_LABELS.get(key, key.upper().replace(PAD.upper(), "Pad "))
