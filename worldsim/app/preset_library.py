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
from worldsim.app.speed_estimates import Forecast, Forecasts
from worldsim.core.errors import WorldsimError
from worldsim.presets.config import read_config_json
from worldsim.presets.resolve import CONFIG_FILE, START_FOLDER, WEIGHTS_FILE, bundled_presets

MAX_FOUND = 20
"""So many of the Hub's are listed."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One preset. `ref` is what `worldsim play` takes."""

    ref: str
    name: str
    title: str = ""
    size: str = ""
    """Of its frames: "64x48"."""
    num_bytes: int = 0
    """Of the weights."""
    place: str = "bundled"
    image: InlineImage | None = None
    identity: str = ""
    """Changes with whatever its speed depends on."""
    forecast: Forecast | None = None
    """None: not known yet."""
    trouble: str = ""
    """Why it cannot be read."""

    def foretold(self, forecast: Forecast | None) -> Offer:
        """Where its config is not here, the forecast knows more than its speed."""
        if forecast is None:
            return self
        return replace(
            self,
            forecast=forecast,
            title=self.title or forecast.title,
            size=self.size or forecast.picture,
            num_bytes=self.num_bytes or forecast.num_bytes,
        )


class Shelf:
    """`offers` and `note` may be read at any time; `wake` is called when they have changed."""

    def __init__(self, forecasts: Forecasts, wake: Callable[[], None] = lambda: None) -> None:
        self._forecasts, self._wake = forecasts, wake
        self._lock, self._is_closed = Lock(), False
        self._wanted: SimpleQueue[Offer | None] = SimpleQueue()
        self.offers: tuple[Offer, ...] = ()
        self.note = ""
        """What is being done about the Hub, or why it is not."""
        self._add(bundled_offers())

    def start(self) -> None:
        """Looks into the cache and at the Hub, and at the speed of all that is listed."""
        for work in (self._look, self._foretell):
            Thread(target=work, name=f"shelf{work.__name__}", daemon=True).start()

    def close(self) -> None:
        """Nothing is looked for any more; does not wait."""
        self._is_closed = True
        self._wanted.put(None)
        self._forecasts.close()

    def _look(self) -> None:
        from worldsim.presets import hub  # half a second

        self._add(cached_offers())
        if hub.is_offline():
            return
        self._say("asking the Hub for more ...")
        try:
            self._add(hub_offers())
            self._say("")
        except WorldsimError as error:
            self._say(f"nothing from the Hub: {error.message}")

    def _foretell(self) -> None:
        while not self._is_closed:
            offer = self._wanted.get()
            if offer is None:
                return
            forecast = self._forecasts.known(offer.identity)
            if forecast is None or forecast.is_slow:
                forecast = self._forecasts.make(offer.identity, offer.ref)
            with self._lock:
                self.offers = tuple(o.foretold(forecast) if o.ref == offer.ref else o for o in self.offers)
            self._wake()

    def _add(self, found: Iterable[Offer]) -> None:
        """Those that are not listed yet."""
        with self._lock:
            listed = {offer.name for offer in self.offers}
            new = tuple(o.foretold(self._forecasts.known(o.identity)) for o in found if o.name not in listed)
            self.offers = (*self.offers, *new)
        for offer in new:
            if not offer.trouble and (offer.forecast is None or offer.forecast.is_slow):
                self._wanted.put(offer)
        self._wake()

    def _say(self, note: str) -> None:
        self.note = note
        self._wake()


def bundled_offers() -> list[Offer]:
    return [_offer(name, name, folder, "bundled") for name, folder in bundled_presets().items()]


def cached_offers() -> list[Offer]:
    """The cache is shared: what cannot be read there is another library's model."""
    from worldsim.presets import hub

    found = [_offer(f"{c.repo}@{c.commit}", c.repo, c.folder, "fetched from the Hub") for c in hub.cached_presets()]
    return [offer for offer in found if not offer.trouble]


def hub_offers() -> list[Offer]:
    """Raises: HubError."""
    from worldsim.presets import hub

    return [
        Offer(ref=row["ref"], name=row["ref"], place="on the Hub", identity=f"{row['ref']} {row['updated']}")
        for row in hub.search(None, MAX_FOUND)
    ]


def _offer(ref: str, name: str, folder: Path, place: str) -> Offer:
    try:
        config, _ = read_config_json(folder / CONFIG_FILE)
        num_bytes = (folder / WEIGHTS_FILE).stat().st_size
        identity = hashlib.sha256((folder / CONFIG_FILE).read_bytes()).hexdigest()
    except WorldsimError as error:
        return Offer(ref=ref, name=name, place=place, trouble=error.message)
    except OSError as error:
        return Offer(ref=ref, name=name, place=place, trouble=f"the weights are not there: {error.strerror}")
    height_px, width_px, _ = config.frame_shape
    return Offer(
        ref=ref,
        name=name,
        title=config.title,
        size=f"{width_px}x{height_px}",
        num_bytes=num_bytes,
        place=place,
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
