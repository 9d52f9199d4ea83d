"""`worldsim COMMAND ...`: finds the command's module, runs it, turns a WorldsimError into two lines and an exit code.

Owns: the table of commands and the edge at which errors become text. Does not own: any command's arguments.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

import worldsim
from worldsim.core.errors import UsageError, WorldsimError, did_you_mean

COMMANDS: dict[str, str] = {
    "play": "worldsim.cli.play",
    "rollout": "worldsim.cli.rollout",
    "sessions": "worldsim.cli.sessions",
    "replay": "worldsim.cli.replay",
    "eval": "worldsim.cli.eval",
    "cost": "worldsim.cli.cost",
    "report": "worldsim.cli.report",
    "bench": "worldsim.cli.bench",
    "doctor": "worldsim.cli.doctor",
    "data": "worldsim.cli.data",
    "train": "worldsim.cli.train",
    "presets": "worldsim.cli.presets",
}
"""Command to module, in the order in which help shows them. Each module has `HELP: str` and `run(argv) -> int`."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns: the exit code; 0 only when the command did its work."""
    arguments = list(sys.argv[1:] if argv is None else argv)
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
        # The reader of a pipe went away (`worldsim ... | head`): nothing is left to say, not even at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def command_module(name: str) -> ModuleType:
    return importlib.import_module(COMMANDS[name])


def help_text() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {command_module(name).HELP}" for name in COMMANDS]
    return "\n".join(
        [
            "usage: worldsim COMMAND [arguments]",
            "",
            str(worldsim.__doc__).split(": ", 1)[1].strip(),
            "",
            "commands:",
            *rows,
            "",
            "worldsim COMMAND --help says what a command takes; worldsim --version which worldsim this is.",
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
