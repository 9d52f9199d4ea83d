"""Commands that have actions of their own (`worldsim presets pull ...`): choosing one, its help, its answer.

Owns: the dispatch and how an answer is printed. Does not own: any action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from worldsim.cli.arguments import parse_arguments
from worldsim.cli.output import print_result
from worldsim.core.errors import UsageError, WorldsimError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What an action says, to people and to machines; and what it ends in, once both have been told."""

    text: str
    data: dict[str, Any]
    error: WorldsimError | None = None


Subcommands: TypeAlias = Mapping[str, tuple[type[Any], Callable[[Any], CommandResult], str]]
"""Name to the class of its arguments (which has `json`), the action, and its line of help."""


def run_subcommand(command: str, help: str, subcommands: Subcommands, argv: Sequence[str]) -> int:
    """Returns: 0. Raises: UsageError for an action that is not there, and whatever the action raises or answers."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage(command, help, subcommands))
        raise SystemExit(0 if argv else UsageError.exit_code)
    if argv[0] not in subcommands:
        raise UsageError(f"no action {argv[0]!r} of {command}", hint=did_you_mean(argv[0], subcommands))
    arguments_class, function, about = subcommands[argv[0]]
    arguments = parse_arguments(arguments_class, argv[1:], command=f"{command} {argv[0]}", help=about)
    result = function(arguments)
    print_result(result.text, result.data, arguments.json)
    if result.error is not None:
        raise result.error
    return 0


def text_table(rows: Iterable[Sequence[str]]) -> str:
    """Columns side by side, each as wide as its widest cell."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _usage(command: str, help: str, subcommands: Subcommands) -> str:
    rows = text_table((f"  {name}", about) for name, (_, _, about) in subcommands.items())
    last = "Each has --help, and --json FILE to write the results as JSON; - is standard output."
    return f"usage: worldsim {command} ACTION [arguments]\n\n{help}\n\nactions:\n{rows}\n\n{last}"
