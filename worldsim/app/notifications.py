"""The lines above the status line: notifications, time control, recording. Pure; UI thread."""

from __future__ import annotations

import logging

from worldsim.core.clock import Clock
from worldsim.core.errors import WorldsimError
from worldsim.engine.recorder import new_recording_folder
from worldsim.engine.session import Session, SessionState

_log = logging.getLogger(__name__)

TOAST_DURATION_S = 4.0


class Notifications:
    """The latest message, from the session or from `post`; each is logged once and shown for some seconds."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._clock, self._until_ns = clock, 0
        self._text, self._has_new = "", False
        session.on_notify = self.post

    def post(self, text: str) -> None:
        self._text, self._has_new = text, True
        self._until_ns = self._clock.now_ns() + round(TOAST_DURATION_S * 1e9)
        _log.info(text)

    def update(self) -> bool:
        """Returns: whether a message arrived since the last call."""
        has_new, self._has_new = self._has_new, False
        return has_new

    @property
    def text(self) -> str:
        return self._text if self._clock.now_ns() < self._until_ns else ""


class RecordingControl:
    """Starts and stops recording, and keeps the reason why it could not start."""

    def __init__(self, session: Session) -> None:
        self._session, self._error = session, ""

    def toggle(self) -> None:
        session = self._session
        if session.recorder.is_recording:
            session.recorder.stop()
            return
        self._error = ""
        if session.header is None:
            self._error = "recording is not available in this world"
            return
        try:
            session.recorder.start(new_recording_folder(session.header.preset), session.header)
        except WorldsimError as error:
            self._error = f"{error.message}: {error.hint}"

    @property
    def line(self) -> str:
        """Empty when there is nothing to show."""
        self._session.recorder.report_state()
        return self._error or self._session.recorder.status_text


def time_line(session: Session) -> str:
    """Rewind, speed and branch; empty during normal play."""
    parts = []
    if session.state is SessionState.REWINDING:
        parts.append(f"rewinding: {session.rewound_s:.1f} s back")
    if session.speed != 1.0:
        parts.append(f"speed {session.speed:g}x")
    history = session.history
    if history is not None and history.head is not None and len(history.branches) > 1:
        parts.append(f"branch {history.head.branch}")
    return "   ".join(parts)
