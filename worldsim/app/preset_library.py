"""The presets that can be played, as the title screen lists them: bundled, in the Hub's cache, and on the Hub.

Owns: what is said of a preset before it is loaded, and who finds it out meanwhile: two threads, since nobody shall wait
for a disk, the network or a rehearsal in front of a screen that stands still. Does not own: the listing's drawing,
loading, what the Hub says (`presets.hub`), how fast it will be (`app.speed_estimates`). Loads no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

from safetensors import SafetensorError, safe_open

from worldsim.app.hud import InlineImage
from worldsim.app.speed_estimates import SpeedEstimate, SpeedEstimates
from worldsim.core.errors import WorldsimError
from worldsim.presets.config import read_config_json
from worldsim.presets.resolve import CONFIG_FILE, START_FOLDER, WEIGHTS_FILE, bundled_presets

MAX_HUB_RESULTS = 20
"""So many of the Hub's are listed."""


@dataclass(frozen=True, kw_only=True)
class PresetEntry:
    """One preset. `ref` is what `worldsim play` takes."""

    ref: str
    name: str
    title: str = ""
    size: str = ""
    """Of its frames: "64x48"."""
    num_bytes: int = 0
    """Of the weights."""
    source: str = "bundled"
    image: InlineImage | None = None
    identity: str = ""
    """Changes with whatever its speed depends on."""
    estimate: SpeedEstimate | None = None
    """None: not known yet."""
    error: str = ""
    """Why it cannot be read."""

    def with_estimate(self, estimate: SpeedEstimate | None) -> PresetEntry:
        """Where its config is not here, the estimate knows more than its speed."""
        if estimate is None:
            return self
        return replace(
            self,
            estimate=estimate,
            title=self.title or estimate.title,
            size=self.size or estimate.picture,
            num_bytes=self.num_bytes or estimate.num_bytes,
        )


class PresetLibrary:
    """`entries` and `note` may be read at any time; `wake` is called when they have changed."""

    def __init__(self, estimates: SpeedEstimates, wake: Callable[[], None] = lambda: None) -> None:
        self._estimates, self._wake = estimates, wake
        self._lock, self._is_closed = Lock(), False
        self._wanted: SimpleQueue[PresetEntry | None] = SimpleQueue()
        self.entries: tuple[PresetEntry, ...] = ()
        self.note = ""
        """What is being done about the Hub, or why it is not."""
        self._add(bundled_entries())

    def start(self) -> None:
        """Looks into the cache and at the Hub, and at the speed of all that is listed."""
        for work in (self._search, self._estimate_speeds):
            Thread(target=work, name=f"library{work.__name__}", daemon=True).start()

    def close(self) -> None:
        """Nothing is looked for any more; does not wait."""
        self._is_closed = True
        self._wanted.put(None)
        self._estimates.close()

    def _search(self) -> None:
        from worldsim.presets import hub  # half a second

        self._add(cached_entries())
        if hub.is_offline():
            return
        self._set_note("asking the Hub for more ...")
        try:
            self._add(hub_entries())
            self._set_note("")
        except WorldsimError as error:
            self._set_note(f"nothing from the Hub: {error.message}")

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
        """Those that are not listed yet."""
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
    """The cache is shared: what cannot be read there is another library's model."""
    from worldsim.presets import hub

    found = [_entry(f"{c.repo}@{c.commit}", c.repo, c.folder, "fetched from the Hub") for c in hub.cached_presets()]
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
        return PresetEntry(ref=ref, name=name, source=source, error=f"the weights are not there: {error.strerror}")
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
    """The first frame of the first start; None when there is none that can be read."""
    for path in sorted((folder / START_FOLDER).glob("*.safetensors"))[:1]:
        try:
            with safe_open(path, framework="numpy") as file:
                frame = file.get_slice("frames")[:1][0]
        except (OSError, SafetensorError, IndexError):
            return None
        if frame.dtype == "uint8" and frame.ndim == 3 and frame.shape[2] == 3:
            return InlineImage(frame.shape[1], frame.shape[0], frame.tobytes())
    return None
