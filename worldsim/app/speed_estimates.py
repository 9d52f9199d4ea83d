"""How fast a preset will play here, for the title screen: kept from the last time, or tried in another process.

Owns: the file of what is known, per preset and machine, and the process. Does not own: the prediction, which is that of
`worldsim presets show`. The process is another one because torch takes seconds to load and would hold up the window.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Lock

import platformdirs

from worldsim.core.config import from_mapping, parse_json, read_text, to_mapping
from worldsim.core.errors import ConfigError, StorageError
from worldsim.core.files import atomic_write

TIMEOUT_S = 120.0
MAX_CACHED = 200


@dataclass(frozen=True, kw_only=True)
class SpeedEstimate:
    """What `presets show` says that the title screen wants to know."""

    title: str = ""
    picture: str = ""
    num_bytes: int = 0
    frames_per_s: float | None = None
    """None where it was not tried."""
    ticks_per_s: float = 0.0
    """What the preset asks for."""
    trouble: str = ""
    """Why it is not known."""

    @property
    def is_slow(self) -> bool:
        return self.frames_per_s is not None and self.frames_per_s < self.ticks_per_s

    @property
    def text(self) -> str:
        if self.frames_per_s is None:
            return self.trouble
        pace = f", its pace is {self.ticks_per_s:g}" if self.is_slow else ""
        return f"about {self.frames_per_s:.0f} frames/s here{pace}"


class SpeedEstimates:
    """`cached` at once, `measure` in a thread of the caller's; `close` from any thread ends it."""

    def __init__(self, *, device: str = "auto", path: Path | None = None, show: Sequence[str] = ()) -> None:
        """`path` and `show`: in place of the user's own file, and of the command that is asked."""
        self._path = path or platformdirs.user_cache_path("worldsim") / "forecasts.json"
        self._show = tuple(show) or (sys.executable, "-m", "worldsim", "presets", "show")
        self._device, self._machine = device, _machine(device)
        self._cache = self._read()
        self._lock, self._is_closed = Lock(), False
        self._process: subprocess.Popen[str] | None = None

    def cached(self, preset: str) -> SpeedEstimate | None:
        """`preset`: a name that changes with what it is, such as the hash of its config."""
        return self._cache.get(self._key(preset))

    def measure(self, preset: str, ref: str) -> SpeedEstimate:
        """Takes seconds. The best that came of it is kept: what was slower was the machine's other work."""
        command = (*self._show, ref, "--device", self._device, "--json", "-")
        with self._lock:
            if self._is_closed:
                return SpeedEstimate()
            self._process = process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        try:
            said, complaints = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return SpeedEstimate(trouble="speed not known")
        if process.returncode:
            errors = [line.partition("error:")[2] for line in complaints.splitlines() if line.startswith("error:")]
            return SpeedEstimate(trouble=errors[-1].strip() if errors else "speed not known")
        known, estimate = self.cached(preset), _parse_estimate(said)
        if known is not None and (known.frames_per_s or 0.0) > (estimate.frames_per_s or 0.0):
            return known
        self._cache[self._key(preset)] = estimate
        self._write()
        return estimate

    def close(self) -> None:
        """Nothing is tried any more."""
        with self._lock:
            self._is_closed = True
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def _key(self, preset: str) -> str:
        return hashlib.sha256(f"{preset}\n{self._machine}".encode()).hexdigest()[:32]

    def _read(self) -> dict[str, SpeedEstimate]:
        """Nothing where there is no file, or a damaged one: it can be made again."""
        if not self._path.exists():
            return {}
        try:
            return {key: from_mapping(SpeedEstimate, row) for key, row in parse_json(read_text(self._path)).items()}
        except (ConfigError, ValueError, AttributeError, TypeError):
            return {}

    def _write(self) -> None:
        rows = {key: to_mapping(estimate) for key, estimate in list(self._cache.items())[-MAX_CACHED:]}
        with suppress(StorageError):
            atomic_write(self._path, json.dumps(rows, indent=1) + "\n")


def _parse_estimate(said: str) -> SpeedEstimate:
    facts = json.loads(said)
    return SpeedEstimate(
        title=facts["title"],
        picture=facts["picture"],
        num_bytes=facts["bytes"],
        frames_per_s=facts["predicted_frames_per_s"],
        ticks_per_s=facts["ticks_per_s"],
        trouble=facts["predicted_reason"],
    )


def _machine(device: str) -> str:
    """What speed depends on beside the preset."""
    return f"{platform.node()} {platform.machine()} {os.cpu_count()} {device} torch {version('torch')}"
