"""Synthetic input: deterministic, valid, and with the intended kinds of events."""

from __future__ import annotations

from itertools import pairwise

from worldsim.actions.bindings import BINDINGS, MOUSE_X
from worldsim.actions.synthetic_input import MOUSE_REPORT_PERIOD_S, TAP_S, InputEvent, synthetic_input

EVENTS = synthetic_input(3, 120.0)


def test_same_seed_gives_same_events() -> None:
    assert synthetic_input(3, 120.0) == EVENTS != synthetic_input(4, 120.0)


def test_events_are_ordered_in_range_and_every_key_is_released() -> None:
    times = [event.t_s for event in EVENTS]
    assert times == sorted(times)
    assert times[0] > 0 and times[-1] <= 120.0
    keys = {event.key for event in EVENTS} - {MOUSE_X}
    for key in keys:
        downs = [event.is_down for event in EVENTS if event.key == key]
        assert downs == [True, False] * (len(downs) // 2), key
    assert keys | {MOUSE_X} <= {key for row in BINDINGS if row.button or row.axis for key in row.keys}


def test_contains_taps_holds_and_mouse_sweeps() -> None:
    held_s = [up.t_s - down.t_s for key in ("w", "left", "right") for down, up in pairs(key)]
    assert sum(TAP_S[0] < s < TAP_S[1] for s in held_s) > 10
    assert sum(s > 1.0 for s in held_s) > 10
    sweep = [event for event in EVENTS if event.key == MOUSE_X]
    gaps_s = [after.t_s - before.t_s for before, after in pairwise(sweep)]
    assert abs(sorted(gaps_s)[len(gaps_s) // 2] - MOUSE_REPORT_PERIOD_S) < 0.001
    assert min(event.dx_px for event in sweep) < 0 < max(event.dx_px for event in sweep)


def pairs(key: str) -> list[tuple[InputEvent, InputEvent]]:
    events = [event for event in EVENTS if event.key == key]
    return list(zip(events[::2], events[1::2], strict=True))
