"""The keys of the world as they lie on a keyboard, those held now filled, and what came of them.

Owns: which caps there are, and where. Does not own: what they look like (`app.key_cap_painter`), what a key means
(`actions.bindings`). Units: the width of a letter's key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from worldsim.actions.bindings import MOUSE_X, Binding, key_label
from worldsim.app.hud import Anchor, Cap, Panel
from worldsim.core.types import Action
from worldsim.engine.inputs import Inputs

_ROWS = (("1234567890", 0.0), ("qwertyuiop", 0.5), ("asdfghjkl", 0.75), ("zxcvbnm", 1.25))
_PLACES = {
    letter: (column + shift, float(y)) for y, (row, shift) in enumerate(_ROWS) for column, letter in enumerate(row)
}
_ARROWS = {"up": (1.0, 0.0), "left": (0.0, 1.0), "down": (1.0, 1.0), "right": (2.0, 1.0)}
GAP = 0.5
WIDE = 2.0
"""Of a key whose name is a word."""
AXIS_STEPS = 20
"""An axis is drawn to so many steps on each side: a picture that hardly differs is not drawn again."""


class KeyOverlay:
    """Remembers the last panel: it is asked for at every drawing."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] = ()
        self._panel = Panel(Anchor.LOW_RIGHT, ())

    def panel(self, inputs: Inputs, action: Action) -> Panel:
        """`action`: the one of the last tick, for the axes."""
        of = (id(inputs.bindings), inputs.held, action.axes, inputs.is_mouse_moving)
        if of != self._of:
            self._of = of
            self._panel = keycaps(inputs.bindings, inputs.held, action, is_mouse_moving=inputs.is_mouse_moving)
        return self._panel


def keycaps(bindings: Sequence[Binding], held: Mapping[str, float], action: Action, *, is_mouse_moving: bool) -> Panel:
    """`held`: key to how far it is pressed. `action`: the one of the last tick, for the axes."""
    rows = [row for row in bindings if (row.button or row.axis) and not row.ctrl]
    keys = list(dict.fromkeys(key for row in rows for key in row.keys))
    letters = {key: _PLACES[key] for key in keys if key in _PLACES}
    arrows = {key: _ARROWS[key] for key in keys if key in _ARROWS}
    caps = _cluster(letters, held, 0.0)
    caps += _cluster(arrows, held, _right_of(caps))
    others = [key for key in keys if key not in letters and key not in arrows]
    shown = [key for key in others if not key.startswith("pad_") or key in held]
    y = _below(caps)
    x = 0.0
    for key in shown:
        fill = float(is_mouse_moving) if key == MOUSE_X else _tenths(held.get(key, 0.0))
        caps.append(Cap(label=key_label(key), x=x, y=y, width=WIDE, fill=(0.0, fill)))
        x += WIDE
    y = _below(caps)
    for axis in dict.fromkeys(row.axis for row in rows if row.axis):
        value = round(action.axis(axis) * AXIS_STEPS) / AXIS_STEPS
        caps.append(Cap(label=axis, x=0.0, y=y, width=_right_of(caps) - GAP, fill=_from_middle(value)))
        y += 1.0
    return Panel(Anchor.LOW_RIGHT, (), tuple(caps))


def _cluster(places: Mapping[str, tuple[float, float]], held: Mapping[str, float], x: float) -> list[Cap]:
    """Keys as they lie to each other, moved so that the outermost begin at `x` and at the top."""
    left = min((column for column, _ in places.values()), default=0.0)
    top = min((row for _, row in places.values()), default=0.0)
    return [
        Cap(label=_short(key), x=x + column - left, y=row - top, fill=(0.0, _tenths(held.get(key, 0.0))))
        for key, (column, row) in places.items()
    ]


def _short(key: str) -> str:
    return {"up": "^", "left": "<", "down": "v", "right": ">"}.get(key) or key_label(key)


def _tenths(share: float) -> float:
    return round(share, 1)


def _from_middle(value: float) -> tuple[float, float]:
    """An axis to the left is positive, as a turn is."""
    return (0.5 - value / 2, 0.5) if value > 0 else (0.5, 0.5 - value / 2)


def _right_of(caps: Iterable[Cap]) -> float:
    right = max((cap.x + cap.width for cap in caps), default=0.0)
    return right + GAP if right else 0.0


def _below(caps: Iterable[Cap]) -> float:
    return max((cap.y + 1.0 for cap in caps), default=0.0)
