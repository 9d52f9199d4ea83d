"""A track of touches is the same for the same seed, can be played, and looks like hands."""

from __future__ import annotations

from itertools import pairwise

from worldsim.actions.bindings import BINDINGS, MOUSE_X
from worldsim.actions.synthetic_input import MOUSE_REPORT_S, TAP_S, Touch, hands

TOUCHES = hands(3, 120.0)


def test_a_seed_is_a_track() -> None:
    assert hands(3, 120.0) == TOUCHES != hands(4, 120.0)


def test_it_lies_in_its_time_in_order_and_every_key_comes_up() -> None:
    times = [touch.t_s for touch in TOUCHES]
    assert times == sorted(times)
    assert times[0] > 0 and times[-1] <= 120.0
    keys = {touch.key for touch in TOUCHES} - {MOUSE_X}
    for key in keys:
        downs = [touch.is_down for touch in TOUCHES if touch.key == key]
        assert downs == [True, False] * (len(downs) // 2), key
    assert keys | {MOUSE_X} <= {key for row in BINDINGS if row.button or row.axis for key in row.keys}


def test_there_are_taps_holds_and_sweeps_of_the_mouse() -> None:
    held_s = [up.t_s - down.t_s for key in ("w", "left", "right") for down, up in pairs(key)]
    assert sum(TAP_S[0] < s < TAP_S[1] for s in held_s) > 10
    assert sum(s > 1.0 for s in held_s) > 10
    sweep = [touch for touch in TOUCHES if touch.key == MOUSE_X]
    gaps_s = [after.t_s - before.t_s for before, after in pairwise(sweep)]
    assert abs(sorted(gaps_s)[len(gaps_s) // 2] - MOUSE_REPORT_S) < 0.001
    assert min(touch.dx_px for touch in sweep) < 0 < max(touch.dx_px for touch in sweep)


def pairs(key: str) -> list[tuple[Touch, Touch]]:
    touches = [touch for touch in TOUCHES if touch.key == key]
    return list(zip(touches[::2], touches[1::2], strict=True))
