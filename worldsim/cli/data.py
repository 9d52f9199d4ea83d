"""`worldsim data ACTION ...`: foreign recordings into sessions and back, and whether a folder of sessions is sound."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from worldsim.cli.arguments import JsonOption, ProgressOption, check_at_least
from worldsim.cli.output import Progress
from worldsim.cli.subcommands import CommandResult, Subcommands, run_subcommand, text_table
from worldsim.core.errors import RecordingError, UsageError
from worldsim.episodes.export_npz import export_folder
from worldsim.episodes.images import write_contact_sheet
from worldsim.episodes.importers.base import ActionTime, ImportOptions
from worldsim.episodes.importers.convert import FORMATS, ConversionResult, import_folder
from worldsim.episodes.validate import AXIS_BINS, ValidationReport, index_sessions, validate_sessions

HELP = "import recordings of other games and data sets, export them; check a data set and show what is in it"

MAX_NAMED = 20
"""Faults that are printed; --json has all."""

Kind = Literal["memory-maze", "teco-dmlab", "teco-minecraft", "vpt", "video-csv"]
_KINDS_HELP = "; ".join(f"{name}: {source_format.description}" for name, source_format in FORMATS.items())


@dataclass(frozen=True, kw_only=True)
class ImportArguments:
    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="SRC")]]
    """A file, or a folder that is searched with all below it."""
    target: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DST")]]
    """Folder for the sessions, one per file. What is there already is not made again."""
    kind: Annotated[Kind, tyro.conf.arg(help=f"How the files are laid out. {_KINDS_HELP}.")]
    size: Annotated[str | None, tyro.conf.arg(metavar="WxH")] = None
    """Resize pictures to this width and height; as they are when left out."""
    fps: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    """Frames per second; what the video or the kind says when left out."""
    every: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Keep each N-th frame alone: 3 makes 20 per second of 60. What was pressed in between counts as pressed."""
    action_time: ActionTime | None = None
    """before: a row's action led to its frame; after: it was taken when that frame was seen. The kind's own way when
    left out (after for video-csv and vpt)."""
    axis: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME[=UNIT]")] = ()
    """For video-csv: a column that is an axis, and what 1 does from one frame of the video to the next, as in
    turn="10 deg per tick". Repeat it for others."""
    classes: Annotated[str | None, tyro.conf.arg(metavar="A,B,...")] = None
    """For discrete actions: what number 0, 1, ... does, as in noop,forward,turn=1,forward+turn=-1."""
    lossy: tyro.conf.FlagCreatePairsOff[bool] = False
    """Near lossless videos that any player shows, instead of pictures kept bit for bit."""
    json: JsonOption = None
    progress: ProgressOption = None


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """A session, or the folder in which sessions lie. They have to be lossless, and to know their poses."""
    target: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DST")]]
    """Folder for the npz files of Memory Maze's layout, one per episode. What is there already is not made again."""
    json: JsonOption = None
    progress: ProgressOption = None


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """A session, or the folder in which sessions lie."""
    sheet: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None
    """Write pictures from the whole of it, in order, on one sheet."""
    pictures: int = 48
    """On that sheet."""
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: Sequence[str]) -> int:
    return run_subcommand("data", HELP, SUBCOMMANDS, argv)


def import_data(arguments: ImportArguments) -> CommandResult:
    """Ends in an error when nothing was imported and nothing was there."""
    check_at_least(arguments.every, 1, "--every")
    options = ImportOptions(
        frames_per_s=arguments.fps,
        action_time=arguments.action_time or FORMATS[arguments.kind].action_time,
        axes=tuple(_axis(text) for text in arguments.axis),
        classes=tuple(arguments.classes.split(",")) if arguments.classes else (),
    )
    with Progress(1, f"import {arguments.source}", arguments.progress, unit="share") as progress:
        imported = import_folder(
            arguments.kind,
            arguments.source,
            arguments.target,
            options,
            size_px=_size(arguments.size),
            stride=arguments.every,
            is_lossless=not arguments.lossy,
            tell=lambda done, total, name: progress.update(done / total, f"{name} ({done} of {total})"),
        )
    error = None
    if not imported.converted and not imported.there_already:
        error = RecordingError(
            f"none of {len(imported.skipped)} files of {arguments.source} could be imported",
            hint="the reasons are above; worldsim data import --help says what each kind looks like",
        )
    data = {"kind": arguments.kind, "target": str(arguments.target), **asdict(imported)}
    text = _outcome_text(arguments.target, imported, "sessions", "imported")
    return CommandResult(text=text, data=data, error=error)


def export_data(arguments: ExportArguments) -> CommandResult:
    """Ends in an error when nothing was exported and nothing was there."""
    with Progress(1, f"export {arguments.source}", arguments.progress, unit="share") as progress:
        exported = export_folder(
            arguments.source,
            arguments.target,
            tell=lambda done, total, name: progress.update(done / total, f"{name} ({done} of {total})"),
        )
    error = None
    if not exported.converted and not exported.there_already:
        reasons = "the reasons are above; poses, lossless pictures, and the six actions of Memory Maze are needed"
        error = RecordingError(f"none of {arguments.source} could be exported", hint=reasons)
    text = _outcome_text(arguments.target, exported, "episodes", "exported")
    return CommandResult(text=text, data={"target": str(arguments.target), **asdict(exported)}, error=error)


