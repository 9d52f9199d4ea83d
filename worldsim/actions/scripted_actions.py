"""Scripted, open-loop action sequences: `explore`, `return` and `look`, by seed. They need no pose.

How far the turn axis turns per tick is read from the spec's `axis_units`, never assumed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from worldsim.core.errors import ConfigError, did_you_mean
from worldsim.core.types import NO_ACTION, Action, ActionSpec


def script_actions(name: str, spec: ActionSpec, seed: int, num_frames: int) -> list[Action]:
    """`num_frames` actions of script `name`, determined by the seed.

    Without a forward button and a turn axis in degrees, `explore` presses random inputs. Raises: ConfigError for an
    unknown script, or for another script in such a world.
    """
    if name not in _SCRIPTS:
        raise ConfigError(f"no script {name!r}", hint=did_you_mean(name, SCRIPT_NAMES))
    if name == "explore" and not _can_walk(spec):
        return list(_random_inputs(spec, random.Random(f"{name}:{seed}"), num_frames))
    turn_deg = turn_deg_per_tick(spec)
    if "forward" not in spec.buttons:
        raise ConfigError(
            f"script {name!r} needs a button forward; this world has {spec.buttons}", hint="explore works in any world"
        )
    actions = list(_SCRIPTS[name](spec, turn_deg, random.Random(f"{name}:{seed}"), num_frames))
    assert len(actions) == num_frames, (len(actions), num_frames)
    return actions


def turn_deg_per_tick(spec: ActionSpec) -> float:
    """Degrees per tick with the turn axis at 1, from a unit such as '10 deg per tick'. Raises: ConfigError."""
    turn_deg = _parse_turn_deg(spec)
    if turn_deg is None:
        unit = dict(spec.axis_units).get("turn", "")
        raise ConfigError(f"the axis turn has the unit {unit!r}", hint="scripts need an axis turn in 'N deg per tick'")
    return turn_deg


def _parse_turn_deg(spec: ActionSpec) -> float | None:
    match = re.match(r"\s*([0-9.]+)\s*deg", dict(spec.axis_units).get("turn", ""))
    return float(match.group(1)) if "turn" in spec.axes and match else None


def _can_walk(spec: ActionSpec) -> bool:
    return "forward" in spec.buttons and _parse_turn_deg(spec) is not None


def _random_inputs(spec: ActionSpec, rng: random.Random, num_frames: int) -> Iterator[Action]:
    """Holds none, one or two random inputs at a time, for 3 to 15 ticks."""
    choices = [Action.of(name) for name in spec.buttons]
    choices += [Action.of(**{name: sign}) for name in spec.axes for sign in (-1.0, 1.0)]
    left = num_frames
    while left > 0:
        parts = rng.sample(choices, min(len(choices), rng.choice((0, 1, 1, 2))))
        axes = {name: value for part in parts for name, value in part.axes}
        action = Action(buttons=frozenset().union(*(part.buttons for part in parts)), axes=tuple(axes.items()))
        ticks = min(left, rng.randint(3, 15))
        yield from [action] * ticks
        left -= ticks


def _explore(spec: ActionSpec, turn_deg: float, rng: random.Random, num_frames: int) -> Iterator[Action]:
    """Like a player at the keyboard: mostly forward with frequent turns; seldom sideways, back or still."""
    left = num_frames
    while left > 0:
        kind = rng.choices(("walk", "curve", "turn", "strafe", "back", "still"), (34, 24, 24, 8, 5, 5))[0]
        sign = rng.choice((-1.0, 1.0))
        if kind == "walk":
            action, ticks = Action.of("forward"), rng.randint(5, 22)
        elif kind == "curve":
            action, ticks = Action.of("forward", turn=sign), rng.randint(2, max(3, round(70 / turn_deg)))
        elif kind == "turn":
            action, ticks = Action.of(turn=sign), rng.randint(3, max(4, round(120 / turn_deg)))
        elif kind == "strafe" and {"left", "right"} <= set(spec.buttons):
            action, ticks = Action.of(rng.choice(("left", "right"))), rng.randint(3, 10)
        elif kind == "back" and "back" in spec.buttons:
            action, ticks = Action.of("back"), rng.randint(3, 8)
        else:
            action, ticks = NO_ACTION, rng.randint(2, 8)
        for _ in range(min(ticks, left)):
            yield action
        left -= ticks


def _return(spec: ActionSpec, turn_deg: float, rng: random.Random, num_frames: int) -> Iterator[Action]:
    """Out, a half turn, and back: the outbound actions reversed and mirrored, which retraces the path."""
    num_half_turn = round(180.0 / turn_deg)
    num_out = max(0, num_frames - num_half_turn) // 2
    out = list(_outbound_path(turn_deg, rng, num_out))
    half_turn = [Action.of(turn=1.0)] * num_half_turn
    back = [Action(buttons=a.buttons, axes=(("turn", -a.axis("turn")),)) for a in reversed(out)]
    actions = [*out, *half_turn, *back]
    yield from (actions + [NO_ACTION] * num_frames)[:num_frames]


def _outbound_path(turn_deg: float, rng: random.Random, num_frames: int) -> Iterator[Action]:
    left = num_frames
    while left > 0:
        walk, turn, sign = rng.randint(6, 18), rng.randint(0, round(60 / turn_deg)), rng.choice((-1.0, 1.0))
        segment = [Action.of("forward")] * walk + [Action.of("forward", turn=sign)] * turn
        yield from segment[:left]
        left -= len(segment)


def _look(spec: ActionSpec, turn_deg: float, rng: random.Random, num_frames: int) -> Iterator[Action]:
    """Full turns on the spot in alternating directions, at the rate of a held key."""
    circle, sign = round(360.0 / turn_deg), rng.choice((-1.0, 1.0))
    for index in range(num_frames):
        yield Action.of(turn=sign if (index // circle) % 2 == 0 else -sign)


_Script = Callable[[ActionSpec, float, random.Random, int], Iterator[Action]]
_SCRIPTS: dict[str, _Script] = {"explore": _explore, "return": _return, "look": _look}
SCRIPT_NAMES = tuple(_SCRIPTS)
