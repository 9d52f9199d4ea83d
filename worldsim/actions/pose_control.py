"""A camera for presets whose inputs are poses: the movement keys move it. Only a model can stop it at walls
(`WorldModel.stop_at_walls`).

Stateless: the next pose follows from the pose of the newest frame, so rewinding and loading need no extra handling.
How far a tick moves comes from the world's config (`PoseControl`).
"""

from __future__ import annotations

import math
import re

import numpy as np

from worldsim.core.types import Action, ActionSpec

_HEADING = re.compile(r"(cos|sin)(\d*)")
"""A heading input: cosine or sine of the angle, or of a multiple of it ("cos2")."""


def key_spec(spec: ActionSpec) -> ActionSpec:
    """The inputs for keys and scripts: those of the world, or those of the camera if its inputs are poses."""
    if spec.pose_control is None:
        return spec
    unit = f"{math.degrees(spec.pose_control.turn_rad):g} deg per tick"
    return ActionSpec(buttons=("forward", "back", "left", "right"), axes=("turn",), axis_units=(("turn", unit),))


def pose_step(spec: ActionSpec, action: Action, newest: Action) -> Action:
    """The action for the world: `action` itself, or the pose that the keys in it lead to from pose `newest`.

    Moves along the heading at the middle of the turn, so that the opposite keys return to the start. Values are rounded
    to float32, as they are stored and passed to a model.
    """
    pose_control = spec.pose_control
    if pose_control is None or any(name in spec.axes for name, _ in action.axes):
        return action
    pose = dict(newest.axes)
    angle_rad = math.atan2(pose.get("sin", 0.0), pose.get("cos", 0.0))
    turn_rad = pose_control.turn_rad * action.axis("turn")
    if turn_rad or not ("cos" in pose or "sin" in pose):
        pose |= _heading_inputs(spec, angle_rad + turn_rad)
    forward, left = (_button_difference(action, *pair) for pair in (("forward", "back"), ("left", "right")))
    if forward or left:
        direction_rad = angle_rad + turn_rad / 2 + math.atan2(left, forward)
        for name, part in (("x", math.cos(direction_rad)), ("y", math.sin(direction_rad))):
            pose[name] = min(1.0, max(-1.0, pose.get(name, 0.0) + pose_control.step_length * part))
    return Action(axes=tuple((name, float(np.float32(value))) for name, value in pose.items()))


def _heading_inputs(spec: ActionSpec, angle_rad: float) -> dict[str, float]:
    """All heading inputs for an angle."""
    found: dict[str, float] = {}
    for name in spec.axes:
        match = _HEADING.fullmatch(name)
        if match:
            found[name] = getattr(math, match[1])(int(match[2] or 1) * angle_rad)
    return found


def _button_difference(action: Action, one: str, other: str) -> int:
    return (one in action.buttons) - (other in action.buttons)
