"""`worldsim bench`: generation speed, input latency, long sessions, training throughput.

`latency` and `soak` are in `cli.bench_session`, `train` is in `cli.bench_train`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING, Any

import psutil

from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    OfflineOption,
    PresetArgument,
    ProgressOption,
    StepsOption,
    ThreadsOption,
    check_at_least,
)
from worldsim.cli.bench_session import BenchLatency, BenchSoak
from worldsim.cli.bench_train import BenchTrain
from worldsim.cli.output import CommandResult, Progress, Subcommand, counted, run_subcommand, text_table
from worldsim.core.errors import UsageError

if TYPE_CHECKING:
    from worldsim.core.types import Action, Step
    from worldsim.engine.interfaces import StageTimes
    from worldsim.engine.simulator import Simulator

MIN_FRAMES = 20
"""Fewer frames have no separate early and late windows."""
EARLY_FRAME = 100
"""Center of the early window, if the run is long enough."""
MAX_WINDOW_FRAMES = 100


@dataclass(frozen=True, kw_only=True)
class BenchPlay:
    """Benchmark frame generation: frames/s, ms per stage, growth of time and memory."""

    preset: PresetArgument
    steps: StepsOption = None
    frames: int = 1000
    """Frames to generate; use 5000 to check that time and memory stay flat."""
    seed: int = 0
    """Seed of the start, the noise and the actions."""
    threads: ThreadsOption = None
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None

    def run(self) -> CommandResult:
        check_at_least(self.frames, MIN_FRAMES, "--frames")
        check_at_least(self.steps, 1, "--steps")
        check_at_least(self.threads, 1, "--threads")
        with Progress(self.frames, f"bench {self.preset}", self.progress) as progress:
            data = _bench_play(self, progress)
        return CommandResult(text=_play_text(data), data=data)


SUBCOMMANDS: dict[str, type[Subcommand]] = {
    "play": BenchPlay,
    "latency": BenchLatency,
    "soak": BenchSoak,
    "train": BenchTrain,
}
FORMER_FLAGS = {"--play": ("latency", "--seconds"), "--session": ("soak", "--input"), "--train": ("train", None)}
"""Former flag of `worldsim bench PRESET` to its subcommand and the flag that takes its value."""


def run(argv: list[str]) -> int:
    return run_subcommand(SUBCOMMANDS, with_subcommand(argv), command="bench")


def with_subcommand(argv: Sequence[str]) -> list[str]:
    """Translates `PRESET [--play S | --session KIND | --train]`, the former spelling, to the subcommands."""
    names_subcommand = argv[:1] and (argv[0] in SUBCOMMANDS or argv[0] in ("-h", "--help"))
    has_two_words = len(argv) > 1 and not argv[0].startswith("-") and not argv[1].startswith("-")
    if not argv or names_subcommand or has_two_words:  # two words: a misspelled subcommand and its preset
        return list(argv)
    flags = [(argument, *argument.partition("=")) for argument in argv]
    former = [flag for _, flag, _, _ in flags if flag in FORMER_FLAGS]
    if len(former) > 1:
        raise UsageError(f"{' and '.join(former)} cannot be combined", hint="worldsim bench --help")
    translated = []
    for argument, flag, equals, value in flags:
        _, renamed = FORMER_FLAGS.get(flag, ("", argument))
        if flag not in FORMER_FLAGS:
            translated.append(argument)
        elif renamed is not None:
            translated.append(f"{renamed}{equals}{value}")
    return [FORMER_FLAGS[former[0]][0] if former else "play", *translated]


@dataclass(frozen=True, kw_only=True)
class FrameCost:
    """Time and memory of one frame."""

    ms: float
    rss_bytes: int
    times: StageTimes


def _bench_play(arguments: BenchPlay, progress: Progress) -> dict[str, Any]:
    """Returns: the JSON result. Side effects: sets torch's number of threads."""
    start_s = time.perf_counter()
    import torch

    from worldsim.actions.pose_control import key_spec
    from worldsim.actions.scripted_actions import script_actions
    from worldsim.engine.preset_world import PRESET_THREADS, open_preset

    threads = arguments.threads or PRESET_THREADS
    opened = open_preset(arguments.preset, device=arguments.device, num_steps=arguments.steps, threads=threads)
    preset, simulator = opened.preset, opened.simulator
    spec = simulator.action_spec
    actions = script_actions("explore", key_spec(spec), arguments.seed, arguments.frames)
    simulator.step(simulator.reset(arguments.seed).action)
    first_frame_s = time.perf_counter() - start_s
    first = simulator.reset(arguments.seed)
    costs = measure(simulator, first, actions, progress)
    return {
        "preset": preset.config.name,
        "preset_sha256": preset.sha256,
        **summary(costs),
        "s_to_first_frame": first_frame_s,
        "state_bytes": simulator.snapshot().state.num_bytes,
        "steps": simulator.num_steps,
        "frames": arguments.frames,
        "device": opened.device,
        "dtype": str(next(preset.model.parameters()).dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def measure(simulator: Simulator, first: Step, actions: Sequence[Action], progress: Progress) -> list[FrameCost]:
    """One cost per action, from the current state of `simulator`, whose newest frame is `first`."""
    from worldsim.actions.pose_control import pose_step

    step, spec = first, simulator.action_spec
    process = psutil.Process()
    costs = []
    for index, action in enumerate(actions, start=1):
        before_s = time.perf_counter()
        step = simulator.step(pose_step(spec, action, step.action))
        ms = (time.perf_counter() - before_s) * 1e3
        costs.append(FrameCost(ms=ms, rss_bytes=process.memory_info().rss, times=simulator.last_times))
        progress.update(index, f"{ms:.1f} ms/frame", ms=round(ms, 3))
    return costs


def summary(costs: Sequence[FrameCost]) -> dict[str, float]:
    """Rates and percentiles over all frames; ratios of the medians of an early and a late window of equal length."""
    early, late = early_and_late(costs)
    all_ms = [cost.ms for cost in costs]
    return {
        "frames_per_s": 1e3 / fmean(all_ms),
        "ms_per_frame_p50": median(all_ms),
        "ms_per_frame_p95": quantiles(all_ms, n=20)[-1],
        "ms_early": median(cost.ms for cost in early),
        "ms_late": median(cost.ms for cost in late),
        "late_over_early": median(cost.ms for cost in late) / median(cost.ms for cost in early),
        "rss_bytes": late[-1].rss_bytes,
        "rss_late_over_early": median(cost.rss_bytes for cost in late) / median(cost.rss_bytes for cost in early),
        "ms_denoise": fmean(cost.times.ms_denoise for cost in costs),
        "ms_commit": fmean(cost.times.ms_commit for cost in costs),
        "ms_decode": fmean(cost.times.ms_decode for cost in costs),
    }


def early_and_late(costs: Sequence[FrameCost]) -> tuple[Sequence[FrameCost], Sequence[FrameCost]]:
    """Early: around frame 100. Late: the last frames. In a short run each is a quarter of it, without overlap."""
    length = min(MAX_WINDOW_FRAMES, len(costs) // 4)
    begin = min(EARLY_FRAME - length // 2, len(costs) // 4)
    return costs[begin : begin + length], costs[-length:]


def _play_text(result: dict[str, Any]) -> str:
    r = result
    setup = f"{counted(r['steps'], 'step')}, {r['device']}, {r['dtype']}, {counted(r['threads'], 'thread')}"
    rows = [
        ("  ms per frame", f"p50 {r['ms_per_frame_p50']:.2f}, p95 {r['ms_per_frame_p95']:.2f}"),
        ("  ms per stage", f"denoise {r['ms_denoise']:.2f}, commit {r['ms_commit']:.2f}, decode {r['ms_decode']:.2f}"),
        ("  late / early", f"time {r['late_over_early']:.3f}, memory {r['rss_late_over_early']:.3f}"),
        ("  first frame", f"{r['s_to_first_frame']:.1f} s after start"),
        ("  memory", f"state {r['state_bytes'] / 1e6:.2f} MB, process {r['rss_bytes'] / 1e6:.0f} MB"),
    ]
    return f"{r['preset']}: {r['frames_per_s']:.1f} frames/s ({setup})\n{text_table(rows)}"
