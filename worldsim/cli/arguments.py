"""Arguments that commands share, and their parsing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import tyro

from worldsim.core.devices import choose_device as choose_device
from worldsim.core.devices import set_threads as set_threads
from worldsim.core.errors import UsageError

T = TypeVar("T")

_PRESET_HELP = "A bundled name, a preset folder, or user/repo[@revision] on the Hub."
PresetArgument: TypeAlias = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PRESET", help=_PRESET_HELP)]]
_OPTIONAL_PRESET = tyro.conf.arg(metavar="PRESET", help=f"{_PRESET_HELP} The title screen when left out.")
OptionalPresetArgument: TypeAlias = tyro.conf.Positional[Annotated[str | None, _OPTIONAL_PRESET]]
DeviceOption: TypeAlias = Annotated[str, tyro.conf.arg(metavar="DEVICE", help="auto, cpu, cuda or mps.")]
_STEPS_HELP = "Denoising steps per frame; the preset's own number when left out."
StepsOption: TypeAlias = Annotated[int | None, tyro.conf.arg(metavar="K", help=_STEPS_HELP)]
_THREADS_HELP = "CPU threads of torch; the preset's own number when left out."
ThreadsOption: TypeAlias = Annotated[int | None, tyro.conf.arg(metavar="N", help=_THREADS_HELP)]
_JSON_HELP = "Write the results to FILE as JSON; - is standard output."
JsonOption: TypeAlias = Annotated[str | None, tyro.conf.arg(metavar="FILE", help=_JSON_HELP)]
_RECORD_HELP = "Record the session to folder DIR, which must be new; see `worldsim sessions` and `worldsim replay`."
RecordOption: TypeAlias = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help=_RECORD_HELP)]
_LOAD_HELP = "Go on from a saved state (F5 in play) instead of a start."
LoadOption: TypeAlias = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help=_LOAD_HELP)]
_OFFLINE_HELP = "Never ask the network: only what is on this machine (as HF_HUB_OFFLINE=1)."
OfflineOption: TypeAlias = Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help=_OFFLINE_HELP)]
_WINDOW_HELP = "Size of the window in pixels, such as 960x720; what fits the screen when left out."
WindowOption: TypeAlias = Annotated[str | None, tyro.conf.arg(metavar="WxH", help=_WINDOW_HELP)]
_PROGRESS_HELP = "Write a JSON line to FILE at least twice a second."
ProgressOption: TypeAlias = Annotated[str | None, tyro.conf.arg(metavar="FILE", help=_PROGRESS_HELP)]


def parse_arguments(cls: type[T], argv: Sequence[str], *, command: str, help: str) -> T:
    """`cls` (a frozen dataclass, its docstrings the help) from the command line.

    Raises: SystemExit after printing: 0 for --help, 2 for arguments that do not fit. Side effects: `offline` is told to
    the Hub's client.
    """
    arguments = tyro.cli(cls, args=list(argv), prog=f"worldsim {command}", description=help)
    if getattr(arguments, "offline", False):
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is first imported, which is later
    return arguments


def check_at_least(value: int | None, least: int, option: str) -> None:
    """Raises UsageError when an option's number is too small; one that was left out is not."""
    if value is not None and value < least:
        raise UsageError(f"{option} is {value}", hint=f"at least {least}")
