"""Errors that are the user's or a file's fault, each with a hint and its own exit code.

Owns: the exception classes and their exit codes. Does not own: printing (`worldsim.cli` does, once, at the edge).
A programmer's mistake is an assertion, never one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorldsimError(Exception):
    """Something a person can put right.

    `message` says what was found and what was expected, `hint` what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(WorldsimError):
    """A command was called with arguments that do not fit."""

    exit_code = 2


class ConfigError(WorldsimError):
    """A configuration file or value is not valid."""

    exit_code = 3


class PresetNotFoundError(WorldsimError):
    """No preset of that name or at that place."""

    exit_code = 4


class PresetError(WorldsimError):
    """A preset is there, but damaged: a file is missing, truncated, or does not fit its config."""

    exit_code = 5


class PresetShapeError(PresetError):
    """A tensor or a start of a preset has another shape than its config asks for."""

    exit_code = 14


class DisplayError(WorldsimError):
    """No screen to open a window on."""

    exit_code = 6


class GraphicsError(WorldsimError):
    """There is a screen, but nothing on it can be drawn with."""

    exit_code = 7


class MissingPackageError(WorldsimError):
    """An optional package is not installed."""

    exit_code = 8


class NonFiniteError(WorldsimError):
    """NaN or infinity where numbers were expected (a loss, a gradient, a state)."""

    exit_code = 9


class WorldError(WorldsimError):
    """A true world could not be started, or its engine failed."""

    exit_code = 10


class DeviceError(WorldsimError):
    """The asked-for device or dtype cannot be had."""

    exit_code = 11


class StorageError(WorldsimError):
    """A file could not be written (disk full, permission)."""

    exit_code = 12


class StateError(WorldsimError):
    """A saved state does not fit the model that is asked to restore it."""

    exit_code = 13


class RecordingError(WorldsimError):
    """A recorded session is damaged, unfinished, or not there."""

    exit_code = 15


class ReplayError(WorldsimError):
    """A replay came out different from its recording."""

    exit_code = 16


class HubError(WorldsimError):
    """The Hub cannot be reached, refuses, or does not keep its word."""

    exit_code = 17


class DistributedError(WorldsimError):
    """One of the processes that train together is gone."""

    exit_code = 18


class ResultsError(WorldsimError):
    """A file of kept results is damaged, of an unknown kind, or not there."""

    exit_code = 19


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names what `name` was probably meant to be, or lists what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names) if names else "there are none"
