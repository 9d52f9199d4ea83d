"""What is told while one plays: seen on the screen for a while, said once.

Owns: which message is still worth showing. Does not own: the words.
"""

from __future__ import annotations

from collections.abc import Callable

from worldsim.core.clock import Clock
from worldsim.engine.session import Session

NEWS_S = 4.0
"""How long a message stays."""


class News:
    """The session's, and whatever else is `tell`-ed. The latest one replaces all before it."""

    def __init__(self, session: Session, clock: Clock, say: Callable[[str], None]) -> None:
        self._session, self._clock, self._say = session, clock, say
        self._num_heard, self._until_ns = 0, 0
        self._text, self._has_told = "", False

    def tell(self, text: str) -> None:
        self._text, self._has_told = text, True
        self._until_ns = self._clock.now_ns() + round(NEWS_S * 1e9)
        self._say(text)

    def follow(self) -> bool:
        """Returns: whether there was something new since the last call."""
        if self._session.num_news != self._num_heard:
            self._num_heard = self._session.num_news
            self.tell(self._session.news)
        has_told, self._has_told = self._has_told, False
        return has_told

    @property
    def text(self) -> str:
        return self._text if self._clock.now_ns() < self._until_ns else ""
