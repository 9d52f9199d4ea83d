"""`worldsim bench latency` and `soak`: play through the app's own session, in real time and on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    OfflineOption,
    PresetArgument,
    ProgressOption,
    StepsOption,
    ThreadsOption,
    check_at_least,
    option,
)
from worldsim.cli.output import CommandResult, Progress, text_table
from worldsim.core.clock import MonotonicClock
from worldsim.core.errors import UsageError

if TYPE_CHECKING:
    from worldsim.engine.bench import RealtimeResult, SoakSample
    from worldsim.engine.interfaces import LoadedWorld

MIN_SECONDS, MAX_SECONDS = 1.0, 3600.0
ROUND_S = 5.0
"""Length of a latency round, with or without prefetch."""
NUM_SAMPLES = 20
NUM_ROWS = 10
EARLY = (0.05, 0.20)
LATE = (0.85, 1.0)
"""Fractions of the ticks that are compared. Start-up effects, torch's caches for one, are over by 0.05."""


@dataclass(frozen=True, kw_only=True)
class BenchLatency:
    """Benchmark input latency in real time, with and without prefetch.

    Synthetic keyboard and mouse input drives the app's session. Every frame is compared with a single-threaded run of
    the same actions.
    """

    preset: PresetArgument
    seconds: Annotated[float, option("S")] = 20.0
    """Seconds of synthetic input with prefetch, and as long without."""
    max_prefetch: Annotated[int, option("N")] = 3
    """Maximum number of frames generated ahead."""
    steps: StepsOption = None
    seed: int = 0
    """Seed of the start, the noise and the input."""
    threads: ThreadsOption = None
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None

    def run(self) -> CommandResult:
        if not MIN_SECONDS <= self.seconds <= MAX_SECONDS:
            raise UsageError(f"--seconds is {self.seconds:g}", hint=f"{MIN_SECONDS:g} to {MAX_SECONDS:g}")
        loaded, data = _open(self)
        with Progress(round(2 * self.seconds), f"bench {self.preset}", self.progress) as progress:
            data |= bench_latency(
                loaded,
                duration_s=self.seconds,
                prefetch_depth=self.max_prefetch,
                seed=self.seed,
                on_progress=lambda done_s, note: progress.update(round(done_s), note),
            )
        return CommandResult(text=latency_text(data), data=data)


@dataclass(frozen=True, kw_only=True)
class BenchSoak:
    """Soak test: play for a long time, as fast as possible, and report time per tick, memory and drift.

    Ten minutes of `maze` are 10,500 frames.
    """

    preset: PresetArgument
    input: Literal["idle", "play"] = "play"
    """idle: no input. play: synthetic keyboard and mouse input."""
    frames: int = 1000
    """Frames to generate."""
    max_prefetch: Annotated[int, option("N")] = 3
    """Maximum number of frames generated ahead."""
    steps: StepsOption = None
    seed: int = 0
    """Seed of the start, the noise and the input."""
    threads: ThreadsOption = None
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None

    def run(self) -> CommandResult:
        check_at_least(self.frames, NUM_SAMPLES, "--frames")
        loaded, data = _open(self)
        with Progress(self.frames, f"bench {self.preset}", self.progress) as progress:
            data |= {"session": self.input} | bench_soak(
                loaded,
                is_idle=self.input == "idle",
                num_ticks=self.frames,
                prefetch_depth=self.max_prefetch,
                seed=self.seed,
                on_progress=progress.update,
            )
        return CommandResult(text=_soak_text(data), data=data)


def _open(arguments: BenchLatency | BenchSoak) -> tuple[LoadedWorld, dict[str, Any]]:
    """A world for the app's worker, and its part of the JSON result. Side effects: sets torch's number of threads."""
    check_at_least(arguments.steps, 1, "--steps")
    check_at_least(arguments.threads, 1, "--threads")
    check_at_least(arguments.max_prefetch, 1, "--max-prefetch")
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


