"""Keys and mouse motion between two model ticks, and the Action they amount to.

Owns: what is held, what was tapped, how far the mouse went. Does not own: events (`app.input_handler` calls `press` and
the rest) or the key table (`actions.bindings`). UI thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from worldsim.actions.bindings import MOUSE_X, Binding
from worldsim.core.types import Action

BUTTON_THRESHOLD = 0.5
"""A key that can be pressed by degrees counts as a button from this share on."""
DEAD_ZONE = 0.15
"""Share of a stick's way in the middle that counts as the middle, if nobody says another."""


class Inputs:
    """Held keys overwrite, mouse motion adds up, a tap between two ticks counts for one of them."""

    def __init__(self, bindings: Sequence[Binding] = ()) -> None:
        self.bindings: tuple[Binding, ...] = tuple(bindings)
        self._held: dict[str, float] = {}
        self._tapped: dict[str, float] = {}
        self._mouse_px = 0.0
        self._was_mouse_used = False

    @property
    def held(self) -> dict[str, float]:
        """Key to how far it is pressed, taps since the last tick included."""
        return self._tapped | self._held

    @property
    def is_mouse_moving(self) -> bool:
        return self._mouse_px != 0.0 or self._was_mouse_used

    def press(self, key: str, share: float = 1.0) -> None:
        """`share`: how far, in (0, 1], for a stick or a trigger; an axis moves by that much of its amount."""
        self._held[key] = share
        self._tapped[key] = max(share, self._tapped.get(key, 0.0))

    def release(self, key: str) -> None:
        self._held.pop(key, None)

    def move_mouse(self, dx_px: float) -> None:
        """Motion to the right is positive."""
        self._mouse_px += dx_px

    def release_all(self) -> None:
        """For a window that lost the focus: nothing is held any more, nothing is waiting."""
        self._held.clear()
        self.clear_taps()

    def clear_taps(self) -> None:
        """Forget taps and motion, so that what happened in a pause does not act after it."""
        self._tapped.clear()
        self._mouse_px = 0.0
        self._was_mouse_used = False

    def sample(self) -> Action:
        """The action of the tick that begins now. Side effects: taps and mouse motion start again from nothing."""
        action = self._action()
        was_mouse_used = self._mouse_px != 0.0
        self.clear_taps()
        self._was_mouse_used = was_mouse_used
        return action

    def expected(self) -> Action | None:
        """What `sample` will probably give at the next tick; None while the mouse moves, which nobody can foresee."""
        return None if self.is_mouse_moving else self._action()

    def _action(self) -> Action:
        shares = self.held
        buttons: set[str] = set()
        axes: dict[str, float] = {}
        for row in self.bindings:
            if row.axis and MOUSE_X in row.keys:
                axes[row.axis] = axes.get(row.axis, 0.0) + self._mouse_px * row.amount
            elif not row.ctrl:
                share = max((shares.get(key, 0.0) for key in row.keys), default=0.0)
                if row.button and share >= BUTTON_THRESHOLD:
                    buttons.add(row.button)
                if row.axis and share:
                    axes[row.axis] = axes.get(row.axis, 0.0) + row.amount * share
        clipped = tuple((name, min(1.0, max(-1.0, value))) for name, value in axes.items())
        return Action(buttons=frozenset(buttons), axes=clipped)
