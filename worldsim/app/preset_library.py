"""The presets on the title screen: bundled, in the Hub's cache, and on the Hub, with an estimate of their speed here.

Two threads search and measure, so the title screen never waits for a disk, the network or a benchmark. Speed is
measured by `worldsim presets show` in a process of its own: torch takes seconds to load and would hold the GIL.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

import platformdirs
from safetensors import SafetensorError, safe_open

from worldsim.app.hud import InlineImage
from worldsim.core.config import from_mapping, parse_json, read_text, to_mapping
from worldsim.core.errors import ConfigError, StorageError, WorldsimError
from worldsim.core.files import atomic_write
from worldsim.presets.config import read_config_json
from worldsim.presets.resolve import CONFIG_FILE, START_FOLDER, WEIGHTS_FILE, bundled_presets

MAX_HUB_RESULTS = 20
"""Presets listed from the Hub, at most."""
TIMEOUT_S = 120.0
MAX_CACHED = 200


@dataclass(frozen=True, kw_only=True)
class SpeedEstimate:
    """The parts of `presets show` that the title screen lists."""

    title: str = ""
    frame_size: str = ""
    """For example "64x48"."""
    num_bytes: int = 0
    frames_per_s: float | None = None
    """None if it was not measured."""
    ticks_per_s: float = 0.0
    """The preset's tick rate."""
    unavailable_reason: str = ""
    """Why there is no measurement."""

    @property
    def is_slow(self) -> bool:
        return self.frames_per_s is not None and self.frames_per_s < self.ticks_per_s

    @property
    def text(self) -> str:
        if self.frames_per_s is None:
            return self.unavailable_reason
        target = f" (target {self.ticks_per_s:g})" if self.is_slow else ""
        return f"~{self.frames_per_s:.0f} fps{target}"


class SpeedEstimates:
    """Cached per preset and machine. `cached` returns at once, `measure` blocks; `close` works from any thread."""

    def __init__(self, *, device: str = "auto", path: Path | None = None, show: Sequence[str] = ()) -> None:
        """`path` and `show` replace the user's cache file and the command that measures."""
        self._path = path or platformdirs.user_cache_path("worldsim") / "speed_estimates.json"
        self._show = tuple(show) or (sys.executable, "-m", "worldsim", "presets", "show")
        self._device, self._machine = device, _machine(device)
        self._cache = self._read()
        self._lock, self._is_closed = Lock(), False
        self._process: subprocess.Popen[str] | None = None

    def cached(self, preset: str) -> SpeedEstimate | None:
        """`preset`: identifies its content, for example the hash of its config."""
        return self._cache.get(self._key(preset))

    def measure(self, preset: str, ref: str) -> SpeedEstimate:
        """Takes seconds. Keeps the fastest result so far: a slower one means that the machine was busy."""
        command = (*self._show, ref, "--device", self._device, "--json", "-")
        with self._lock:
            if self._is_closed:
                return SpeedEstimate()
            self._process = process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        try:
            output, log = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return SpeedEstimate(unavailable_reason="speed unknown")
        if process.returncode:
            errors = [line.partition("error:")[2] for line in log.splitlines() if line.startswith("error:")]
            return SpeedEstimate(unavailable_reason=errors[-1].strip() if errors else "speed unknown")
        known, estimate = self.cached(preset), _parse_estimate(output)
        if known is not None and (known.frames_per_s or 0.0) > (estimate.frames_per_s or 0.0):
            return known
        self._cache[self._key(preset)] = estimate
        self._write()
        return estimate

    def close(self) -> None:
        """Kills a running measurement; later ones return nothing."""
        with self._lock:
            self._is_closed = True
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def _key(self, preset: str) -> str:
        return hashlib.sha256(f"{preset}\n{self._machine}".encode()).hexdigest()[:32]

    def _read(self) -> dict[str, SpeedEstimate]:
        """Empty if there is no file, or a damaged one: it is only a cache."""
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


@dataclass(frozen=True, kw_only=True)
class PresetEntry:
    """One preset. `ref` is the argument for `worldsim play`."""

    ref: str
    name: str
    title: str = ""
    size: str = ""
    """Frame size, for example "64x48"."""
    num_bytes: int = 0
    """Size of the weights."""
    source: str = "bundled"
    image: InlineImage | None = None
    identity: str = ""
    """Changes with everything that its speed depends on."""
    estimate: SpeedEstimate | None = None
    """None until measured."""
    error: str = ""
    """Why the preset cannot be read."""

    def with_estimate(self, estimate: SpeedEstimate | None) -> PresetEntry:
        """Also fills in title and sizes of a preset whose config has not been downloaded."""
        if estimate is None:
            return self
        return replace(
            self,
            estimate=estimate,
            title=self.title or estimate.title,
            size=self.size or estimate.frame_size,
            num_bytes=self.num_bytes or estimate.num_bytes,
        )


