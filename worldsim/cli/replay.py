"""`worldsim replay`: re-runs a recorded session, in the window or as a bit-exactness check."""

from __future__ import annotations

import logging
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
from worldsim.cli.output import Progress, counted, print_result
from worldsim.core.errors import RecordingError, ReplayError, UsageError
from worldsim.engine.interfaces import LoadedWorld, SimulatorProtocol
from worldsim.engine.worker import StageCallback
from worldsim.episodes.reader import RecordedSession, open_session

if TYPE_CHECKING:  # loads torch
    from worldsim.engine.preset_world import OpenedPreset
    from worldsim.engine.replay import Mismatch
    from worldsim.engine.simulator import Simulator

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReplayArguments:
    """Re-run a recording, in the window or as a bit-exactness check (--check).

    Another world can run the same actions side by side (--preset, --steps or --reference). With --check its PSNR and
    SSIM are printed.
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
            f"the replay of {arguments.folder} differs from the recording",
            hint="; ".join(result["notes"]) or "same weights, versions, device and threads: please report a bug",
        )
    return 0


def _is_recorded(ref: str, session: RecordedSession) -> bool:
    """Whether `ref` has the weights of the recording."""
    from worldsim.presets.resolve import resolve_preset
    from worldsim.presets.store import verify

    return verify(resolve_preset(ref)).generates_frames_of(session.header.preset_sha256)


def _check(arguments: ReplayArguments, session: RecordedSession) -> dict[str, Any]:
    from worldsim.engine.replay import check, check_origin, device_changes

    opened = _open(arguments, session)
    notes = (*check_origin(session, opened.header, opened.preset), *device_changes(session))

    def on_device(device: str) -> Simulator:
        return _open(replace(arguments, device=device), session).simulator

    with Progress(session.num_frames, f"replay {arguments.folder}", arguments.progress) as progress:
        result = check(session, opened.simulator, progress.update, on_device if arguments.device is None else None)
    for note in notes:
        _log.warning("%s", note)
    text = "exact" if result.difference is None else _format_mismatch(result.difference)
    return {
        "folder": str(arguments.folder),
        "exact": result.is_exact,
        "frames": result.frames,
        "difference": None if result.difference is None else asdict(result.difference),
        "notes": list(notes),
        "text": f"{text} ({result.frames} of {session.num_frames} frames compared)",
    }


def _compare(arguments: ReplayArguments, session: RecordedSession) -> dict[str, Any]:
    """Scores of another preset, number of steps or the reference world against the recorded weights."""
    from worldsim.evaluation.replay_scores import score_replay

    recorded, other = _open_both(arguments, session)
    try:
        with Progress(session.num_frames, f"replay {arguments.folder}", arguments.progress) as progress:
            scores = score_replay(session, recorded, other, arguments.steps, progress.update)
    finally:
        other.close()
    num_frames = len(scores.psnr_db)
    if scores.num_as_recorded < num_frames:
        _log.warning(
            "only %d of %d frames equal the recording; the scores compare with the recorded weights as run here",
            scores.num_as_recorded,
            num_frames,
        )
    psnr = sum(scores.psnr_db) / num_frames
    ssim = sum(scores.ssim) / num_frames if scores.ssim else None
    return {
        "folder": str(arguments.folder),
        "preset": arguments.preset or session.header.preset_ref,
        "steps": arguments.steps,
        "world": arguments.reference,
        "frames": num_frames,
        "frames_equal": scores.num_equal,
        "frames_as_recorded": scores.num_as_recorded,
        "psnr_db_mean": psnr,
        "ssim_mean": ssim,
        "psnr_db": scores.psnr_db,
        "ssim": scores.ssim,
        "text": f"{num_frames} frames, {scores.num_equal} equal; PSNR {psnr:.2f} dB"
        + ("" if ssim is None else f", SSIM {ssim:.3f}"),
    }


def _open_both(arguments: ReplayArguments, session: RecordedSession) -> tuple[Simulator, SimulatorProtocol]:
    """The recorded weights and the world to compare with."""
    from worldsim.engine.reference_world import ReferenceWorldAtStarts
    from worldsim.engine.replay import check_origin

    recorded = _open(arguments, session)
    check_origin(session, recorded.header, recorded.preset)
    if arguments.reference:
        preset = recorded.preset
        return recorded.simulator, ReferenceWorldAtStarts(preset.config.ground_truth_config, preset.starts)
    return recorded.simulator, _open(arguments, session, arguments.preset).simulator


def _open(arguments: ReplayArguments, session: RecordedSession, ref: str | None = None) -> OpenedPreset:
    """The recorded preset, or `ref`, with the recorded device, threads and steps unless an option overrides them."""
    from worldsim.engine.preset_world import open_preset

    header = session.header
    return open_preset(
        ref or header.preset_ref,
        device=arguments.device or header.device,
        num_steps=header.num_steps,
        threads=arguments.threads or header.threads,
    )


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

            opened = _open(arguments, session)
            playable: SimulatorProtocol = ReplayWorld(session, opened.simulator)
            title += f" ({opened.preset.config.title})"
        else:
            playable = _side_by_side(arguments, session)
            steps = counted(arguments.steps, "denoising step") if arguments.steps is not None else None
            title += f", beside {', '.join(filter(None, (arguments.preset, steps))) or 'the reference world'}"
        return LoadedWorld(
            playable=playable,
            title=title,
            ticks_per_s=session.header.frames_per_s,
            can_rewind=not arguments.reference,
        )

    return load


def _side_by_side(arguments: ReplayArguments, session: RecordedSession) -> SimulatorProtocol:
    """The recording on the left, the same actions in the other world on the right."""
    from worldsim.engine.replay import ReplayWorld, SideBySideSimulator

    recorded, other = _open_both(arguments, session)
    if (other.action_spec, other.frame_shape) != (recorded.action_spec, recorded.frame_shape):
        message = f"{arguments.preset} has different inputs or another frame size"
        raise UsageError(message, hint="use a preset of the same world")
    return SideBySideSimulator(ReplayWorld(session, recorded), ReplayWorld(session, other, arguments.steps))


def _format_mismatch(mismatch: Mismatch) -> str:
    position = f"first difference at frame {mismatch.frame} of episode {mismatch.episode}"
    if mismatch.max_levels is None or mismatch.psnr_db is None:
        return f"{position}; the recording has no image of it"
    reference = "the recorded frame" if mismatch.is_measured_exactly else "the (lossy) video"
    return f"{position}: up to {mismatch.max_levels} of 255 levels from {reference}, PSNR {mismatch.psnr_db:.1f} dB"
