"""The key overlay: the keys of the world laid out as on a keyboard, held ones filled, and the values of the axes.

Pure: `app.text_renderer` paints the caps. Units: the width of a letter key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from worldsim.actions.bindings import MOUSE_X, Binding
from worldsim.app.hud import KeyCap, Panel, Placement
from worldsim.app.key_labels import key_label
from worldsim.core.types import Action
from worldsim.engine.inputs import Inputs

_KEY_ROWS = (("1234567890", 0.0), ("qwertyuiop", 0.5), ("asdfghjkl", 0.75), ("zxcvbnm", 1.25))
_KEY_POSITIONS = {
    letter: (column + shift, float(y)) for y, (row, shift) in enumerate(_KEY_ROWS) for column, letter in enumerate(row)
}
_ARROW_POSITIONS = {"up": (1.0, 0.0), "left": (0.0, 1.0), "down": (1.0, 1.0), "right": (2.0, 1.0)}
CLUSTER_GAP = 0.5
WIDE_KEY = 2.0
"""Width of keys that are labeled with a word."""
AXIS_STEPS = 20
"""Resolution of a drawn axis, per direction: an almost unchanged panel is not rendered again."""


class KeyOverlay:
    """Caches the last panel, which is needed at every draw."""

    def __init__(self) -> None:
        self._cache_key: tuple[object, ...] = ()
        self._panel = Panel(Placement.LOWER_RIGHT, ())

    def panel(self, inputs: Inputs, action: Action) -> Panel:
        """`action`: of the last tick, for the axes."""
        cache_key = (id(inputs.bindings), inputs.held, action.axes, inputs.is_mouse_moving)
        if cache_key != self._cache_key:
            self._cache_key = cache_key
            self._panel = key_overlay_panel(
                inputs.bindings, inputs.held, action, is_mouse_moving=inputs.is_mouse_moving
            )
        return self._panel


def key_overlay_panel(
    bindings: Sequence[Binding], held: Mapping[str, float], action: Action, *, is_mouse_moving: bool
) -> Panel:
    """`held`: key to how far it is pressed. `action`: of the last tick, for the axes."""
    rows = [row for row in bindings if (row.button or row.axis) and not row.ctrl]
    keys = list(dict.fromkeys(key for row in rows for key in row.keys))
    letters = {key: _KEY_POSITIONS[key] for key in keys if key in _KEY_POSITIONS}
    arrows = {key: _ARROW_POSITIONS[key] for key in keys if key in _ARROW_POSITIONS}
    caps = _cluster(letters, held, 0.0)
    caps += _cluster(arrows, held, _right_edge(caps))
    others = [key for key in keys if key not in letters and key not in arrows]
    shown = [key for key in others if not key.startswith("pad_") or key in held]
    y = _bottom_edge(caps)
    x = 0.0
    for key in shown:
        fill = float(is_mouse_moving) if key == MOUSE_X else _round_to_tenth(held.get(key, 0.0))
        caps.append(KeyCap(label=key_label(key), x=x, y=y, width=WIDE_KEY, fill=(0.0, fill)))
        x += WIDE_KEY
    y = _bottom_edge(caps)
    for axis in dict.fromkeys(row.axis for row in rows if row.axis):
        value = round(action.axis(axis) * AXIS_STEPS) / AXIS_STEPS
        caps.append(KeyCap(label=axis, x=0.0, y=y, width=_right_edge(caps) - CLUSTER_GAP, fill=_axis_fill(value)))
        y += 1.0
    return Panel(Placement.LOWER_RIGHT, (), tuple(caps))


def _cluster(positions: Mapping[str, tuple[float, float]], held: Mapping[str, float], x: float) -> list[KeyCap]:
    """Keys in their relative positions, starting at `x` and at the top."""
    left = min((column for column, _ in positions.values()), default=0.0)
    top = min((row for _, row in positions.values()), default=0.0)
    return [
        KeyCap(
            label=_short_label(key), x=x + column - left, y=row - top, fill=(0.0, _round_to_tenth(held.get(key, 0.0)))
        )
        for key, (column, row) in positions.items()
    ]


def _short_label(key: str) -> str:
    return {"up": "^", "left": "<", "down": "v", "right": ">"}.get(key) or key_label(key)


def _round_to_tenth(fraction: float) -> float:
    return round(fraction, 1)


def _axis_fill(value: float) -> tuple[float, float]:
    """Positive values extend to the left, as a turn does."""
    return (0.5 - value / 2, 0.5) if value > 0 else (0.5, 0.5 - value / 2)


def _right_edge(caps: Iterable[KeyCap]) -> float:
    right = max((cap.x + cap.width for cap in caps), default=0.0)
    return right + CLUSTER_GAP if right else 0.0


def _bottom_edge(caps: Iterable[KeyCap]) -> float:
    return max((cap.y + 1.0 for cap in caps), default=0.0)
