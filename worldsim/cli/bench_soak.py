"""`worldsim bench PRESET --session idle|play`: hours of play on a simulated clock, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from worldsim.engine.bench.soak import SoakSample
    from worldsim.engine.interfaces import LoadedWorld

NUM_SAMPLES = 20
NUM_ROWS = 10
EARLY = (0.05, 0.20)
LATE = (0.85, 1.0)
"""Shares of the ticks that are compared; what begins with play, torch's own caches for one, is over by then."""


def bench_soak(
    loaded: LoadedWorld,
    *,
    is_idle: bool,
    num_ticks: int,
    prefetch_depth: int,
    seed: int,
    tell: Callable[[int], None],
) -> dict[str, Any]:
    """Returns: the measurements, as the JSON has them."""
    from worldsim.engine.bench.soak import run_soak

    every = max(1, num_ticks // NUM_SAMPLES)
    soak = run_soak(
        loaded,
        is_idle=is_idle,
        num_ticks=num_ticks,
        every=every,
        seed=seed,
        prefetch_depth=prefetch_depth,
        tell=tell,
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
    """The first point at which what can be rewound to has its full size: memory grows up to there, as it should."""
    most = points[-1].history_bytes
    return next(index for index, point in enumerate(points) if point.history_bytes >= 0.98 * most)


def _percentiles(tick_ms: np.ndarray[Any, np.dtype[np.float64]], part: tuple[float, float]) -> dict[str, float]:
    num = len(tick_ms)
    found = tick_ms[int(num * part[0]) : int(num * part[1])]
    return {f"p{share}": float(np.percentile(found, share)) for share in (50, 95, 99)}


def text(result: dict[str, Any]) -> str:
    r, early, late, ratio = result, result["tick_cpu_ms_early"], result["tick_cpu_ms_late"], result["late_over_early"]
    what = "standing still" if r["session"] == "idle" else "input like a person's"
    rows = [
        f"{r['preset']}: {r['frames']} ticks, {r['world_s'] / 60:.1f} min of the world, {what}",
        "  processor time of a tick   "
        + ", ".join(
            f"{name} {early[name]:.1f} early, {late[name]:.1f} ms late (x {ratio[name]:.3f})" for name in early
        ),
        f"  memory                     {r['rss_bytes_when_full'] / 1e6:.0f} MB at tick {r['full_at_tick']}, when"
        f" what can be rewound is full; {r['rss_bytes_late'] / 1e6:.0f} MB at the end",
        f"  {'tick':>8}{'ms':>8}{'MB':>8}{'sharpness':>11}{'contrast':>10}"
        f"{'red':>7}{'green':>7}{'blue':>7}{'drift':>7}",
        _row("begin", "", "", r["begin"], None),
    ]
    step = max(1, len(r["points"]) // NUM_ROWS)
    for point in r["points"][step - 1 :: step]:
        ms, memory = f"{point['ms_p50']:.1f}", f"{point['rss_bytes'] / 1e6:.0f}"
        rows.append(_row(str(point["tick"]), ms, memory, point["look"], point["drift"]))
    return "\n".join(rows)


def _row(tick: str, ms: str, memory: str, look: dict[str, Any], drift: float | None) -> str:
    red, green, blue = look["rgb"]
    shown = "-" if drift is None else f"{drift:.2f}"
    return (
        f"  {tick:>8}{ms:>8}{memory:>8}{look['sharpness']:>11.2f}{look['contrast']:>10.1f}"
        f"{red:>7.1f}{green:>7.1f}{blue:>7.1f}{shown:>7}"
    )
