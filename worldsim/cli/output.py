"""Output of commands: results as text and JSON, progress as a bar on a terminal and JSON lines in a file.

Threads: a Progress with a file has one of its own, which repeats the latest line while the work reports nothing;
`update` may be called from any single thread.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from worldsim.cli.arguments import parse_subcommand
from worldsim.cli.main import COMMANDS
from worldsim.core.errors import WorldsimError
from worldsim.core.files import atomic_write, storage_errors

STDOUT = "-"
"""File name that stands for standard output."""
HEARTBEAT_S = 0.4
"""Longest interval between lines of a progress file, below the documented half second."""


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """Result of a command as text and as JSON. `error` is raised after both have been written."""

    text: str
    data: Mapping[str, Any]
    error: WorldsimError | None = None


class Subcommand(Protocol):
    """A dataclass of arguments with the function that uses them."""

    @property
    def json(self) -> str | None: ...

    def run(self) -> CommandResult | None:
        """None: no output, on the other ranks of a distributed run."""


def run_subcommand(subcommands: Mapping[str, type[Subcommand]], argv: Sequence[str], *, command: str) -> int:
    """Returns: 0. Raises: as `parse_subcommand`; whatever the subcommand raises or returns as its error."""
    arguments = parse_subcommand(subcommands, argv, command=command, help=COMMANDS[command])
    result = arguments.run()
    if result is None:
        return 0
    print_result(result.text, result.data, arguments.json)
    if result.error is not None:
        raise result.error
    return 0


def print_result(text: str, data: Mapping[str, Any], json_path: str | None) -> None:
    """Writes the JSON if requested, then the text: to stderr if the JSON is on stdout. Raises: StorageError."""
    if json_path is not None:
        write_json(json_path, data)
    print(text, file=sys.stderr if json_path == STDOUT else sys.stdout)


def counted(num: int, noun: str) -> str:
    """For example "1 step", "2 steps"."""
    return f"{num} {noun}{'' if num == 1 else 's'}"


def text_table(rows: Iterable[Sequence[str]], *, align: str = "") -> str:
    """Columns two spaces apart. `align`: l or r per column; columns beyond it are aligned left."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [">" if letter == "r" else "<" for letter in f"{align:l<{len(widths)}}"]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
        for line in lines
    )


def write_json(path: str | Path, data: Mapping[str, Any]) -> None:
    """Writes `data` to a file atomically, or to standard output for "-". NaN and infinity become null.

    Raises: StorageError when the file cannot be written.
    """
    text = json.dumps(_null_non_finite(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(path) == STDOUT:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    atomic_write(Path(path), text)


class Progress:
    """Progress of a long command: a bar if stderr is a terminal, JSON lines in `file` if one is given.

    A line is {"label", <unit>, "total", "elapsed_s", "remaining_s", "state": "running" | "done" | "failed"} plus the
    values passed to `update`.
    """

    def __init__(self, total: float, label: str, file: str | Path | None = None, *, unit: str = "frame") -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done: float = 0
        self._values: dict[str, Any] = {}
        self._started_s = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._file = _open(file)
        self._thread: threading.Thread | None = None
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._task: TaskID = self._bar.add_task(label, total=total, note="")

    def __enter__(self) -> Progress:
        self._bar.start()
        if self._file:
            self._write("running")
            self._thread = threading.Thread(target=self._heartbeat, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        self._bar.stop()
        if self._file:
            self._write("failed" if kind else "done")
            if self._file is not sys.stdout:
                self._file.close()

    @property
    def done(self) -> float:
        return self._done

    def update(self, done: float, note: str = "", **values: Any) -> None:
        """`note` is shown beside the bar; `values` are in all further lines of the file."""
        with self._lock:
            self._done = done
            self._values.update(values)
        self._bar.update(self._task, completed=done, note=note)

    def advance(self, count: float) -> None:
        self.update(self._done + count)

    def _heartbeat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            self._write("running")

    def _write(self, state: str) -> None:
        elapsed_s = time.monotonic() - self._started_s
        with self._lock:
            done, values = self._done, dict(self._values)
        line = {
            "label": self._label,
            self._unit: done,
            "total": self._total,
            "elapsed_s": round(elapsed_s, 3),
            "remaining_s": round(elapsed_s / done * (self._total - done), 3) if done else None,
            "state": state,
            **values,
        }
        assert self._file is not None
        self._file.write(json.dumps(_null_non_finite(line), ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()


def _open(file: str | Path | None) -> TextIO | None:
    if file is None:
        return None
    if str(file) == STDOUT:
        return sys.stdout
    with storage_errors(Path(file)):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        return Path(file).open("w", encoding="utf-8")


def _null_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _null_non_finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_null_non_finite(item) for item in value]
    return value
