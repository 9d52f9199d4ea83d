"""VPT's contractor data: an mp4 of Minecraft, and a jsonl of the same name with one line of input per frame.

Source: Baker et al., Video PreTraining, 2022, and the published reader: its key names, degrees per mouse count, and its
corrections of the recordings (attack is stuck from the start until first pressed; the scroll wheel is visible only as a
change of the hotbar slot). The mouse is clipped at 10 degrees per tick, as in that reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from worldsim.core.errors import RecordingError
from worldsim.core.types import ActionSpec
from worldsim.episodes.importers.base import (
    ActionArray,
    ImportedEpisode,
    ImportOptions,
    SourceFormat,
    align_actions,
    read_jsonl,
    sibling_file,
)
from worldsim.episodes.video import read_frames, video_times

KEYS = {
    "w": "forward",
    "s": "back",
    "a": "left",
    "d": "right",
    "space": "jump",
    "left.shift": "sneak",
    "left.control": "sprint",
    "e": "inventory",
    "q": "drop",
    "f": "swap_hands",
    "escape": "escape",
    **{str(slot): f"hotbar_{slot}" for slot in range(1, 10)},
}
MOUSE = ("attack", "use", "pick_item")
DEG_PER_COUNT = 360.0 / 2400.0
MAX_DEG = 10.0
MAX_LENGTH_MISMATCH = 5
"""The two recorders do not stop at the same time: extra rows at the end are dropped."""

SPEC = ActionSpec(
    buttons=(*KEYS.values(), *MOUSE),
    axes=("turn", "pitch"),
    axis_units=tuple((axis, f"{MAX_DEG:g} deg per tick") for axis in ("turn", "pitch")),
)


def read(path: Path, options: ImportOptions) -> ImportedEpisode:
    rate, times = video_times(path)
    lines = sibling_file(path, ".jsonl")
    rows = read_jsonl(lines)
    if abs(len(rows) - len(times)) > MAX_LENGTH_MISMATCH:
        raise RecordingError(f"{len(times)} frames, but {lines.name} has {len(rows)} lines", hint="")
    num_frames = min(len(rows), len(times))
    try:
        actions = _actions(rows[:num_frames])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RecordingError(f"{lines.name} is not in VPT's format: {type(error).__name__} {error}", hint="") from None
    return ImportedEpisode(
        frames_per_s=options.frames_per_s or rate,
        action_spec=SPEC,
        actions=align_actions(actions, num_frames, options.action_time),
        frames=read_frames(path, is_strict=True),
    )


def _actions(rows: list[dict[str, Any]]) -> ActionArray:
    actions = np.zeros((len(rows), SPEC.size), np.float32)
    is_attack_stuck, slot = rows[0]["mouse"]["newButtons"] == [0], int(rows[0].get("hotbar", 0))
    for index, row in enumerate(rows):
        mouse, before = row["mouse"], slot
        is_attack_stuck = is_attack_stuck and (index == 0 or 0 not in mouse["newButtons"])
        pressed = [KEYS.get(str(key).removeprefix("key.keyboard.")) for key in row["keyboard"]["keys"]]
        pressed += [MOUSE[b] for b in mouse["buttons"] if b in (0, 1, 2) and not (b == 0 and is_attack_stuck)]
        slot = int(row.get("hotbar", slot))
        if slot != before:
            pressed.append(f"hotbar_{slot + 1}")
        for name in filter(None, pressed):
            actions[index, SPEC.buttons.index(name)] = 1.0
        degrees = -DEG_PER_COUNT * np.array([mouse["dx"], mouse["dy"]], np.float64)  # left and up are positive
        if not np.isfinite(degrees).all():
            raise ValueError(f"line {index + 1} moves the mouse by {degrees}")
        actions[index, -2:] = np.clip(degrees / MAX_DEG, -1, 1)
    return actions


FORMAT = SourceFormat(
    description="VPT's contractor data: mp4, and jsonl with a line of input per frame",
    suffixes=(".mp4",),
    frames_per_s=None,
    action_time="after",
    read=read,
)
