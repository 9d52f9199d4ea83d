"""`worldsim play`: plays a preset in a window, or opens the title screen without one.

The window opens before torch is loaded, which takes seconds.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from worldsim.cli.arguments import (
    DeviceOption,
    Flag,
    JsonOption,
    LoadOption,
    LosslessOption,
    OfflineOption,
    OptionalPresetArgument,
    RecordOption,
    StepsOption,
    ThreadsOption,
    WindowOption,
    check_at_least,
    option,
    parse_arguments,
    parse_size,
)
from worldsim.cli.output import write_json
from worldsim.core.clock import Clock, MonotonicClock
from worldsim.core.devices import choose_device
from worldsim.core.errors import RecordingError, UsageError, WorldsimError
from worldsim.core.types import ActionSpec
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.reference_world import ForwardOnlySimulator
from worldsim.engine.saves import read_saved
from worldsim.engine.worker import StageCallback
from worldsim.episodes.format import check_new_folder

if TYPE_CHECKING:
    from worldsim.app.application import ExitAction
    from worldsim.app.metrics import SessionStats
    from worldsim.app.renderer import RecoveringRenderer
    from worldsim.app.settings import SettingsFile
    from worldsim.app.window import Window
    from worldsim.engine.autopilot import RecordedActions
    from worldsim.engine.simulator import Simulator

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PlayArguments:
    """Play a preset in a window. F1 shows the keys."""

    preset: OptionalPresetArgument = None
    seed: Annotated[int | None, option("N")] = None
    """Seed of the start and the noise (default: 0, or that of the recording with --actions)."""
    actions: Annotated[Path | None, option("DIR")] = None
    """Replay the actions of a recording until you press a key."""
    steps: StepsOption = None
    threads: ThreadsOption = None
    device: DeviceOption = "auto"
    reference: Flag = False
    """Play the reference world that the preset was trained on; needs its extra (doom or memory-maze)."""
    fps: Annotated[float | None, option("N")] = None
    """Model ticks per second (default: set by the preset); a large value means as fast as possible."""
    max_prefetch: Annotated[int, option("N")] = 3
    """Maximum number of frames generated ahead; 0 turns prefetch off."""
    window: WindowOption = None
    renderer: Literal["auto", "opengl", "sdl"] = "auto"
    """auto: OpenGL if hardware-accelerated, otherwise SDL software rendering."""
    load: LoadOption = None
    record: RecordOption = None
    lossless: LosslessOption = False
    frames: Annotated[int | None, option("N")] = None
    """Quit after N generated frames."""
    offline: OfflineOption = False
    json: JsonOption = None


Load = Callable[["PlayArguments", StageCallback], LoadedWorld]


@dataclass(frozen=True, kw_only=True)
class _AppContext:
    """Resources shared by all sessions of a run."""

    window: Window
    renderer: RecoveringRenderer
    settings: SettingsFile
    clock: Clock


@dataclass(frozen=True, kw_only=True)
class _SessionResult:
    """Outcome of one session."""

    arguments: PlayArguments
    report: SessionStats
    exit_action: ExitAction
    error: WorldsimError | None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(PlayArguments, argv, command="play")
    size_px = _validate(arguments)
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with _app_context(arguments, size_px) as context:
        result = _title_loop(context, arguments)
    return _report_and_raise(result, context) if result is not None else 0


def play(
    arguments: PlayArguments, load: Callable[[StageCallback], LoadedWorld], size_px: tuple[int, int] | None
) -> int:
    """Plays the world that `load` returns, without a title screen. Returns: the exit code."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with _app_context(arguments, size_px) as context:
        result = _play_session(context, arguments, lambda _, report: load(report), has_title=False)
    return _report_and_raise(result, context)


def _title_loop(context: _AppContext, arguments: PlayArguments) -> _SessionResult | None:
    """Runs sessions until the player quits. Returns: the last one; None if the title screen was closed."""
    from worldsim.app.application import ExitAction
    from worldsim.app.preset_library import PresetLibrary, SpeedEstimates
    from worldsim.app.title_screen import TitleScreen

    result = None
    while True:
        if arguments.preset is None:
            error = result.error if result else None
            message = "; ".join(filter(None, (error.message, error.hint))) if error else ""
            with closing(PresetLibrary(SpeedEstimates(device=arguments.device), context.window.wake)) as library:
                library.start()
                chosen = TitleScreen(library, context.window, context.renderer, context.settings, error=message).run()
            if chosen is None:
                return None
            arguments = replace(arguments, preset=chosen.ref)
        result = _play_session(context, arguments, _load, has_title=True)
        if result.exit_action is not ExitAction.TITLE:
            return result
        arguments = replace(arguments, preset=None, load=None, record=None, actions=None)


