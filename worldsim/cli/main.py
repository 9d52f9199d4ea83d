"""`worldsim COMMAND ...`: runs the command's module; a WorldsimError becomes two lines on stderr and an exit code.

Owns: the table of commands, and how errors and log records look on stderr. Does not own: any command's arguments.
Modules log through `logging.getLogger(__name__)`; only a program calls `setup_logging`. Library users see what they
configure themselves: by default warnings, no progress.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType

import worldsim
from worldsim.core.errors import UsageError, WorldsimError, did_you_mean

COMMANDS: dict[str, str] = {
    "play": "Play a preset in a window.",
    "rollout": "Generate a video from a scripted action sequence. Needs no display.",
    "sessions": "List, show, open, export, repair, remove and push recordings.",
    "replay": "Re-run a recording, in the window or as a bit-exactness check.",
    "eval": "Score a preset against its reference world or recordings.",
    "cost": "Compare training and inference cost of the architectures.",
    "report": "Build an HTML report from evaluation results.",
    "bench": "Benchmark generation, input latency, long sessions and training.",
    "doctor": "Show what this machine can run, and how fast.",
    "data": "Import, export and validate recordings of games.",
    "train": "Train a preset. Resumes automatically.",
    "presets": "List, search, download, verify and upload presets.",
}
"""Command to its one-line summary, in the order of the help. `worldsim.cli.NAME` has `run(argv) -> int`."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, the shell's convention."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns: the exit code; 0 only if the command succeeded."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    setup_logging()
    try:
        return _dispatch(arguments)
    except WorldsimError as error:
        print(f"error: {_one_line(error.message)}", file=sys.stderr)
        if error.hint:
            print(f"hint: {_one_line(error.hint)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe exited (`worldsim ... | head`). Without this the interpreter's last flush fails, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def command_module(name: str) -> ModuleType:
    return importlib.import_module(f"worldsim.cli.{name}")


def help_text() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: worldsim [-h] [--version] COMMAND ...",
            "",
            "Play a neural world on your own computer.",
            "",
            "commands:",
            *rows,
            "",
            "options:",
            "  -h, --help     Show this help message and exit.",
            "  -V, --version  Show the version and exit.",
            "",
            "Run `worldsim COMMAND --help` for the options of a command.",
        ]
    )


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0 if arguments else UsageError.exit_code
    if arguments[0] in ("-V", "--version"):
        print(f"worldsim {worldsim.__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        raise UsageError(f"no command {arguments[0]!r}", hint=did_you_mean(arguments[0], COMMANDS))
    code = command_module(arguments[0]).run(arguments[1:])
    assert isinstance(code, int), f"{arguments[0]} returned {code!r}"
    return code


def _one_line(text: str) -> str:
    return " ".join(text.split())


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
    logger = logging.getLogger("worldsim")
    logger.setLevel(level)
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())
