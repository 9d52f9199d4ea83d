"""User errors: problems with input, files or the machine, each with a hint and an exit code.

Owns: the exception classes and their exit codes. Does not own: printing them (`worldsim.cli`, in one place).
Programming errors are assertions instead. The first line of each docstring is that exit code's row in the documentation
(`tools/regen_docs.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorldsimError(Exception):
    """User error.

    `message` says what was found and what was expected; `hint` says what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(WorldsimError):
    """Invalid command-line arguments."""

    exit_code = 2


class ConfigError(WorldsimError):
    """Invalid configuration file or value."""

    exit_code = 3


class PresetNotFoundError(WorldsimError):
    """Preset not found."""

    exit_code = 4


class PresetError(WorldsimError):
    """A preset is damaged: a file is missing, truncated, or does not match its config."""

    exit_code = 5


class PresetShapeError(PresetError):
    """A tensor or a start of a preset does not have the shape that its config requires."""

    exit_code = 14


class DisplayError(WorldsimError):
    """No display to open a window on."""

    exit_code = 6


class GraphicsError(WorldsimError):
    """No usable renderer."""

    exit_code = 7


class MissingPackageError(WorldsimError):
    """An optional package is not installed."""

    exit_code = 8


class NonFiniteError(WorldsimError):
    """NaN or infinity in a loss, a gradient or a state."""

    exit_code = 9


class WorldError(WorldsimError):
    """The reference world could not be started, or its engine failed."""

    exit_code = 10


class DeviceError(WorldsimError):
    """The requested device or dtype is not available."""

    exit_code = 11


class StorageError(WorldsimError):
    """A file could not be written (disk full, permissions)."""

    exit_code = 12


class StateError(WorldsimError):
    """A saved state is damaged or does not fit the model."""

    exit_code = 13


class RecordingError(WorldsimError):
    """A recorded session is missing, unfinished or damaged."""

    exit_code = 15


class ReplayError(WorldsimError):
    """A replay differs from its recording."""

    exit_code = 16


class HubError(WorldsimError):
    """Hub unreachable, request refused, or checksum mismatch."""

    exit_code = 17


class DistributedError(WorldsimError):
    """A distributed training process exited."""

    exit_code = 18


class ResultsError(WorldsimError):
    """A results file is missing, damaged, or of an unknown kind."""

    exit_code = 19


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the closest known one, otherwise all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names) if names else "there are none"


def one_line(error: object) -> str:
    """An exception's text for use inside another message: one line of at most 200 characters, never empty."""
    return " ".join(str(error).split())[:200] or type(error).__name__
