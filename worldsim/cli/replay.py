"""`worldsim replay`: a recorded session made again, in the window, or checked frame by frame without one."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from worldsim.cli.arguments import (
    JsonOption,
    OfflineOption,
    ProgressOption,
    StepsOption,
    at_least,
    choose_device,
    parse_arguments,
)
from worldsim.cli.output import STDOUT, Progress, write_json
from worldsim.core.errors import RecordingError, ReplayError, UsageError
from worldsim.engine.playable import Loaded
from worldsim.engine.worker import Report
from worldsim.episodes.reader import RecordedSession, open_session

if TYPE_CHECKING:  # loads torch
    from worldsim.engine.replay import Difference, Verdict
    from worldsim.engine.simulator import Simulator

HELP = "make a recorded session again from its inputs: in the window, or proved equal (--check)"


@dataclass(frozen=True, kw_only=True)
class ReplayArguments:
    folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR", help="A recorded session.")]]
    check: tyro.conf.FlagCreatePairsOff[bool] = False
    """Without a window: exit with 0 only when every frame comes out as it was recorded."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="PRESET")] = None
    """Other weights for the same inputs. With --check: scores against what the recorded weights make."""
    steps: StepsOption = None
    device: Annotated[str | None, tyro.conf.arg(metavar="DEVICE")] = None
    """auto, cpu, cuda or mps; the recorded one when left out."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """CPU threads of torch; as recorded when left out."""
    window: str = "960x720"
    """Size of the window, width x height."""
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Without --check: quit by itself after N frames were shown."""
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(ReplayArguments, argv, command="replay", help=HELP)
    at_least(arguments.steps, 1, "--steps")
    at_least(arguments.threads, 1, "--threads")
    session = open_session(arguments.folder)
    if session.is_being_recorded:
        raise RecordingError(f"{arguments.folder} is still being recorded", hint="stop the recording first")
    if not session.num_frames:
        raise RecordingError(f"{arguments.folder} holds no frame", hint=f"worldsim sessions rm {arguments.folder}")
    if not arguments.check:
        return _in_window(arguments, session)
    is_other = arguments.preset is not None or arguments.steps is not None
    result = _compare(arguments, session) if is_other else _check(arguments, session)
    if arguments.json is not None:
        write_json(arguments.json, result)
    print(result["text"], file=sys.stderr if arguments.json == STDOUT else sys.stdout)
    if result.get("exact") is False:
        raise ReplayError(
            f"{arguments.folder} did not come out as it was recorded",
            hint="; ".join(result["notes"]) or "same weights, versions, device and threads: this is worth a report",
        )
    return 0


def _check(arguments: ReplayArguments, session: RecordedSession) -> dict[str, Any]:
    from worldsim.engine.replay import check, check_origin, session_header

    simulator, preset, device = _simulator(arguments, session, session.header.preset_ref)
    notes = check_origin(session, session_header(preset, simulator, ref=session.header.preset_ref, device=device))
    with Progress(session.num_frames, f"replay {arguments.folder}", arguments.progress) as progress:
        verdict: Verdict = check(session, simulator, progress.update)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    text = "exact" if verdict.difference is None else _words(verdict.difference)
    return {
        "folder": str(arguments.folder),
        "exact": verdict.is_exact,
        "frames": verdict.frames,
        "difference": None if verdict.difference is None else asdict(verdict.difference),
        "notes": list(notes),
        "text": f"{text} ({verdict.frames} of {session.num_frames} frames compared)",
    }


def _compare(arguments: ReplayArguments, session: RecordedSession) -> dict[str, Any]:
    """Scores of other weights or steps against the recorded ones."""
    from worldsim.engine.replay import check_origin, scores, session_header

    own, preset, device = _simulator(arguments, session, session.header.preset_ref)
    check_origin(session, session_header(preset, own, ref=session.header.preset_ref, device=device))
    ref = arguments.preset or session.header.preset_ref
    other, _, _ = _simulator(arguments, session, ref)
    with Progress(session.num_frames, f"replay {arguments.folder}", arguments.progress) as progress:
        psnr = scores(session, own, other, arguments.steps, progress.update)
    differing = [value for value in psnr if math.isfinite(value)]
    mean = sum(differing) / len(differing) if differing else math.inf
    return {
        "folder": str(arguments.folder),
        "preset": ref,
        "steps": arguments.steps,
        "frames": len(psnr),
        "frames_equal": len(psnr) - len(differing),
        "psnr_db_mean": mean,
        "psnr_db": psnr,
        "text": f"{len(psnr)} frames, {len(psnr) - len(differing)} equal, the others {mean:.2f} dB PSNR on average",
    }


def _simulator(arguments: ReplayArguments, session: RecordedSession, ref: str) -> tuple[Simulator, Any, str]:
    """A simulator on the recorded device, with the recorded number of threads."""
    import torch

    from worldsim.engine.simulator import Simulator
    from worldsim.presets.store import load_preset

    device = choose_device(arguments.device or session.header.device)
    preset = load_preset(ref, device=device)
    torch.set_num_threads(arguments.threads or session.header.threads)
    return Simulator(preset, device=device, num_steps=session.header.num_steps), preset, device


def _in_window(arguments: ReplayArguments, session: RecordedSession) -> int:
    from worldsim.cli.play import PlayArguments, checked_size, play

    ref = arguments.preset or session.header.preset_ref
    shown = PlayArguments(preset=ref, window=arguments.window, frames=arguments.frames, json=arguments.json)
    return play(shown, _loader(arguments, session, ref), checked_size(arguments.window))


def _loader(arguments: ReplayArguments, session: RecordedSession, ref: str) -> Callable[[Report], Loaded]:
    def load(report: Report) -> Loaded:
        report("loading the weights")
        from worldsim.engine.replay import ReplayWorld

        simulator, preset, _ = _simulator(arguments, session, ref)
        if (simulator.action_spec, simulator.frame_shape) != (session.header.action_spec, session.header.frame_shape):
            raise UsageError(f"{ref} has other inputs or frames than the session", hint="take one of the same world")
        return Loaded(
            playable=ReplayWorld(session, simulator, arguments.steps),
            title=f"replay of {session.folder.name} ({preset.config.title})",
            ticks_per_s=session.header.frames_per_s,
        )

    return load


def _words(difference: Difference) -> str:
    where = f"differs first at frame {difference.frame} of episode {difference.episode}"
    if difference.max_levels is None or difference.psnr_db is None:
        return f"{where}; the recording has no picture of it"
    against = "the recorded picture" if difference.is_measured_exactly else "the video, which is not lossless,"
    return f"{where}: by up to {difference.max_levels} of 255 from {against} {difference.psnr_db:.1f} dB PSNR"
