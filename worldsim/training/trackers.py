"""Optional metric trackers: TensorBoard, or a service with wandb's interface (wandb, trackio).

Each is an optional package. The log of a run is log.jsonl (`loop`), with or without them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from worldsim.core.errors import MissingPackageError
from worldsim.core.install import install_hint

TrackerName = Literal["tensorboard", "trackio", "wandb"]
LogRow = Mapping[str, float | int | str]
LogRowCallback = Callable[[LogRow], None]


@contextmanager
def open_trackers(
    names: Sequence[TrackerName], folder: Path, *, project: str, config: Mapping[str, Any]
) -> Iterator[LogRowCallback]:
    """A function that sends a row of the log to all trackers. TensorBoard's files are written to `folder`.

    Raises: MissingPackageError, before any training.
    """
    with ExitStack() as stack:
        tracks = []
        for name in names:
            opened = _tensorboard(folder) if name == "tensorboard" else _service(name, folder, project, config)
            tracks.append(stack.enter_context(opened))

        def track(row: LogRow) -> None:
            for each in tracks:
                each(row)

        yield track


@contextmanager
def _tensorboard(folder: Path) -> Iterator[LogRowCallback]:
    _import_tracker("tensorboard")
    from torch.utils.tensorboard.writer import SummaryWriter

    with SummaryWriter(str(folder)) as writer:

        def track(row: LogRow) -> None:
            for key, value in _metrics(row).items():
                writer.add_scalar(key, value, int(row["update"]))

        yield track


@contextmanager
def _service(name: TrackerName, folder: Path, project: str, config: Mapping[str, Any]) -> Iterator[LogRowCallback]:
    module = _import_tracker(name)
    module.init(project=project, name="-".join(folder.parts[-2:]), config=dict(config))
    try:
        yield lambda row: module.log(_metrics(row), step=int(row["update"]))
    finally:
        module.finish()


def _metrics(row: LogRow) -> dict[str, float]:
    return {key: float(value) for key, value in row.items() if key != "update" and not isinstance(value, str)}


def _import_tracker(name: TrackerName) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"--track {name} needs the package {name} ({error})"
        raise MissingPackageError(message, hint=install_hint(name)) from error
