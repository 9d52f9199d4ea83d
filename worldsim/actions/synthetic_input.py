"""Synthetic keyboard and mouse input, by seed, for the real-time benchmark.

The distributions were chosen, not measured: taps of about 0.1 s, holds of one or two seconds, smooth mouse sweeps, and
two independent hands. Real input belongs in recordings.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from worldsim.actions.bindings import MOUSE_X

LEFT_HAND_WEIGHTS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("w",), 60),
    (("w", "d"), 8),
    (("w", "a"), 8),
    (("a",), 5),
    (("d",), 5),
    (("s",), 4),
    ((), 10),
)
"""Keys that the left hand holds, with weights."""
RIGHT_HAND_WEIGHTS = (("rest", 35), ("hold", 25), ("taps", 15), ("sweep", 25))
"""What the right hand does: nothing, hold an arrow, tap an arrow, sweep the mouse sideways."""
TAP_S, TAP_GAP_S, CHORD_S = (0.06, 0.14), (0.08, 0.2), (0.02, 0.06)
SWEEP_S, SWEEP_PX = (0.15, 0.6), (40.0, 500.0)
MOUSE_REPORT_PERIOD_S = 1 / 125
MOVE_MEDIAN_S, HOLD_MEDIAN_S, REST_MEDIAN_S = 1.2, 0.45, 0.9
"""Medians of log-normal distributions."""


@dataclass(frozen=True, kw_only=True)
class InputEvent:
    """At `t_s` a key goes down or up, or (`key` is MOUSE_X) the mouse moves `dx_px` to the right."""

    t_s: float
    key: str
    is_down: bool = False
    dx_px: float = 0.0


def synthetic_input(seed: int, duration_s: float) -> tuple[InputEvent, ...]:
    """Events in time order, determined by the seed. Every key that goes down also goes up."""
    left = _left_hand(random.Random(f"left:{seed}"), duration_s)
    right = _right_hand(random.Random(f"right:{seed}"), duration_s)
    return tuple(sorted((*left, *right), key=lambda event: event.t_s))


def _left_hand(rng: random.Random, duration_s: float) -> Iterator[InputEvent]:
    t_s = rng.uniform(0.1, 0.5)
    while t_s < duration_s:
        (keys,) = rng.choices([keys for keys, _ in LEFT_HAND_WEIGHTS], [weight for _, weight in LEFT_HAND_WEIGHTS])
        end_s = t_s + _lognormal_s(rng, MOVE_MEDIAN_S)
        down_s = t_s
        for key in keys:
            yield from _hold(key, down_s, end_s, duration_s)
            down_s += rng.uniform(*CHORD_S)
        t_s = end_s + rng.uniform(*CHORD_S)


def _right_hand(rng: random.Random, duration_s: float) -> Iterator[InputEvent]:
    t_s = rng.uniform(0.3, 1.0)
    while t_s < duration_s:
        (look,) = rng.choices([look for look, _ in RIGHT_HAND_WEIGHTS], [weight for _, weight in RIGHT_HAND_WEIGHTS])
        arrow, end_s = rng.choice(("left", "right")), t_s
        if look == "rest":
            end_s += _lognormal_s(rng, REST_MEDIAN_S)
        elif look == "hold":
            end_s += _lognormal_s(rng, HOLD_MEDIAN_S)
            yield from _hold(arrow, t_s, end_s, duration_s)
        elif look == "taps":
            for _ in range(rng.randint(1, 4)):
                up_s = end_s + rng.uniform(*TAP_S)
                yield from _hold(arrow, end_s, up_s, duration_s)
                end_s = up_s + rng.uniform(*TAP_GAP_S)
        else:
            end_s += rng.uniform(*SWEEP_S)
            dx_px = rng.uniform(*SWEEP_PX) * (1 if arrow == "right" else -1)
            yield from _sweep(t_s, min(end_s, duration_s), dx_px)
        t_s = end_s + rng.uniform(*CHORD_S)


def _lognormal_s(rng: random.Random, median_s: float) -> float:
    return min(6.0, max(0.08, rng.lognormvariate(0.0, 0.7) * median_s))


def _hold(key: str, down_s: float, up_s: float, duration_s: float) -> Iterator[InputEvent]:
    if down_s < min(up_s, duration_s):
        yield InputEvent(t_s=down_s, key=key, is_down=True)
        yield InputEvent(t_s=min(up_s, duration_s), key=key)


def _sweep(begin_s: float, end_s: float, dx_px: float) -> Iterator[InputEvent]:
    """A minimum-jerk sweep: position 10 u^3 - 15 u^4 + 6 u^5 at the fraction u of the time."""
    num_reports = max(1, round((end_s - begin_s) / MOUSE_REPORT_PERIOD_S))
    gone = 0.0
    for report in range(1, num_reports + 1):
        u = report / num_reports
        there = dx_px * u**3 * (10 - 15 * u + 6 * u * u)
        yield InputEvent(t_s=begin_s + (end_s - begin_s) * u, key=MOUSE_X, dx_px=there - gone)
        gone = there
