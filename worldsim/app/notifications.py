"""What is told while one plays: seen on the screen for a while, said once.

Owns: which message is still worth showing. Does not own: the words.
"""

from __future__ import annotations

from collections.abc import Callable

from worldsim.core.clock import Clock
from worldsim.engine.session import Session

TOAST_DURATION_S = 4.0
"""How long a message stays."""


class Notifications:
    """The session's, and whatever else is posted. The latest one replaces all before it."""

    def __init__(self, session: Session, clock: Clock, say: Callable[[str], None]) -> None:
        self._session, self._clock, self._say = session, clock, say
        self._num_seen, self._until_ns = 0, 0
        self._text, self._has_new = "", False

    def post(self, text: str) -> None:
        self._text, self._has_new = text, True
        self._until_ns = self._clock.now_ns() + round(TOAST_DURATION_S * 1e9)
        self._say(text)

    def update(self) -> bool:
        """Returns: whether there was something new since the last call."""
        if self._session.num_notifications != self._num_seen:
            self._num_seen = self._session.num_notifications
            self.post(self._session.notification)
        has_new, self._has_new = self._has_new, False
        return has_new

    @property
    def text(self) -> str:
        return self._text if self._clock.now_ns() < self._until_ns else ""
