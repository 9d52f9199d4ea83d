"""The key for recording, and what is said of it.

Owns: on, off, why it cannot be. Does not own: files (`episodes`), what is recorded (`engine.recorder`). UI thread.
"""

from __future__ import annotations

from worldsim.core.errors import WorldsimError
from worldsim.engine.recorder import new_recording_folder
from worldsim.engine.session import Session


class RecordingControl:
    def __init__(self, session: Session) -> None:
        self._session, self._error = session, ""

    def toggle(self) -> None:
        session = self._session
        if session.recorder.is_recording:
            session.recorder.stop()
            return
        self._error = ""
        if session.header is None:
            self._error = "this world cannot be recorded"
            return
        try:
            session.recorder.start(new_recording_folder(session.header.preset), session.header)
        except WorldsimError as error:
            self._error = f"{error.message}: {error.hint}"

    @property
    def line(self) -> str:
        """For the screen; empty when there is nothing to say."""
        self._session.recorder.report_state()
        return self._error or self._session.recorder.status_text
