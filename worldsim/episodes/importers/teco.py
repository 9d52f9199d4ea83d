"""Datasets of TECO: DMLab as npz {video, actions}, Minecraft as mp4 with an npz {actions} of the same name.

Source: Yan et al., Temporally Consistent Transformers for Video Generation, 2022. Actions are integers; the first one
is dropped, as readers of these data do, and row t's action led from frame t-1 to t. The files define neither the
meaning of the numbers nor DMLab's frame rate: assumed are turn left, turn right, forward at 15 frames per second;
Minecraft's four stay four buttons. `--classes` and `--fps` override this.
"""

from __future__ import annotations

from pathlib import Path

from worldsim.episodes.importers.base import (
    ImportedEpisode,
    ImportOptions,
    SourceFormat,
    align_actions,
    check_frames,
    decode_classes,
    parse_action_classes,
    read_npz,
    sibling_file,
)
from worldsim.episodes.video import read_frames, video_times

DMLAB_CLASSES = ("turn=1", "turn=-1", "forward")
MINECRAFT_CLASSES = ("action0", "action1", "action2", "action3")


def read_dmlab(path: Path, options: ImportOptions) -> ImportedEpisode:
    video, numbers = read_npz(path, "video", "actions")
    frames = check_frames(video)
    spec, vectors = parse_action_classes(options.classes or DMLAB_CLASSES)
    return ImportedEpisode(
        frames_per_s=options.frames_per_s or DMLAB.frames_per_s or 0.0,
        action_spec=spec,
        actions=align_actions(decode_classes(numbers, vectors), len(frames), options.action_time),
        frames=frames,
    )


def read_minecraft(path: Path, options: ImportOptions) -> ImportedEpisode:
    rate, times = video_times(path)
    (numbers,) = read_npz(sibling_file(path, ".npz"), "actions")
    spec, vectors = parse_action_classes(options.classes or MINECRAFT_CLASSES)
    return ImportedEpisode(
        frames_per_s=options.frames_per_s or rate,
        action_spec=spec,
        actions=align_actions(decode_classes(numbers, vectors), len(times), options.action_time),
        frames=read_frames(path, is_strict=True),
    )


DMLAB = SourceFormat(
    description="DMLab data of TECO: npz with video and actions",
    suffixes=(".npz",),
    frames_per_s=15.0,
    action_time="before",
    read=read_dmlab,
)
MINECRAFT = SourceFormat(
    description="Minecraft data of TECO: mp4, and npz with actions",
    suffixes=(".mp4",),
    frames_per_s=None,
    action_time="before",
    read=read_minecraft,
)
