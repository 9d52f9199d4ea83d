"""Open-loop scripts: fixed sequences of actions for worlds that give no pose (the learned one above all).

Owns: `explore`, `return`, `look`, by seed. Does not own: walkers that see where they are (`worlds.doom.policies`).
What the turn axis does in a tick is read from the spec's `axis_units`, never assumed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from worldsim.core.errors import ConfigError, did_you_mean
from worldsim.core.types import NO_ACTION, Action, ActionSpec


def script_actions(name: str, spec: ActionSpec, seed: int, num_frames: int) -> list[Action]:
    """`num_frames` actions of script `name`; the same seed, the same actions.

    `explore` presses whatever there is in a world in which nobody can walk forward and turn by known degrees.
    Raises: ConfigError for an unknown script, or another one in such a world.
    """
    if name not in _SCRIPTS:
        raise ConfigError(f"no script {name!r}", hint=did_you_mean(name, SCRIPT_NAMES))
    if name == "explore" and not _can_walk(spec):
        return list(_random_inputs(spec, random.Random(f"{name}:{seed}"), num_frames))
    turn_deg = turn_deg_per_tick(spec)
    if "forward" not in spec.buttons:
        raise ConfigError(
            f"script {name!r} walks forward; this world has {spec.buttons}", hint="explore works in every one"
        )
    actions = list(_SCRIPTS[name](spec, turn_deg, random.Random(f"{name}:{seed}"), num_frames))
    assert len(actions) == num_frames, (len(actions), num_frames)
    return actions


def turn_deg_per_tick(spec: ActionSpec) -> float:
    """Degrees that the turn axis at 1 turns in one model tick, from a unit such as '10 deg per tick'."""
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
    """One or two inputs at a time, held for a while, and nothing now and then."""
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
    """A person at the keyboard: mostly forward, turning every second or so, seldom sideways, back or still."""
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
    """Out, half a turn, and back: the way out's actions mirrored in reverse order, so that the path is retraced."""
    half_turn = round(180.0 / turn_deg)
    num_out = max(0, num_frames - half_turn) // 2
    out = list(_outbound_path(turn_deg, rng, num_out))
    about = [Action.of(turn=1.0)] * half_turn
    back = [Action(buttons=a.buttons, axes=(("turn", -a.axis("turn")),)) for a in reversed(out)]
    actions = [*out, *about, *back]
    yield from (actions + [NO_ACTION] * num_frames)[:num_frames]


def _outbound_path(turn_deg: float, rng: random.Random, num_frames: int) -> Iterator[Action]:
    left = num_frames
    while left > 0:
        walk, turn, sign = rng.randint(6, 18), rng.randint(0, round(60 / turn_deg)), rng.choice((-1.0, 1.0))
        stretch = [Action.of("forward")] * walk + [Action.of("forward", turn=sign)] * turn
        yield from stretch[:left]
        left -= len(stretch)


def _look(spec: ActionSpec, turn_deg: float, rng: random.Random, num_frames: int) -> Iterator[Action]:
    """Full circles on the spot, one way and then the other, each as long as a held key takes."""
    circle, sign = round(360.0 / turn_deg), rng.choice((-1.0, 1.0))
    for index in range(num_frames):
        yield Action.of(turn=sign if (index // circle) % 2 == 0 else -sign)


_Script = Callable[[ActionSpec, float, random.Random, int], Iterator[Action]]
_SCRIPTS: dict[str, _Script] = {"explore": _explore, "return": _return, "look": _look}
SCRIPT_NAMES = tuple(_SCRIPTS)
