"""`worldsim replay`: re-runs a recorded session, in the window or as a bit-exactness check."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from worldsim.cli.arguments import (
    Flag,
    JsonOption,
    OfflineOption,
    ProgressOption,
    SessionArgument,
    WindowOption,
    check_at_least,
    option,
    parse_arguments,
    parse_size,
)
from worldsim.cli.output import Progress, print_result
from worldsim.core.devices import choose_device
from worldsim.core.errors import RecordingError, ReplayError, UsageError
from worldsim.engine.interfaces import LoadedWorld, SimulatorProtocol
from worldsim.engine.worker import StageCallback
from worldsim.episodes.reader import RecordedSession, open_session

if TYPE_CHECKING:  # loads torch
    from worldsim.engine.replay import Mismatch, ReplayResult
    from worldsim.engine.simulator import Simulator


@dataclass(frozen=True, kw_only=True)
class ReplayArguments:
    """Re-run a recording, in the window or as a bit-exactness check (--check).

    --preset, --steps and --reference run the same actions in another world, side by side with the recording. With
    --check they print PSNR and SSIM instead of opening a window.
    """

    folder: SessionArgument
    check: Flag = False
    """Do not open a window; exit with 0 only if every frame equals the recorded one."""
    preset: Annotated[str | None, option("PRESET")] = None
    """Compare with this preset. If it is the recorded one, it only tells where its files are now."""
    steps: Annotated[int | None, option("K")] = None
    """Compare with this number of denoising steps."""
    reference: Flag = False
    """Compare with the reference world; needs its extra (doom or memory-maze)."""
    device: Annotated[str | None, option("DEVICE")] = None
    """auto, cpu, cuda or mps (default: as recorded)."""
    threads: Annotated[int | None, option("N")] = None
    """Number of CPU threads (default: as recorded)."""
    window: WindowOption = None
    frames: Annotated[int | None, option("N")] = None
    """Without --check: quit after N frames."""
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None

    @property
    def is_comparison(self) -> bool:
        return self.reference or self.preset is not None or self.steps is not None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(ReplayArguments, argv, command="replay")
    check_at_least(arguments.steps, 1, "--steps")
    check_at_least(arguments.threads, 1, "--threads")
    if arguments.reference and (arguments.preset is not None or arguments.steps is not None):
        raise UsageError("--reference with --preset or --steps", hint="compare with one at a time")
    session = open_session(arguments.folder)
    if session.is_being_recorded:
        raise RecordingError(f"{arguments.folder} is still being recorded", hint="stop the recording first")
    if not session.num_frames:
        raise RecordingError(f"{arguments.folder} has no frames", hint=f"worldsim sessions rm {arguments.folder}")
    if arguments.preset is not None and _is_recorded(arguments.preset, session):
        moved = replace(session.header, preset_ref=arguments.preset)
        session, arguments = replace(session, header=moved), replace(arguments, preset=None)
    if not arguments.check:
        return _play_in_window(arguments, session)
    result = _compare(arguments, session) if arguments.is_comparison else _check(arguments, session)
    print_result(result["text"], result, arguments.json)
    if result.get("exact") is False:
        raise ReplayError(
            f"{arguments.folder} did not come out as it was recorded",
            hint="; ".join(result["notes"]) or "same weights, versions, device and threads: this is worth a report",
        )
    return 0


def _is_recorded(ref: str, session: RecordedSession) -> bool:
    """Whether `ref` names the recorded weights themselves, wherever they lie now."""
    from worldsim.presets.resolve import resolve_preset
    from worldsim.presets.store import verify

    return verify(resolve_preset(ref)).generates_frames_of(session.header.preset_sha256)


def _check(arguments: ReplayArguments, session: RecordedSession) -> dict[str, Any]:
    from worldsim.engine.preset_world import session_header
    from worldsim.engine.replay import check, check_origin, device_changes

    ref = session.header.preset_ref
    simulator, preset, device = _simulator(arguments, session, ref)
    notes = (
        *check_origin(session, session_header(preset, simulator, ref=ref, device=device), preset),
        *device_changes(session),
    )

    def on_device(device: str) -> Simulator:
        return _simulator(replace(arguments, device=device), session, ref)[0]

    with Progress(session.num_frames, f"replay {arguments.folder}", arguments.progress) as progress:
        verdict: ReplayResult = check(
            session, simulator, progress.update, on_device if arguments.device is None else None
        )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    text = "exact" if verdict.difference is None else _format_mismatch(verdict.difference)
    return {
        "folder": str(arguments.folder),
        "exact": verdict.is_exact,
        "frames": verdict.frames,
        "difference": None if verdict.difference is None else asdict(verdict.difference),
        "notes": list(notes),
        "text": f"{text} ({verdict.frames} of {session.num_frames} frames compared)",
    }


def _compare(arguments: ReplayArguments, session: RecordedSession) -> dict[str, Any]:
    """Scores of other weights, other steps or the true world against what the recorded weights make."""
    from worldsim.evaluation.replay_scores import score_replay

    own, other = _open_both(arguments, session)
    try:
        with Progress(session.num_frames, f"replay {arguments.folder}", arguments.progress) as progress:
            found = score_replay(session, own, other, arguments.steps, progress.update)
    finally:
        other.close()
    num_frames = len(found.psnr_db)
    if found.num_as_recorded < num_frames:
        again = f"{found.num_as_recorded} of {num_frames} frames came out as recorded"
        print(f"note: {again}: the scores are against what the recorded weights make here", file=sys.stderr)
    psnr = sum(found.psnr_db) / num_frames
    ssim = sum(found.ssim) / num_frames if found.ssim else None
    return {
        "folder": str(arguments.folder),
        "preset": arguments.preset or session.header.preset_ref,
        "steps": arguments.steps,
        "world": arguments.reference,
        "frames": num_frames,
        "frames_equal": found.num_equal,
        "frames_as_recorded": found.num_as_recorded,
        "psnr_db_mean": psnr,
        "ssim_mean": ssim,
        "psnr_db": found.psnr_db,
        "ssim": found.ssim,
        "text": f"{num_frames} frames, {found.num_equal} equal; PSNR {psnr:.2f} dB"
        + ("" if ssim is None else f", SSIM {ssim:.3f}"),
    }


def _open_both(arguments: ReplayArguments, session: RecordedSession) -> tuple[Simulator, SimulatorProtocol]:
    """The recorded weights, and what they are compared with."""
    from worldsim.engine.preset_world import session_header
    from worldsim.engine.replay import check_origin

    own_ref = session.header.preset_ref
    own, preset, device = _simulator(arguments, session, own_ref)
    check_origin(session, session_header(preset, own, ref=own_ref, device=device), preset)
    if not arguments.reference:
        return own, _simulator(arguments, session, arguments.preset or own_ref)[0]
    from worldsim.engine.reference_world import ReferenceWorldAtStarts

    return own, ReferenceWorldAtStarts(preset.config.ground_truth_config, preset.starts)


def _simulator(arguments: ReplayArguments, session: RecordedSession, ref: str) -> tuple[Simulator, Any, str]:
    """A simulator on the recorded device, with the recorded number of threads."""
    import torch

    from worldsim.engine.simulator import Simulator
    from worldsim.presets.store import load_preset

    device = choose_device(arguments.device or session.header.device)
    preset = load_preset(ref, device=device)
    torch.set_num_threads(arguments.threads or session.header.threads)
    return Simulator(preset, device=device, num_steps=session.header.num_steps), preset, device


def _play_in_window(arguments: ReplayArguments, session: RecordedSession) -> int:
    from worldsim.cli.play import PlayArguments, play

    ref = session.header.preset_ref
    shown = PlayArguments(preset=ref, window=arguments.window, frames=arguments.frames, json=arguments.json)
    return play(shown, _loader(arguments, session), parse_size(arguments.window, "--window"))


def _loader(arguments: ReplayArguments, session: RecordedSession) -> Callable[[StageCallback], LoadedWorld]:
    def load(report: StageCallback) -> LoadedWorld:
        report("loading the weights")
        title = f"replay of {session.folder.name}"
        if not arguments.is_comparison:
            from worldsim.engine.replay import ReplayWorld

            simulator, preset, _ = _simulator(arguments, session, session.header.preset_ref)
            playable: SimulatorProtocol = ReplayWorld(session, simulator)
            title += f" ({preset.config.title})"
        else:
            playable = _side_by_side(arguments, session)
            names = (arguments.preset or "", f"{arguments.steps} step(s)" * (arguments.steps is not None))
            title += f", beside {', '.join(filter(None, names)) or 'the true world'}"
        return LoadedWorld(
            playable=playable,
            title=title,
            ticks_per_s=session.header.frames_per_s,
            can_rewind=not arguments.reference,
        )

    return load


def _side_by_side(arguments: ReplayArguments, session: RecordedSession) -> SimulatorProtocol:
    """As recorded on the left; on the right the same inputs in the other world."""
    from worldsim.engine.replay import ReplayWorld, SideBySideSimulator

    own, other = _open_both(arguments, session)
    if (other.action_spec, other.frame_shape) != (own.action_spec, own.frame_shape):
        raise UsageError(f"{arguments.preset} has other inputs or frames", hint="take a preset of the same world")
    return SideBySideSimulator(ReplayWorld(session, own), ReplayWorld(session, other, arguments.steps))


def _format_mismatch(difference: Mismatch) -> str:
    where = f"differs first at frame {difference.frame} of episode {difference.episode}"
    if difference.max_levels is None or difference.psnr_db is None:
        return f"{where}; the recording has no picture of it"
    against = "the recorded picture" if difference.is_measured_exactly else "the video, which is not lossless,"
    return f"{where}: by up to {difference.max_levels} of 255 from {against} {difference.psnr_db:.1f} dB PSNR"
