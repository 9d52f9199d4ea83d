"""A preset of the Hub on its way here, with words about how far it has come. Torch-free.

Owns: the watching. Does not own: what is fetched and checked (`presets.hub`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from worldsim.presets.resolve import HubRef, locate_preset

POLL_INTERVAL_S = 0.2
STEP_PERCENT = 5
"""How much more there has to be before it is worth saying."""


def download_with_progress(ref: str, report: Callable[[str], None]) -> None:
    """Nothing for what is on this machine. `report` is told stages and shares. Raises: as `hub.download`."""
    location = locate_preset(ref)
    if not isinstance(location, HubRef):
        return
    from worldsim.presets import hub

    if hub.cached_folder(location) is not None:
        return
    report(f"asking the Hub for {location.repo}")
    listing = hub.list_files(location)
    with _progress_reported(hub.blobs_folder(location), listing.num_bytes, location.repo, report):
        hub.download(listing)


@contextmanager
def _progress_reported(folder: Path, num_bytes: int, name: str, report: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile a thread looks at how much of `num_bytes` has come into `folder`."""
    is_done, before_bytes = Event(), _num_bytes_in(folder)

    def watch() -> None:
        last_percent = -STEP_PERCENT
        while True:
            here_bytes = min(num_bytes, _num_bytes_in(folder) - before_bytes)
            percent = 100 * here_bytes // max(1, num_bytes)
            if percent >= last_percent + STEP_PERCENT:
                last_percent = percent
                report(f"fetching {name}: {percent} %, {here_bytes / 1e6:.1f} of {num_bytes / 1e6:.1f} MB")
            if is_done.wait(POLL_INTERVAL_S):
                break

    watcher = Thread(target=watch, name="download", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_done.set()
        watcher.join()


def _num_bytes_in(folder: Path) -> int:
    """Of files that are whole, and of those that come."""
    total = 0
    with suppress(OSError):  # the client moves them while they are counted
        for path in folder.iterdir():
            with suppress(OSError):
                total += path.stat().st_size
    return total
