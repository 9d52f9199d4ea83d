"""`worldsim rollout`: generates a video from a scripted action sequence. Needs no display."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    LoadOption,
    LosslessOption,
    OfflineOption,
    PresetArgument,
    ProgressOption,
    RecordOption,
    StepsOption,
    ThreadsOption,
    check_at_least,
    option,
    parse_arguments,
)
from worldsim.cli.output import Progress, print_result
from worldsim.engine.saves import read_saved
from worldsim.episodes.format import check_new_folder


@dataclass(frozen=True, kw_only=True)
class RolloutArguments:
    """Generate a video from a scripted action sequence. Needs no display."""

    preset: PresetArgument
    frames: int = 300
    """Frames to generate."""
    seed: int = 0
    """Seed of the start, the noise and the script."""
    steps: StepsOption = None
    script: Literal["explore", "return", "look"] = "explore"
    """Action sequence: explore; go out and return; look around. Open loop: does not use the reference world."""
    load: LoadOption = None
    out: Annotated[Path | None, option("FILE")] = None
    """Video to write (default: rollout.mp4, unless --record is given)."""
    record: RecordOption = None
    lossless: LosslessOption = False
    threads: ThreadsOption = None
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(RolloutArguments, argv, command="rollout")
    check_at_least(arguments.frames, 1, "--frames")
    check_at_least(arguments.seed, 0, "--seed")
    check_at_least(arguments.steps, 1, "--steps")
    check_at_least(arguments.threads, 1, "--threads")
    if arguments.record is not None:
        check_new_folder(arguments.record)
    if arguments.load is not None:
        read_saved(arguments.load)
    with Progress(arguments.frames, f"rollout {arguments.preset}", arguments.progress) as progress:
        result = rollout(arguments, progress)
    rate = f"{result['frames_per_s']:.1f} frames/s"
    text = f"{result['out'] or result['record']}: {result['frames']} frames of {result['preset']} at {rate}"
    print_result(text, result, arguments.json)
    return 0


def rollout(arguments: RolloutArguments, progress: Progress) -> dict[str, Any]:
    """Returns: the JSON result. Side effects: writes the video and the recording."""
    from worldsim.actions.pose_control import key_spec, pose_step
    from worldsim.actions.scripted_actions import script_actions
    from worldsim.engine.preset_world import PRESET_THREADS, open_preset
    from worldsim.engine.recorder import Recorder
    from worldsim.episodes.video import video_file

    threads = arguments.threads or PRESET_THREADS
    opened = open_preset(arguments.preset, device=arguments.device, num_steps=arguments.steps, threads=threads)
    preset, simulator, device = opened.preset, opened.simulator, opened.device
    spec = simulator.action_spec
    actions = script_actions(arguments.script, key_spec(spec), arguments.seed, arguments.frames)
    height_px, width_px, _ = simulator.frame_shape
    tick = preset.config.play.ticks_per_s
    out = arguments.out or (None if arguments.record else Path("rollout.mp4"))
    recorder = Recorder(opened.header, folder=arguments.record, is_lossless=arguments.lossless)
    generating_s = 0.0
    with ExitStack() as stack:
        video = None
        if out is not None:
            sizes = {"height_px": height_px, "width_px": width_px}
            video = stack.enter_context(video_file(out, frames_per_s=tick, **sizes))
        stack.callback(recorder.close)
        seed = arguments.seed
        if arguments.load is None:
            first = simulator.reset(seed)
            recorder.add(first, seed)
        else:
            position = opened.saves.read(arguments.load)
            simulator.restore(position.snapshot)
            first, seed = position.step, position.seed
            recorder.continue_from(position)
        step = first
        for index, action in enumerate(actions, start=1):
            before_s = time.perf_counter()
            step = simulator.step(pose_step(spec, action, step.action))
            generating_s += time.perf_counter() - before_s
            recorder.wait_for_room()
            recorder.add(step, seed)
            if video is not None:
                video.write(step.frame)
            rate = index / generating_s
            progress.update(index, f"{rate:.1f} frames/s", frames_per_s=round(rate, 2))
    if recorder.error is not None:
        raise recorder.error
    return {
        "preset": preset.config.name,
        "preset_sha256": preset.sha256,
        "out": None if out is None else str(out),
        "record": None if arguments.record is None else str(arguments.record),
        "frames": arguments.frames,
        "seed": arguments.seed,
        "load": None if arguments.load is None else str(arguments.load),
        "steps": simulator.num_steps,
        "script": arguments.script,
        "frames_per_s": arguments.frames / generating_s,
        "video_frames_per_s": tick,
        "device": device,
    }