@contextmanager
def _app_context(arguments: PlayArguments, size_px: tuple[int, int] | None) -> Iterator[_AppContext]:
    from worldsim.app.application import apply_display_settings
    from worldsim.app.renderer import RecoveringRenderer
    from worldsim.app.settings import Settings, SettingsFile
    from worldsim.app.window import Window

    ref = arguments.preset or "PRESET"
    hint = f"worldsim rollout {ref} --out {Path(ref).name}.mp4 writes a video instead"
    window = Window(title="worldsim", size_px=size_px, backend=arguments.renderer, hint=hint)
    with closing(window):
        renderer = RecoveringRenderer(window)
        _log.info("renderer %s%s", renderer.name, f": {window.fallback_reason}" if window.fallback_reason else "")
        settings = SettingsFile()
        apply_display_settings(Settings(), settings.current, window, renderer)
        yield _AppContext(window=window, renderer=renderer, settings=settings, clock=MonotonicClock())


def _play_session(context: _AppContext, arguments: PlayArguments, load: Load, *, has_title: bool) -> _SessionResult:
    """Runs one session. Closes the window unless the title screen follows."""
    from worldsim.app.application import Application, ExitAction
    from worldsim.engine.recorder import Recorder, new_recording_folder
    from worldsim.engine.session import Session
    from worldsim.engine.worker import Worker

    assert arguments.preset is not None
    settings, exit_action = context.settings.current, ExitAction.QUIT
    recorded = _recorded(arguments)
    seed = arguments.seed if arguments.seed is not None else recorded.seed if recorded else 0
    application: Application | None = None
    context.window.set_title(f"worldsim: {arguments.preset}")
    with ExitStack() as stack:
        worker = Worker(
            partial(load, arguments),
            seed=seed,
            prefetch_depth=arguments.max_prefetch,
            clock=context.clock,
            on_change=context.window.wake,
        )
        stack.callback(worker.close)
        stack.callback(lambda: application.close() if application is not None else None)
        # Closed before the worker, so that no frozen window is shown while its thread ends.
        stack.callback(lambda: None if exit_action is ExitAction.TITLE else context.window.close())
        is_recorded = settings.always_record and has_title and not arguments.reference
        folder = arguments.record or (new_recording_folder(arguments.preset) if is_recorded else None)
        recorder = Recorder(folder=folder, is_lossless=arguments.lossless or settings.lossless_recording)
        stack.callback(recorder.close)
        session = Session(worker, seed=seed, ticks_per_s=arguments.fps, recorder=recorder, load=arguments.load)
        application = Application(
            session,
            context.window,
            context.renderer,
            clock=context.clock,
            title=arguments.preset,
            max_frames=arguments.frames,
            settings=context.settings,
            has_title=has_title,
            num_steps=settings.denoising_steps if has_title and arguments.steps is None else None,
            actions=recorded.actions if recorded else (),
        )
        stack.callback(setattr, context.renderer, "notify", context.renderer.notify)
        context.renderer.notify = application.notify
        worker.start()
        report = application.run()
        exit_action = application.exit_action
    return _SessionResult(
        arguments=arguments, report=report, exit_action=exit_action, error=session.error or recorder.error
    )


def _report_and_raise(result: _SessionResult, context: _AppContext) -> int:
    """Writes the JSON. Returns: the exit code. Raises: the error that ended the session."""
    arguments = result.arguments
    if arguments.json is not None:
        stats = asdict(result.report)
        first_ns = stats.pop("first_frame_ns")
        latency = {"start_to_first_frame_s": None if first_ns is None else _since_start_s(first_ns)}
        stats = {"preset": arguments.preset, **latency, **stats, "renderer": context.renderer.name}
        write_json(arguments.json, stats)
    if result.error is not None:
        raise result.error
    return 0


