"""`worldsim data`: import recordings of other software as sessions, export sessions, validate a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import tyro

from worldsim.cli.arguments import Flag, JsonOption, ProgressOption, check_at_least, option, parse_size
from worldsim.cli.output import CommandResult, Progress, Subcommand, run_subcommand, text_table
from worldsim.core.errors import RecordingError
from worldsim.core.images import write_contact_sheet
from worldsim.episodes.importers.base import ActionTime, ImportOptions
from worldsim.episodes.importers.convert import FORMATS, ConversionResult, export_folder, import_folder
from worldsim.episodes.validate import AXIS_BINS, ValidationReport, index_sessions, validate_sessions

MAX_PRINTED = 20
"""Problems printed; --json has all of them."""
ACTION_TIME_HELP = (
    "before: a row's action led to its frame. after: the action was taken after seeing the frame (default: that of the "
    "format; after for video-csv and vpt)."
)
AXIS_HELP = (
    'For video-csv: a column that is an axis, and what the value 1 does in one frame, as in turn="10 deg per tick". '
    "Repeatable."
)

FormatName: TypeAlias = Literal["memory-maze", "teco-dmlab", "teco-minecraft", "vpt", "video-csv"]


@dataclass(frozen=True, kw_only=True)
class ImportData:
    """Convert recordings of other games, and published datasets, to sessions, one per file.

    Invalid files are listed and skipped. Sessions that already exist are kept, so that an interrupted import can be
    repeated.

    Formats: video-csv (any game: a video, and a CSV file of the same name with a column per input), memory-maze (npz of
    the Memory Maze datasets), teco-dmlab (npz), teco-minecraft (mp4 and npz), vpt (mp4 and jsonl).
    """

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="SRC")]]
    """File or folder (recursive)."""
    target: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DST")]]
    """Folder for the sessions."""
    format: FormatName
    """Format of the files."""
    size: Annotated[str | None, option("WxH")] = None
    """Resize frames to this width and height (default: original size)."""
    fps: Annotated[float | None, option("N")] = None
    """Frames per second (default: that of the video or the format)."""
    every: Annotated[int, option("N")] = 1
    """Keep every N-th frame (3: 60 fps to 20 fps). A button pressed during a dropped frame counts as pressed."""
    action_time: Annotated[ActionTime | None, option(help=ACTION_TIME_HELP)] = None
    axis: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], option("NAME[=UNIT]", AXIS_HELP)] = ()
    classes: Annotated[str | None, option("A,B,...")] = None
    """For discrete actions: the inputs that class 0, 1, ... stands for, as in noop,forward,turn=1,forward+turn=-1."""
    lossy: Flag = False
    """Write near-lossless videos, which any player can show, instead of lossless ones."""
    json: JsonOption = None
    progress: ProgressOption = None

    def run(self) -> CommandResult:
        """Fails if no file was imported, now or earlier."""
        check_at_least(self.every, 1, "--every")
        size_px = parse_size(self.size, "--size")
        options = ImportOptions(
            frames_per_s=self.fps,
            action_time=self.action_time or FORMATS[self.format].action_time,
            axes=tuple(_parse_axis(text) for text in self.axis),
            classes=tuple(self.classes.split(",")) if self.classes else (),
        )
        with Progress(1, f"import {self.source}", self.progress, unit="share") as progress:
            imported = import_folder(
                self.format,
                self.source,
                self.target,
                options,
                size_px=None if size_px is None else (size_px[1], size_px[0]),
                stride=self.every,
                is_lossless=not self.lossy,
                on_progress=_file_progress(progress),
            )
        error = None
        if not imported.converted and not imported.there_already:
            error = RecordingError(
                f"none of {len(imported.skipped)} files of {self.source} could be imported",
                hint="the reasons are listed above; worldsim data import --help describes the formats",
            )
        data = {"kind": self.format, "target": str(self.target), **asdict(imported)}
        return CommandResult(text=_conversion_text("imported", imported, self.target), data=data, error=error)


@dataclass(frozen=True, kw_only=True)
class ExportData:
    """Convert sessions to npz files in the layout of the Memory Maze datasets, one per episode.

    Requires lossless recordings with poses. Files that already exist are kept.
    """

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """Session, or folder of sessions."""
    target: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DST")]]
    """Folder for the npz files."""
    json: JsonOption = None
    progress: ProgressOption = None

    def run(self) -> CommandResult:
        """Fails if no episode was exported, now or earlier."""
        with Progress(1, f"export {self.source}", self.progress, unit="share") as progress:
            exported = export_folder(self.source, self.target, on_progress=_file_progress(progress))
        error = None
        if not exported.converted and not exported.there_already:
            hint = "the reasons are listed above; needs poses, lossless frames, and the six actions of Memory Maze"
            error = RecordingError(f"no session of {self.source} could be exported", hint=hint)
        data = {"target": str(self.target), **asdict(exported)}
        return CommandResult(text=_conversion_text("exported", exported, self.target), data=data, error=error)


@dataclass(frozen=True, kw_only=True)
class CheckData:
    """Validate a dataset: decode every frame, compare counts, timestamps and hashes, print statistics.

    The exit code is 0 only if no problem was found.
    """

    folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """Session, or folder of sessions."""
    contact_sheet: Annotated[Path | None, option("FILE.png")] = None
    """Write a contact sheet of frames sampled evenly from the dataset."""
    num_frames: Annotated[int, option("N")] = 48
    """Number of frames on the contact sheet."""
    json: JsonOption = None
    progress: ProgressOption = None

    def run(self) -> CommandResult:
        check_at_least(self.num_frames, 1, "--num-frames")
        index = index_sessions(self.folder)
        with Progress(index.num_frames, f"check {self.folder}", self.progress) as progress:
            report = validate_sessions(index, num_samples=self.num_frames, on_progress=progress.advance)
        if self.contact_sheet is not None and report.samples:
            write_contact_sheet(self.contact_sheet, report.samples)
        faulty = sorted({session for session, _ in report.faults})
        problems = RecordingError(
            f"{len(report.faults)} problems in {len(faulty)} sessions of {self.folder}: {', '.join(faulty[:5])}",
            hint="repair or remove them (worldsim sessions repair | rm), then check again",
        )
        data = {"folder": str(self.folder), "sound": not faulty, **report.statistics()}
        return CommandResult(text=_validation_text(report), data=data, error=problems if faulty else None)


SUBCOMMANDS: dict[str, type[Subcommand]] = {"import": ImportData, "export": ExportData, "check": CheckData}


def run(argv: Sequence[str]) -> int:
    return run_subcommand(SUBCOMMANDS, argv, command="data")


def _file_progress(progress: Progress) -> Callable[[int, int, str], None]:
    return lambda done, total, name: progress.update(done / total, f"{name} ({done} of {total})")


def _parse_axis(text: str) -> tuple[str, str]:
    name, _, unit = text.partition("=")
    return name, unit


def _conversion_text(verb: str, result: ConversionResult, target: Path) -> str:
    lines = [f"skipped {path}: {reason}" for path, reason in result.skipped.items()]
    counts = f"{len(result.converted)} {verb} ({sum(result.converted.values())} frames)"
    total = f"{target}: {counts}, {len(result.there_already)} already there, {len(result.skipped)} skipped"
    return "\n".join([*_first_lines(lines), total])


def _first_lines(lines: list[str]) -> list[str]:
    more = len(lines) - MAX_PRINTED
    return [*lines[:MAX_PRINTED], *([f"... and {more} more; --json FILE has all"] if more > 0 else [])]


def _validation_text(report: ValidationReport) -> str:
    statistics = report.statistics()
    light = statistics["brightness"]
    facts = [
        ("sessions", f"{report.sessions}, {report.lossless_sessions} lossless"),
        ("episodes", f"{report.episodes}, {report.shortest_episode} to {report.longest_episode} frames each"),
        ("frames", f"{report.frames}, {statistics['minutes']:.1f} minutes"),
        ("size", _counts(statistics["sizes"])),
        ("frames per second", _counts(statistics["frames_per_s"])),
        ("brightness", f"mean {light['mean']:.2f}, range {light['min']:.2f} to {light['max']:.2f}"),
        ("duplicates", f"{report.still_frames} frames equal to the previous one"),
        *(("missing", f"{n} frames, dropped because the disk was slow") for n in [report.missing_images] if n),
        *(("hashes", f"{n} compared") for n in [report.hashes_compared] if n),
        *(("poses", f"{n} frames") for n in [report.poses] if n),
        ("no input", f"{statistics['idle_share']:.0%} of frames"),
        *((name, _input_text(values)) for name, values in statistics["actions"].items()),
    ]
    problems = [f"{session}: {problem}" for session, problem in report.faults]
    return "\n".join([text_table(facts), *_first_lines(problems), f"{len(problems) or 'no'} problems found"])


def _input_text(values: dict[str, Any]) -> str:
    if values["kind"] == "button":
        bar = "#" * round(20 * values["held_share"])
        return f"{bar:<20} held {values['held_share']:.1%}"
    total = max(sum(values["histogram"]), 1)
    edges = zip(AXIS_BINS, AXIS_BINS[1:], values["histogram"], strict=False)
    bins = "  ".join(f"[{low:+.1f}, {high:+.1f}] {count / total:.0%}" for low, high, count in edges)
    return f"range {values['min']:+.2f} to {values['max']:+.2f}; {bins}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(counts) if len(counts) == 1 else ", ".join(f"{name} ({n} frames)" for name, n in counts.items())