def bench_latency(
    loaded: LoadedWorld, *, duration_s: float, prefetch_depth: int, seed: int, on_progress: Callable[[float, str], None]
) -> dict[str, Any]:
    """Plays with and without prefetch, alternating every ROUND_S seconds so that other load affects both equally.

    `on_progress` gets the seconds played in total and a note. Returns: the JSON result.
    """
    from worldsim.actions.synthetic_input import synthetic_input
    from worldsim.engine.bench import count_mismatched_frames, play_realtime

    played: dict[int, list[RealtimeResult]] = {0: [], prefetch_depth: []}
    num_mismatches, num_events, spent_s = 0, 0, 0.0
    while spent_s < duration_s:
        round_seed, round_s = seed + len(played[0]), min(ROUND_S, duration_s - spent_s)
        events = synthetic_input(round_seed, round_s)
        num_events += len(events)
        for turn, depth in enumerate(played):
            on_progress(2 * spent_s + turn * round_s, f"prefetch {depth}")
            paced = play_realtime(
                loaded, events, duration_s=round_s, seed=round_seed, prefetch_depth=depth, clock=MonotonicClock()
            )
            num_mismatches += count_mismatched_frames(loaded.playable, round_seed, paced.steps)
            played[depth].append(paced)
        spent_s += round_s
    on_progress(2 * spent_s, "done")
    without, prefetched = latency_summary(played[0]), latency_summary(played[prefetch_depth])
    return {
        "play_s": spent_s,
        "touches": num_events,
        "tick_ms": played[0][0].tick_s * 1e3,
        "prefetch_depth": prefetch_depth,
        "without_prefetch": without,
        "with_prefetch": prefetched,
        "ratios": {name: prefetched[name] / without[name] if without[name] else None for name in LATENCY_KEYS},
        "frames_compared": without["frames"] + prefetched["frames"],
        "frames_that_differ": num_mismatches,
    }


LATENCY_KEYS = (
    "ms_key_p50",
    "ms_key_p95",
    "ms_mouse_p50",
    "ms_mouse_p95",
    "ms_asked_p50",
    "ms_asked_p95",
    "ms_per_frame",
    "jitter_p95",
)


def latency_summary(played: Sequence[RealtimeResult]) -> dict[str, float]:
    """Over all rounds with the same prefetch depth."""
    key_ms = [ms for paced in played for ms in paced.key_ms]
    mouse_ms = [ms for paced in played for ms in paced.mouse_ms]
    request_latency_ms = [ms for paced in played for ms in paced.request_latency_ms]
    jitter = [x for paced in played for x in paced.jitter]
    hits = sum(paced.counters.hits for paced in played)
    misses = sum(paced.counters.misses for paced in played)
    made = sum(paced.counters.made for paced in played)
    return {
        "frames": sum(len(paced.steps) for paced in played),
        "ms_key_p50": _percentile(key_ms, 50),
        "ms_key_p95": _percentile(key_ms, 95),
        "ms_mouse_p50": _percentile(mouse_ms, 50),
        "ms_mouse_p95": _percentile(mouse_ms, 95),
        "ms_asked_p50": _percentile(request_latency_ms, 50),
        "ms_asked_p95": _percentile(request_latency_ms, 95),
        "jitter_p50": _percentile(jitter, 50),
        "jitter_p95": _percentile(jitter, 95),
        "hit_rate": hits / max(1, hits + misses),
        "in_vain": sum(paced.counters.dropped for paced in played) / max(1, made),
        "ms_per_frame": sum(paced.counters.busy_ns for paced in played) / 1e6 / max(1, made),
    }


def latency_text(result: dict[str, Any]) -> str:
    without, prefetched, ratios = result["without_prefetch"], result["with_prefetch"], result["ratios"]
    rows = [("", "no prefetch", f"prefetch <= {result['prefetch_depth']}", "ratio")]
    for label, name in (
        ("  key to frame, p50 (ms)", "ms_key_p50"),
        ("  key to frame, p95 (ms)", "ms_key_p95"),
        ("  mouse to frame, p50 (ms)", "ms_mouse_p50"),
        ("  mouse to frame, p95 (ms)", "ms_mouse_p95"),
        ("  tick to frame, p50 (ms)", "ms_asked_p50"),
        ("  tick to frame, p95 (ms)", "ms_asked_p95"),
        ("  generation time, mean (ms)", "ms_per_frame"),
    ):
        ratio = "-" if ratios[name] is None else f"{ratios[name]:.2f}"
        rows.append((label, f"{without[name]:.1f}", f"{prefetched[name]:.1f}", ratio))
    for label, name in (
        ("  tick jitter, p95 (of the tick)", "jitter_p95"),
        ("  prefetch hit rate", "hit_rate"),
        ("  frames discarded", "in_vain"),
    ):
        rows.append((label, f"{without[name]:.1%}", f"{prefetched[name]:.1%}", ""))
    mismatches, compared = result["frames_that_differ"], result["frames_compared"]
    verdict = "bit-exact" if mismatches == 0 else f"{mismatches} DIFFER"
    title = (
        f"{result['preset']}: {result['play_s']:g} s of synthetic input ({result['touches']} events) "
        f"at {1e3 / result['tick_ms']:.1f} ticks/s"
    )
    check = f"  {compared} frames compared with a single-threaded run of the same actions: {verdict}"
    return "\n".join([title, text_table(rows, align="lrrr"), check])


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else 0.0


