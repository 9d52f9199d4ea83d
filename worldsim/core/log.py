"""Logging: the `worldsim` loggers, and how a command prints their records on stderr.

Modules log through `logging.getLogger(__name__)`; only a program calls `setup_logging`. Library users see what they
configure themselves: by default warnings, no progress.
"""

from __future__ import annotations

import logging
import sys

_logger = logging.getLogger("worldsim")


class _StderrHandler(logging.Handler):
    """One line per record, "worldsim: " in front, so that it can be told apart in the output of a script.

    rich's handler wraps lines at 80 columns where stderr is a pipe, in the middle of paths. `sys.stderr` is looked up
    for every record: a progress bar replaces it while it is drawn, so that lines appear above the bar.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
            print(f"worldsim: {level}{record.getMessage()}", file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def setup_logging(level: int = logging.INFO) -> None:
    """Side effects: prints the records of all `worldsim` loggers on stderr. Calling it again changes the level only."""
    _logger.setLevel(level)
    if not any(isinstance(handler, _StderrHandler) for handler in _logger.handlers):
        _logger.addHandler(_StderrHandler())
