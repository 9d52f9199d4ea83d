"""Command-line arguments: parsing, subcommands, and the options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import tyro
from tyro.extras import SubcommandApp

from worldsim.core.errors import UsageError, did_you_mean

T = TypeVar("T")

RENAMED_FLAGS = {
    "--cooldown-updates": "--decay-steps",
    "--eager": "--no-compile",
    "--kind": "--format",
    "--pictures": "--num-frames",
    "--prefetch": "--max-prefetch",
    "--rate": "--fps",
    "--sheet": "--contact-sheet",
    "--updates": "--steps",
    "--world": "--reference",
    "--world-share": "--world-fraction",
}
"""Former spelling to the one in the help. Both are accepted; tyro's own aliases would show both in every help text."""

_TYRO_CONFIG = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)


def option(metavar: str | None = None, help: str | None = None) -> Any:
    """Metadata of an option. Unlike in tyro, the help omits the defaults None and False, and writes 20 for 20.0."""
    return tyro.conf.arg(
        metavar=metavar,
        help=help,
        help_behavior_hint=lambda default: (
            "" if default in ("None", "False", "") else f"(default: {default.removesuffix('.0')})"
        ),
    )


def _positional(metavar: str, help: str) -> Any:
    return tyro.conf.arg(metavar=metavar, help=help, help_behavior_hint="")


Flag: TypeAlias = Annotated[bool, option()]
_PRESET_HELP = "Bundled name, preset folder, or user/repo[@revision] on the Hub."
PresetArgument: TypeAlias = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PRESET", help=_PRESET_HELP)]]
_OPTIONAL_PRESET = _positional("[PRESET]", f"{_PRESET_HELP} Without it, the title screen opens.")
OptionalPresetArgument: TypeAlias = tyro.conf.Positional[Annotated[str | None, _OPTIONAL_PRESET]]
SessionArgument: TypeAlias = tyro.conf.Positional[
    Annotated[Path, tyro.conf.arg(metavar="DIR", help="Folder of a recorded session.")]
]
DeviceOption: TypeAlias = Annotated[str, option("DEVICE", "auto, cpu, cuda or mps.")]
StepsOption: TypeAlias = Annotated[int | None, option("K", "Denoising steps per frame (default: set by the preset).")]
ThreadsOption: TypeAlias = Annotated[int | None, option("N", "Number of CPU threads (default: set by the preset).")]
JsonOption: TypeAlias = Annotated[str | None, option("FILE", "Write results to FILE as JSON (-: standard output).")]
RecordOption: TypeAlias = Annotated[Path | None, option("DIR", "Record the session to DIR, a new folder.")]
LosslessOption: TypeAlias = Annotated[
    bool, option(help="Record lossless frames at native resolution, for training data.")
]
LoadOption: TypeAlias = Annotated[Path | None, option("FILE", "Start from a saved state (F5 in play).")]
_OFFLINE_HELP = "Use local files only, without network access (same as HF_HUB_OFFLINE=1)."
OfflineOption: TypeAlias = Annotated[bool, option(help=_OFFLINE_HELP)]
WindowOption: TypeAlias = Annotated[
    str | None, option("WxH", "Window size in pixels, such as 960x720 (default: fit to screen).")
]
ProgressOption: TypeAlias = Annotated[
    str | None, option("FILE", "Write progress to FILE as JSON lines, at least twice a second.")
]


def parse_arguments(cls: type[T], argv: Sequence[str], *, command: str) -> T:
    """Parses `argv` into `cls`, a frozen dataclass whose docstrings are the help.

    Raises: SystemExit after printing: 0 for --help, 2 for invalid arguments. Side effects: see `_apply_offline`.
    """
    program = f"worldsim {command}"
    return _apply_offline(tyro.cli(cls, args=current_spelling(argv), prog=program, config=_TYRO_CONFIG))


def parse_subcommand(subcommands: Mapping[str, type[T]], argv: Sequence[str], *, command: str, help: str) -> T:
    """An instance of the chosen subcommand's dataclass.

    Raises: UsageError for an unknown subcommand; otherwise as `parse_arguments`, with 2 when none is given.
    """
    if argv and not argv[0].startswith("-") and argv[0] not in subcommands:
        raise UsageError(f"no subcommand {argv[0]!r} of {command}", hint=did_you_mean(argv[0], subcommands))
    app = SubcommandApp()
    for name, cls in subcommands.items():
        # The list of subcommands has the first line of each docstring, a subcommand's own help all of it.
        summary = None if name in argv[:1] else str(cls.__doc__).partition("\n")[0]
        app.command(name=name, help=summary)(cls)
    arguments = current_spelling(argv) or ["--help"]
    try:
        parsed = app.cli(prog=f"worldsim {command}", description=help, args=arguments, config=_TYRO_CONFIG)
    except SystemExit as end:
        raise (end if argv else SystemExit(UsageError.exit_code)) from None
    return _apply_offline(parsed)


def current_spelling(argv: Sequence[str]) -> list[str]:
    """`argv` with former flags replaced, also in the forms --flag=value and --long_flag."""

    def replace(argument: str) -> str:
        flag, equals, value = argument.partition("=")
        return RENAMED_FLAGS.get(flag.replace("_", "-"), flag) + equals + value

    return [replace(argument) if argument.startswith("--") else argument for argument in argv]


def _apply_offline(arguments: T) -> T:
    """Side effects: `--offline` sets HF_HUB_OFFLINE, which the Hub's client reads when it is first imported."""
    if getattr(arguments, "offline", False):
        os.environ["HF_HUB_OFFLINE"] = "1"
    return arguments


def check_at_least(value: int | None, least: int, option: str) -> None:
    """Raises: UsageError if an option's value is below `least`. None, an option that was not given, passes."""
    if value is not None and value < least:
        raise UsageError(f"{option} is {value}", hint=f"at least {least}")


def parse_size(text: str | None, flag: str) -> tuple[int, int] | None:
    """Width and height in pixels, from "960x720". Raises: UsageError."""
    if text is None:
        return None
    size = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if size is None:
        raise UsageError(f"{flag} is {text!r}", hint="WIDTHxHEIGHT in pixels, for example 960x720")
    return int(size[1]), int(size[2])
