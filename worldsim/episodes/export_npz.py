"""Exports sessions as npz files in the layout of Memory Maze's datasets, for use by other projects.

Does not own: the layout (`importers.memory_maze`, which also imports it: a round trip keeps every bit).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import RecordingError, UsageError
from worldsim.episodes.importers import memory_maze
from worldsim.episodes.importers.convert import ConversionResult
from worldsim.episodes.reader import RecordedSession, find_sessions, open_session


def export_folder(
    source: Path, target: Path, tell: Callable[[int, int, str], None] = lambda done, total, name: None
) -> ConversionResult:
    """One file per episode, named after its session; `tell(done, total, session)` is called before each session.

    Sessions that cannot be exported are listed in the result. Raises: UsageError without sessions, StorageError.
    """
    outcome, folders = ConversionResult(), find_sessions(source)
    if not folders:
        raise UsageError(f"{source} holds no session", hint="import some with `worldsim data import`")
    for index, folder in enumerate(folders):
        tell(index, len(folders), folder.name)
        try:
            session = open_session(folder)
            _export(session, target, outcome)
        except RecordingError as error:
            outcome.skipped[str(folder)] = error.message
    return outcome


def _export(session: RecordedSession, target: Path, outcome: ConversionResult) -> None:
    if not session.is_complete or not session.is_lossless or session.num_missing_images:
        raise RecordingError("it is not complete and lossless", hint="")
    for number, episode in enumerate(session.episodes):
        name = session.folder.name if len(session.episodes) == 1 else f"{session.folder.name}-{number}"
        path = target / f"{name}.npz"
        if path.exists():
            outcome.there_already.append(name)
            continue
        poses = [row.pose for row in episode.rows]
        if None in poses:
            raise RecordingError("it has no poses", hint="")
        actions = np.array([row.action for row in episode.rows], np.float32)
        arrays: dict[str, npt.NDArray[Any]] = {
            "image": np.stack(list(session.frames(number))),
            "action": memory_maze.one_hot(actions, session.header.action_spec),
            **memory_maze.pose_arrays(np.array(poses, np.float32)),
        }
        memory_maze.write(path, arrays)
        outcome.converted[name] = len(episode.rows)
