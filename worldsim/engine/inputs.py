"""Keys and mouse motion between two model ticks, and the Action that results. UI thread.

`app.input_handler` turns events into calls of `press` and the others; `actions.bindings` has the key table.
"""

from __future__ import annotations

from collections.abc import Sequence

from worldsim.actions.bindings import MOUSE_X, Binding
from worldsim.core.types import Action

BUTTON_THRESHOLD = 0.5
"""Fraction from which an analog key counts as a pressed button."""
DEAD_ZONE = 0.15
"""Default dead zone of a stick, as a fraction of its travel."""


class Inputs:
    """Held keys overwrite, mouse motion adds up, and a tap between two ticks counts for one tick."""

    def __init__(self, bindings: Sequence[Binding] = ()) -> None:
        self.bindings: tuple[Binding, ...] = tuple(bindings)
        self._held: dict[str, float] = {}
        self._tapped: dict[str, float] = {}
        self._mouse_px = 0.0
        self._was_mouse_used = False

    @property
    def held(self) -> dict[str, float]:
        """Key to the fraction it is pressed, including taps since the last tick."""
        return self._tapped | self._held

    @property
    def is_mouse_moving(self) -> bool:
        return self._mouse_px != 0.0 or self._was_mouse_used

    def press(self, key: str, fraction: float = 1.0) -> None:
        """`fraction`: how far a stick or a trigger is pressed, in (0, 1]; it scales the amount of an axis."""
        self._held[key] = fraction
        self._tapped[key] = max(fraction, self._tapped.get(key, 0.0))

    def release(self, key: str) -> None:
        self._held.pop(key, None)

    def move_mouse(self, dx_px: float) -> None:
        """Motion to the right is positive."""
        self._mouse_px += dx_px

    def release_all(self) -> None:
        """Releases every key and forgets taps: for a window that lost the focus."""
        self._held.clear()
        self.clear_taps()

    def clear_taps(self) -> None:
        """Forgets taps and mouse motion, so that input during a pause has no effect after it."""
        self._tapped.clear()
        self._mouse_px = 0.0
        self._was_mouse_used = False

    def sample(self) -> Action:
        """The action of the tick that begins now. Side effects: clears taps and mouse motion."""
        action = self._action()
        was_mouse_used = self._mouse_px != 0.0
        self.clear_taps()
        self._was_mouse_used = was_mouse_used
        return action

    def expected(self) -> Action | None:
        """Prediction of `sample` at the next tick; None while the mouse moves, which cannot be predicted."""
        return None if self.is_mouse_moving else self._action()

    def _action(self) -> Action:
        held = self.held
        buttons: set[str] = set()
        axes: dict[str, float] = {}
        for row in self.bindings:
            if row.axis and MOUSE_X in row.keys:
                axes[row.axis] = axes.get(row.axis, 0.0) + self._mouse_px * row.amount
            elif not row.ctrl:
                fraction = max((held.get(key, 0.0) for key in row.keys), default=0.0)
                if row.button and fraction >= BUTTON_THRESHOLD:
                    buttons.add(row.button)
                if row.axis and fraction:
                    axes[row.axis] = axes.get(row.axis, 0.0) + row.amount * fraction
        clipped = tuple((name, min(1.0, max(-1.0, value))) for name, value in axes.items())
        return Action(buttons=frozenset(buttons), axes=clipped)