class PresetLibrary:
    """`entries` and `note` may be read from any thread; `wake` is called when they change."""

    def __init__(self, estimates: SpeedEstimates, wake: Callable[[], None] = lambda: None) -> None:
        self._estimates, self._wake = estimates, wake
        self._lock, self._is_closed = Lock(), False
        self._wanted: SimpleQueue[PresetEntry | None] = SimpleQueue()
        self.entries: tuple[PresetEntry, ...] = ()
        self.note = ""
        """State of the Hub search."""
        self._add(bundled_entries())

    def start(self) -> None:
        """Starts searching the cache and the Hub, and measuring the speed of everything listed."""
        for work in (self._search, self._estimate_speeds):
            Thread(target=work, name=f"library{work.__name__}", daemon=True).start()

    def close(self) -> None:
        """Stops both threads without waiting for them."""
        self._is_closed = True
        self._wanted.put(None)
        self._estimates.close()

    def _search(self) -> None:
        from worldsim.presets import hub  # takes half a second

        self._add(cached_entries())
        if hub.is_offline():
            return
        self._set_note("searching the Hub ...")
        try:
            self._add(hub_entries())
            self._set_note("")
        except WorldsimError as error:
            self._set_note(f"Hub unavailable: {error.message}")

    def _estimate_speeds(self) -> None:
        while not self._is_closed:
            entry = self._wanted.get()
            if entry is None:
                return
            estimate = self._estimates.cached(entry.identity)
            if estimate is None or estimate.is_slow:
                estimate = self._estimates.measure(entry.identity, entry.ref)
            with self._lock:
                self.entries = tuple(o.with_estimate(estimate) if o.ref == entry.ref else o for o in self.entries)
            self._wake()

    def _add(self, found: Iterable[PresetEntry]) -> None:
        """Adds the presets that are not listed yet."""
        with self._lock:
            listed = {entry.name for entry in self.entries}
            new = tuple(o.with_estimate(self._estimates.cached(o.identity)) for o in found if o.name not in listed)
            self.entries = (*self.entries, *new)
        for entry in new:
            if not entry.error and (entry.estimate is None or entry.estimate.is_slow):
                self._wanted.put(entry)
        self._wake()

    def _set_note(self, note: str) -> None:
        self.note = note
        self._wake()


def bundled_entries() -> list[PresetEntry]:
    return [_entry(name, name, folder, "bundled") for name, folder in bundled_presets().items()]


def cached_entries() -> list[PresetEntry]:
    """The cache is shared with other libraries: entries that cannot be read are their models."""
    from worldsim.presets import hub

    found = [_entry(f"{c.repo}@{c.commit}", c.repo, c.folder, "downloaded") for c in hub.cached_presets()]
    return [entry for entry in found if not entry.error]


def hub_entries() -> list[PresetEntry]:
    """Raises: HubError."""
    from worldsim.presets import hub

    return [
        PresetEntry(ref=row["ref"], name=row["ref"], source="on the Hub", identity=f"{row['ref']} {row['updated']}")
        for row in hub.search(None, MAX_HUB_RESULTS)
    ]


def _entry(ref: str, name: str, folder: Path, source: str) -> PresetEntry:
    try:
        config, _ = read_config_json(folder / CONFIG_FILE)
        num_bytes = (folder / WEIGHTS_FILE).stat().st_size
        identity = hashlib.sha256((folder / CONFIG_FILE).read_bytes()).hexdigest()
    except WorldsimError as error:
        return PresetEntry(ref=ref, name=name, source=source, error=error.message)
    except OSError as error:
        return PresetEntry(ref=ref, name=name, source=source, error=f"weights missing: {error.strerror}")
    height_px, width_px, _ = config.frame_shape
    return PresetEntry(
        ref=ref,
        name=name,
        title=config.title,
        size=f"{width_px}x{height_px}",
        num_bytes=num_bytes,
        source=source,
        image=_first_frame_image(folder),
        identity=identity,
    )


def _first_frame_image(folder: Path) -> InlineImage | None:
    """The first frame of the first start; None if it cannot be read."""
    for path in sorted((folder / START_FOLDER).glob("*.safetensors"))[:1]:
        try:
            with safe_open(path, framework="numpy") as file:
                frame = file.get_slice("frames")[:1][0]
        except (OSError, SafetensorError, IndexError):
            return None
        if frame.dtype == "uint8" and frame.ndim == 3 and frame.shape[2] == 3:
            return InlineImage(frame.shape[1], frame.shape[0], frame.tobytes())
    return None


def _parse_estimate(output: str) -> SpeedEstimate:
    facts = json.loads(output)
    return SpeedEstimate(
        title=facts["title"],
        frame_size=facts["picture"],
        num_bytes=facts["bytes"],
        frames_per_s=facts["predicted_frames_per_s"],
        ticks_per_s=facts["ticks_per_s"],
        unavailable_reason=facts["predicted_reason"],
    )


def _machine(device: str) -> str:
    """Identifies everything but the preset that speed depends on."""
    return f"{platform.node()} {platform.machine()} {os.cpu_count()} {device} torch {version('torch')}"