def check_data(arguments: CheckArguments) -> CommandResult:
    check_at_least(arguments.pictures, 1, "--pictures")
    done, index = 0, index_sessions(arguments.folder)
    with Progress(index.num_frames, f"check {arguments.folder}", arguments.progress) as progress:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress.update(done)

        report = validate_sessions(index, num_samples=arguments.pictures, advance=advance)
    if arguments.sheet is not None and report.samples:
        write_contact_sheet(arguments.sheet, report.samples)
    faulty = sorted({session for session, _ in report.faults})
    wrong = RecordingError(
        f"{len(report.faults)} faults in {len(faulty)} sessions of {arguments.folder}: {', '.join(faulty[:5])}",
        hint="repair or remove them (worldsim sessions repair | rm), then check again",
    )
    data = {"folder": str(arguments.folder), "sound": not faulty, **report.statistics()}
    return CommandResult(text=_check_text(report), data=data, error=wrong if faulty else None)


SUBCOMMANDS: Subcommands = {
    "import": (ImportArguments, import_data, "make sessions of other recordings; wrong files are named and left out"),
    "export": (ExportArguments, export_data, "make npz files of sessions, laid out as Memory Maze's own data"),
    "check": (CheckArguments, check_data, "decode every frame of a data set, compare all that can be, show statistics"),
}


def _axis(text: str) -> tuple[str, str]:
    name, _, unit = text.partition("=")
    return name, unit


def _size(text: str | None) -> tuple[int, int] | None:
    """(height, width) in pixels. Raises: UsageError."""
    if text is None:
        return None
    size = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if size is None:
        raise UsageError(f"--size is {text!r}", hint="width x height in pixels, for example 64x48")
    return int(size[2]), int(size[1])


def _outcome_text(target: Path, imported: ConversionResult, what: str, done: str) -> str:
    lines = [f"left out {path}: {fault}" for path, fault in imported.skipped.items()][:MAX_NAMED]
    if len(imported.skipped) > MAX_NAMED:
        lines.append(f"... and {len(imported.skipped) - MAX_NAMED} more; --json FILE has all")
    there = f", {len(imported.there_already)} were there already" if imported.there_already else ""
    frames = sum(imported.converted.values())
    lines.append(
        f"{target}: {len(imported.converted)} {what} with {frames} frames {done}{there}, "
        f"{len(imported.skipped)} {'files' if done == 'imported' else what} left out"
    )
    return "\n".join(lines)


def _check_text(report: ValidationReport) -> str:
    found = report.statistics()
    light = found["brightness"]
    facts = [
        ("sessions", f"{report.sessions}, {report.lossless_sessions} of them lossless"),
        ("episodes", f"{report.episodes} of {report.shortest_episode} to {report.longest_episode} frames"),
        ("frames", f"{report.frames}, {found['minutes']:.1f} minutes"),
        ("pictures", _counts(found["sizes"])),
        ("rate", _counts(found["frames_per_s"]) + " frames per second"),
        ("brightness", f"{light['mean']:.2f} on average, from {light['min']:.2f} to {light['max']:.2f}"),
        ("still", f"{report.still_frames} pictures equal to the one before"),
        *(("not kept", f"{n} pictures, given up when the disk was slow") for n in [report.missing_images] if n),
        *(("hashes", f"{n} compared") for n in [report.hashes_compared] if n),
        *(("poses", f"of {n} frames") for n in [report.poses] if n),
        ("no input", f"{found['idle_share']:.0%} of the frames"),
        *((name, _input_text(values)) for name, values in found["actions"].items()),
    ]
    faults = [f"{session}: {fault}" for session, fault in report.faults]
    more = [f"... and {len(faults) - MAX_NAMED} more; --json FILE has all"] if len(faults) > MAX_NAMED else []
    return "\n".join([text_table(facts), *faults[:MAX_NAMED], *more, f"{len(faults) or 'no'} faults"])


def _input_text(values: dict[str, Any]) -> str:
    if values["kind"] == "button":
        return f"{_bar(values['held_share'])} held in {values['held_share']:.1%}"
    total = max(sum(values["histogram"]), 1)
    bins = "  ".join(
        f"{low:+.1f} {count / total:.0%}" for low, count in zip(AXIS_BINS, values["histogram"], strict=False)
    )
    return f"from {values['min']:+.2f} to {values['max']:+.2f}, from each value on: {bins}"


def _bar(share: float) -> str:
    return f"{'#' * round(20 * share):<20}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(counts) if len(counts) == 1 else ", ".join(f"{name} ({n} frames)" for name, n in counts.items())
