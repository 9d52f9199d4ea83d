"""`worldsim rollout`: a scripted walk through the learned world, as a video. Needs no display."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    LoadOption,
    OfflineOption,
    PresetArgument,
    ProgressOption,
    RecordOption,
    StepsOption,
    ThreadsOption,
    check_at_least,
    parse_arguments,
)
from worldsim.cli.output import STDOUT, Progress, write_json
from worldsim.engine.saves import read_saved
from worldsim.episodes.format import check_new_folder

HELP = "walk through a preset by script and write a video of it; needs no display"


@dataclass(frozen=True, kw_only=True)
class RolloutArguments:
    preset: PresetArgument
    frames: int = 300
    """Frames to generate."""
    seed: int = 0
    """Chooses the start, the noise and the walk."""
    steps: StepsOption = None
    script: Literal["explore", "return", "look"] = "explore"
    """The walk: explore; go out and come back; look round. It is fixed beforehand: no true world is asked."""
    load: LoadOption = None
    out: Path | None = None
    """The video; rollout.mp4 when neither this nor --record is given."""
    record: RecordOption = None
    lossless: tyro.conf.FlagCreatePairsOff[bool] = False
    """Record the pictures bit for bit, at their own size: for data meant for training."""
    threads: ThreadsOption = None
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(RolloutArguments, argv, command="rollout", help=HELP)
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
    if arguments.json is not None:
        write_json(arguments.json, result)
    where = result["out"] or result["record"]
    print(
        f"{where}: {result['frames']} frames of {result['preset']} at {result['frames_per_s']:.1f} frames/s",
        file=sys.stderr if arguments.json == STDOUT else sys.stdout,
    )
    return 0


def rollout(arguments: RolloutArguments, progress: Progress) -> dict[str, Any]:
    """Side effects: writes the video and the recording. Returns: what was done, as the JSON has it."""
    from worldsim.actions.pose_control import key_spec, pose_steps
    from worldsim.actions.scripted_actions import script_actions
    from worldsim.engine.preset_world import PRESET_THREADS, open_preset
    from worldsim.engine.recorder import Recorder
    from worldsim.episodes.video import video_file

    threads = arguments.threads or PRESET_THREADS
    opened = open_preset(arguments.preset, device=arguments.device, num_steps=arguments.steps, threads=threads)
    preset, simulator, device = opened.preset, opened.simulator, opened.device
    spec = simulator.action_spec
    walk = script_actions(arguments.script, key_spec(spec), arguments.seed, arguments.frames)
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
        for index, action in enumerate(pose_steps(spec, walk, first.action), start=1):
            before_s = time.perf_counter()
            step = simulator.step(action)
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
