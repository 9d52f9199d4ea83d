"""`worldsim bench`: how fast a preset plays here, whether time and memory stay flat; with `--play`, how it feels; with
`--train`, what training costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING, Annotated, Any, Literal

import psutil
import tyro

from worldsim.cli import bench_latency, bench_soak, bench_train
from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    OfflineOption,
    PresetArgument,
    ProgressOption,
    StepsOption,
    ThreadsOption,
    check_at_least,
    parse_arguments,
)
from worldsim.cli.bench_train import TrainOptions
from worldsim.cli.output import Progress, print_result
from worldsim.core.errors import UsageError

if TYPE_CHECKING:
    from worldsim.core.types import Action
    from worldsim.engine.interfaces import LoadedWorld
    from worldsim.engine.simulator import Simulator, StageTimes

HELP = "measure frames/s, ms per stage, time and memory over a long session, latency in play, the cost of training"

MIN_FRAMES = 20
"""Fewer frames have no early and late to compare."""
EARLY_FRAME = 100
"""The middle of the early window, in a run that is long enough."""
MAX_WINDOW_FRAMES = 100
MIN_PLAY_S, MAX_PLAY_S = 1.0, 3600.0


@dataclass(frozen=True, kw_only=True)
class BenchArguments:
    preset: PresetArgument
    steps: StepsOption = None
    frames: int = 1000
    """Frames to generate; 5000 to see whether it stays flat."""
    play: Annotated[float | None, tyro.conf.arg(metavar="S")] = None
    """Instead: play for S seconds, with input like a person's, without frames made ahead, and as long with them."""
    session: Literal["idle", "play"] | None = None
    """Instead: so many frames through the app's own session, standing still or with input like a person's, as fast as
    it can: what a tick costs early and late, memory, drift. 10500 frames of maze are ten minutes."""
    prefetch: int = 3
    """With --play and --session: how many frames are made ahead, at most."""
    training: tyro.conf.OmitArgPrefixes[TrainOptions] = field(default_factory=TrainOptions)
    seed: int = 0
    """Chooses the start, the noise and the walk."""
    threads: ThreadsOption = None
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None


@dataclass(frozen=True, kw_only=True)
class FrameCost:
    """What one frame took."""

    ms: float
    rss_bytes: int
    times: StageTimes


def run(argv: list[str]) -> int:
    arguments = parse_arguments(BenchArguments, argv, command="bench", help=HELP)
    check_at_least(arguments.frames, MIN_FRAMES, "--frames")
    check_at_least(arguments.steps, 1, "--steps")
    check_at_least(arguments.threads, 1, "--threads")
    check_at_least(arguments.prefetch, 1, "--prefetch")
    if arguments.play is not None and not MIN_PLAY_S <= arguments.play <= MAX_PLAY_S:
        raise UsageError(f"--play is {arguments.play:g}", hint=f"{MIN_PLAY_S:g} to {MAX_PLAY_S:g} seconds")
    if sum((arguments.play is not None, arguments.session is not None, arguments.training.train)) > 1:
        raise UsageError("--play, --session, --train", hint="one of them")
    if arguments.training.train:
        return _bench_train(arguments)
    total = arguments.frames if arguments.play is None else round(2 * arguments.play)
    do, text = bench, _text
    if arguments.play is not None:
        do, text = bench_play_latency, bench_latency.text
    elif arguments.session is not None:
        do, text = bench_long_session, bench_soak.text
    with Progress(total, f"bench {arguments.preset}", arguments.progress) as progress:
        result = do(arguments, progress)
    print_result(text(result), result, arguments.json)
    return 0


def _bench_train(arguments: BenchArguments) -> int:
    result = bench_train.bench_train(
        arguments.preset,
        arguments.training,
        device=arguments.device,
        threads=arguments.threads,
        progress_file=arguments.progress,
    )
    if result is not None:
        print_result(bench_train.text(result), result, arguments.json)
    return 0