def _validate(arguments: PlayArguments) -> tuple[int, int] | None:
    """Checks what does not need torch, before a window opens. Returns: the window's (width, height) or None."""
    from worldsim.presets.resolve import resolve_preset

    check_at_least(arguments.seed or 0, 0, "--seed")
    check_at_least(arguments.max_prefetch, 0, "--max-prefetch")
    check_at_least(arguments.steps, 1, "--steps")
    check_at_least(arguments.threads, 1, "--threads")
    check_at_least(arguments.frames, 1, "--frames")
    if arguments.record is not None:
        check_new_folder(arguments.record)
    if arguments.reference and arguments.record is not None:
        raise UsageError("the reference world cannot be recorded", hint="omit --reference or --record")
    if arguments.reference and arguments.load is not None:
        raise UsageError("the reference world has no saved states", hint="omit --reference or --load")
    if arguments.preset is None and (arguments.record is not None or arguments.load is not None):
        option = "--load" if arguments.record is None else "--record"
        raise UsageError(f"{option} without a preset", hint=f"worldsim play PRESET {option} ...")
    if arguments.load is not None:
        read_saved(arguments.load)
    if arguments.actions is not None:
        if arguments.preset is None or arguments.load is not None:
            raise UsageError("--actions without a preset, or with --load", hint="worldsim play PRESET --actions DIR")
        from worldsim.episodes.reader import open_session

        if not open_session(arguments.actions).num_frames:
            raise RecordingError(f"{arguments.actions} has no frames", hint="use another recording")
    if arguments.fps is not None and arguments.fps <= 0:
        raise UsageError(f"--fps is {arguments.fps:g}", hint="ticks per second, more than 0")
    size_px = parse_size(arguments.window, "--window")
    if arguments.preset is None:
        return size_px
    if "/" not in arguments.preset or Path(arguments.preset).exists():
        resolve_preset(arguments.preset)  # repositories on the Hub are resolved by the worker, with the window open
    return size_px


def _load(arguments: PlayArguments, report: StageCallback) -> LoadedWorld:
    """Runs in the model thread, the only part of `play` that loads torch."""
    assert arguments.preset is not None
    if arguments.reference:
        return _load_reference(arguments, report)
    report("loading torch")
    from worldsim.engine.fallback import FallbackSimulator, classify_fault
    from worldsim.engine.preset_world import PRESET_THREADS, open_preset
    from worldsim.presets.resolve import resolve_preset

    device = choose_device(arguments.device)
    resolve_preset(arguments.preset, report)
    report("loading the weights")
    threads = arguments.threads or PRESET_THREADS
    try:
        opened = open_preset(arguments.preset, device=device, num_steps=arguments.steps, threads=threads)
    except RuntimeError as error:
        if device == "cpu" or classify_fault(error) is None:
            raise
        report(f"not enough memory on {device}: using the CPU")
        device = "cpu"
        opened = open_preset(arguments.preset, device=device, num_steps=arguments.steps, threads=threads)
    _check_inputs(arguments, opened.preset.config.action_spec)
    fallback = FallbackSimulator(opened.simulator, partial(_on_cpu, arguments) if device != "cpu" else None)
    return opened.loaded_world(playable=fallback, warning=lambda: fallback.warning)


def _on_cpu(arguments: PlayArguments) -> Simulator:
    """The same world on the CPU. Weights are read again, since those on a lost device are gone."""
    from worldsim.engine.preset_world import open_preset

    assert arguments.preset is not None
    return open_preset(arguments.preset, num_steps=arguments.steps).simulator


def _recorded(arguments: PlayArguments) -> RecordedActions | None:
    """The recording of --actions."""
    if arguments.actions is None:
        return None
    from worldsim.engine.autopilot import recorded_actions
    from worldsim.episodes.reader import open_session

    return recorded_actions(open_session(arguments.actions))


def _check_inputs(arguments: PlayArguments, spec: ActionSpec) -> None:
    """Raises: UsageError if the recording of --actions has other inputs."""
    recorded = _recorded(arguments)
    if recorded is not None and recorded.spec != spec:
        raise UsageError(f"{arguments.actions} was recorded with other inputs", hint="use a recording of this world")


def _load_reference(arguments: PlayArguments, report: StageCallback) -> LoadedWorld:
    from worldsim.presets.config import read_config_json, read_preset_toml
    from worldsim.presets.resolve import CONFIG_FILE, resolve_preset
    from worldsim.worlds import open_world

    assert arguments.preset is not None
    report("starting the reference world")
    folder = resolve_preset(arguments.preset)
    stored = folder / CONFIG_FILE
    config, _ = read_config_json(stored) if stored.is_file() else read_preset_toml(folder / "preset.toml")
    _check_inputs(arguments, config.action_spec)
    return LoadedWorld(
        playable=ForwardOnlySimulator(open_world(config.ground_truth_config), config.ground_truth_config.key_spec),
        title=f"{config.title} (reference world)",
        ticks_per_s=config.play.ticks_per_s,
        can_rewind=False,
    )


def _since_start_s(now_ns: int) -> float:
    """Seconds from the start of the process, including the interpreter's, to a time of the monotonic clock."""
    import psutil

    age_s = time.time() - psutil.Process().create_time()
    return age_s - (time.monotonic_ns() - now_ns) / 1e9