def bench_soak(
    loaded: LoadedWorld,
    *,
    is_idle: bool,
    num_ticks: int,
    prefetch_depth: int,
    seed: int,
    on_progress: Callable[[int], None],
) -> dict[str, Any]:
    """Plays on a simulated clock, as fast as possible. Returns: the JSON result."""
    from worldsim.engine.bench import run_soak

    every = max(1, num_ticks // NUM_SAMPLES)
    soak = run_soak(
        loaded,
        is_idle=is_idle,
        num_ticks=num_ticks,
        every=every,
        seed=seed,
        prefetch_depth=prefetch_depth,
        on_progress=on_progress,
    )
    early, late = _percentiles(soak.tick_ms, EARLY), _percentiles(soak.tick_ms, LATE)
    full = first_full_sample(soak.points)
    return {
        "frames": num_ticks,
        "world_s": num_ticks * soak.tick_s,
        "prefetch_depth": prefetch_depth,
        "tick_cpu_ms_early": early,
        "tick_cpu_ms_late": late,
        "late_over_early": {name: late[name] / early[name] for name in early},
        "rss_bytes_when_full": soak.points[full].rss_bytes,
        "rss_bytes_late": soak.points[-1].rss_bytes,
        "full_at_tick": soak.points[full].tick,
        "begin": asdict(soak.begin),
        "points": [asdict(point) for point in soak.points],
    }


def first_full_sample(points: Sequence[SoakSample]) -> int:
    """The first sample with the full rewind history: memory is expected to grow up to there."""
    most = points[-1].history_bytes
    return next(index for index, point in enumerate(points) if point.history_bytes >= 0.98 * most)


def _percentiles(tick_ms: np.ndarray[Any, np.dtype[np.float64]], part: tuple[float, float]) -> dict[str, float]:
    num = len(tick_ms)
    found = tick_ms[int(num * part[0]) : int(num * part[1])]
    return {f"p{share}": float(np.percentile(found, share)) for share in (50, 95, 99)}


def _soak_text(result: dict[str, Any]) -> str:
    early, late, ratio = result["tick_cpu_ms_early"], result["tick_cpu_ms_late"], result["late_over_early"]
    kind = "no input" if result["session"] == "idle" else "synthetic input"
    times = [("  CPU time per tick", "early", "late", "ratio")]
    times += [(f"  {name} (ms)", f"{early[name]:.1f}", f"{late[name]:.1f}", f"{ratio[name]:.3f}") for name in early]
    samples = [("  tick", "ms", "MB", "sharpness", "contrast", "red", "green", "blue", "drift")]
    samples.append(("  start", "", "", *_image_cells(result["begin"]), ""))
    step = max(1, len(result["points"]) // NUM_ROWS)
    for point in result["points"][step - 1 :: step]:
        drift = "-" if point["drift"] is None else f"{point['drift']:.2f}"
        usage = (f"{point['ms_p50']:.1f}", f"{point['rss_bytes'] / 1e6:.0f}")
        samples.append((f"  {point['tick']}", *usage, *_image_cells(point["look"]), drift))
    return "\n".join(
        [
            f"{result['preset']}: {result['frames']} ticks, {result['world_s'] / 60:.1f} minutes of play, {kind}",
            text_table(times, align="lrrr"),
            f"  memory: {result['rss_bytes_when_full'] / 1e6:.0f} MB at tick {result['full_at_tick']}, when the rewind "
            f"history is full; {result['rss_bytes_late'] / 1e6:.0f} MB at the end",
            text_table(samples, align="lrrrrrrrr"),
        ]
    )


def _image_cells(look: dict[str, Any]) -> tuple[str, str, str, str, str]:
    red, green, blue = (f"{value:.1f}" for value in look["rgb"])
    return f"{look['sharpness']:.2f}", f"{look['contrast']:.1f}", red, green, blue