def bench(arguments: BenchArguments, progress: Progress) -> dict[str, Any]:
    """Returns: the measurements, as the JSON has them. Side effects: sets torch's number of threads."""
    start_s = time.perf_counter()
    import torch

    from worldsim.actions.pose_control import key_spec, pose_steps
    from worldsim.actions.scripted_actions import script_actions
    from worldsim.engine.preset_world import PRESET_THREADS, open_preset

    threads = arguments.threads or PRESET_THREADS
    opened = open_preset(arguments.preset, device=arguments.device, num_steps=arguments.steps, threads=threads)
    preset, simulator, device = opened.preset, opened.simulator, opened.device
    spec = simulator.action_spec
    walk = script_actions("explore", key_spec(spec), arguments.seed, arguments.frames)
    actions = pose_steps(spec, walk, simulator.reset(arguments.seed).action)
    simulator.step(actions[0])
    first_frame_s = time.perf_counter() - start_s
    simulator.reset(arguments.seed)
    costs = measure(simulator, actions, progress)
    return {
        "preset": preset.config.name,
        "preset_sha256": preset.sha256,
        **summary(costs),
        "s_to_first_frame": first_frame_s,
        "state_bytes": simulator.snapshot().state.num_bytes,
        "steps": simulator.num_steps,
        "frames": arguments.frames,
        "device": device,
        "dtype": str(next(preset.model.parameters()).dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def bench_play_latency(arguments: BenchArguments, progress: Progress) -> dict[str, Any]:
    """Returns, side effects: as `bench`."""
    assert arguments.play is not None
    loaded, about = _open_preset(arguments)
    measured = bench_latency.bench_latency(
        loaded,
        duration_s=arguments.play,
        prefetch_depth=arguments.prefetch,
        seed=arguments.seed,
        tell=lambda done_s, what: progress.update(round(done_s), what),
    )
    return {**about, **measured}


def bench_long_session(arguments: BenchArguments, progress: Progress) -> dict[str, Any]:
    """Returns, side effects: as `bench`."""
    loaded, about = _open_preset(arguments)
    measured = bench_soak.bench_soak(
        loaded,
        is_idle=arguments.session == "idle",
        num_ticks=arguments.frames,
        prefetch_depth=arguments.prefetch,
        seed=arguments.seed,
        tell=progress.update,
    )
    return {**about, "session": arguments.session, **measured}


def _open_preset(arguments: BenchArguments) -> tuple[LoadedWorld, dict[str, Any]]:
    """What the app's worker is given, and what the JSON says of it."""
    import torch

    from worldsim.engine.preset_world import PRESET_THREADS, open_preset

    threads = arguments.threads or PRESET_THREADS
    opened = open_preset(arguments.preset, device=arguments.device, num_steps=arguments.steps, threads=threads)
    return opened.loaded_world(), {
        "preset": opened.preset.config.name,
        "preset_sha256": opened.preset.sha256,
        "steps": opened.simulator.num_steps,
        "device": opened.device,
        "threads": torch.get_num_threads(),
    }


def measure(simulator: Simulator, actions: Sequence[Action], progress: Progress) -> list[FrameCost]:
    """One cost per action, from where `simulator` stands."""
    process = psutil.Process()
    costs = []
    for index, action in enumerate(actions, start=1):
        before_s = time.perf_counter()
        simulator.step(action)
        ms = (time.perf_counter() - before_s) * 1e3
        costs.append(FrameCost(ms=ms, rss_bytes=process.memory_info().rss, times=simulator.last_times))
        progress.update(index, f"{ms:.1f} ms/frame", ms=round(ms, 3))
    return costs


def summary(costs: Sequence[FrameCost]) -> dict[str, float]:
    """Rates and percentiles over all frames; ratios of the medians of a late and an early window of equal length."""
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
    """Early: around frame 100. Late: up to the last. In a short run each is a quarter of it, without overlap."""
    length = min(MAX_WINDOW_FRAMES, len(costs) // 4)
    begin = min(EARLY_FRAME - length // 2, len(costs) // 4)
    return costs[begin : begin + length], costs[-length:]


def _text(result: dict[str, Any]) -> str:
    r = result
    where = f"{r['steps']} step(s) on {r['device']}, {r['dtype']}, {r['threads']} thread(s)"
    rows = [
        f"{r['preset']}: {r['frames_per_s']:.1f} frames/s with {where}",
        f"  ms per frame   p50 {r['ms_per_frame_p50']:.2f}, p95 {r['ms_per_frame_p95']:.2f}",
        f"  ms per stage   denoise {r['ms_denoise']:.2f}, commit {r['ms_commit']:.2f}, decode {r['ms_decode']:.2f}",
        f"  late / early   time {r['late_over_early']:.3f}, memory {r['rss_late_over_early']:.3f}",
        f"  first frame    {r['s_to_first_frame']:.1f} s after start",
        f"  memory         state {r['state_bytes'] / 1e6:.2f} MB, process {r['rss_bytes'] / 1e6:.0f} MB",
    ]
    return "\n".join(rows)
