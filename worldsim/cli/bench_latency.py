"""`worldsim bench PRESET --play S`: input like a person's, in real time, with and without frames made ahead.

The two ways of play take turns, so that a machine that is busy with other things is busy for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from worldsim.core.clock import MonotonicClock

if TYPE_CHECKING:
    from worldsim.engine.bench.realtime import RealtimeResult
    from worldsim.engine.interfaces import LoadedWorld

ROUND_S = 5.0
"""Of each way, before it is the other's turn."""


def bench_latency(
    loaded: LoadedWorld, *, duration_s: float, prefetch_depth: int, seed: int, tell: Callable[[float, str], None]
) -> dict[str, Any]:
    """`tell` is given the seconds played so far, of both ways together, and what goes on.

    Returns: the measurements, as the JSON has them.
    """
    from worldsim.actions.synthetic_input import synthetic_input
    from worldsim.engine.bench.realtime import count_mismatched_frames, play_realtime

    played: dict[int, list[RealtimeResult]] = {0: [], prefetch_depth: []}
    num_other, num_events, spent_s = 0, 0, 0.0
    while spent_s < duration_s:
        round_seed, round_s = seed + len(played[0]), min(ROUND_S, duration_s - spent_s)
        events = synthetic_input(round_seed, round_s)
        num_events += len(events)
        for turn, depth in enumerate(played):
            tell(2 * spent_s + turn * round_s, f"{depth} ahead")
            paced = play_realtime(
                loaded, events, duration_s=round_s, seed=round_seed, prefetch_depth=depth, clock=MonotonicClock()
            )
            num_other += count_mismatched_frames(loaded.playable, round_seed, paced.steps)
            played[depth].append(paced)
        spent_s += round_s
    tell(2 * spent_s, "done")
    without, ahead = summary(played[0]), summary(played[prefetch_depth])
    return {
        "play_s": spent_s,
        "touches": num_events,
        "tick_ms": played[0][0].tick_s * 1e3,
        "prefetch_depth": prefetch_depth,
        "without_prefetch": without,
        "with_prefetch": ahead,
        "ratios": {name: ahead[name] / without[name] if without[name] else None for name in _LATENCY_KEYS},
        "frames_compared": without["frames"] + ahead["frames"],
        "frames_that_differ": num_other,
    }


_LATENCY_KEYS = (
    "ms_key_p50",
    "ms_key_p95",
    "ms_mouse_p50",
    "ms_mouse_p95",
    "ms_asked_p50",
    "ms_asked_p95",
    "ms_per_frame",
    "jitter_p95",
)


def summary(played: Sequence[RealtimeResult]) -> dict[str, float]:
    """Over all rounds of one way to play."""
    key_ms = [ms for paced in played for ms in paced.key_ms]
    mouse_ms = [ms for paced in played for ms in paced.mouse_ms]
    request_latency_ms = [ms for paced in played for ms in paced.request_latency_ms]
    jitter = [share for paced in played for share in paced.jitter]
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


def text(result: dict[str, Any]) -> str:
    without, ahead, ratios = result["without_prefetch"], result["with_prefetch"], result["ratios"]
    rows = [
        f"{result['preset']}: {result['play_s']:g} s of input like a person's ({result['touches']} touches), each way,"
        f" at {1e3 / result['tick_ms']:.1f} ticks/s",
        f"  {'':<34}{'none ahead':>10}{_prefetch_label(result):>16}{'ratio':>8}",
    ]
    for label, name in (
        ("key to frame, p50, ms", "ms_key_p50"),
        ("key to frame, p95, ms", "ms_key_p95"),
        ("mouse to frame, p50, ms", "ms_mouse_p50"),
        ("mouse to frame, p95, ms", "ms_mouse_p95"),
        ("tick to frame, p50, ms", "ms_asked_p50"),
        ("tick to frame, p95, ms", "ms_asked_p95"),
        ("time to make a frame, mean, ms", "ms_per_frame"),
    ):
        rows.append(f"  {label:<34}{without[name]:>10.1f}{ahead[name]:>16.1f}{_ratio(ratios[name]):>8}")
    for label, name in (
        ("tick jitter, p95, of the period", "jitter_p95"),
        ("frames rightly foreseen", "hit_rate"),
        ("frames made in vain", "in_vain"),
    ):
        rows.append(f"  {label:<34}{without[name]:>10.1%}{ahead[name]:>16.1%}")
    differ, compared = result["frames_that_differ"], result["frames_compared"]
    same = "all the same, bit for bit" if differ == 0 else f"{differ} DIFFER"
    rows.append(f"  {compared} frames against those of the same actions without threads: {same}")
    return "\n".join(rows)


def _prefetch_label(result: dict[str, Any]) -> str:
    return f"up to {result['prefetch_depth']} ahead"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percentile(values: Sequence[float], share: float) -> float:
    return float(np.percentile(values, share)) if values else 0.0
