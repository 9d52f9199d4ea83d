"""The presets that can be played here, as the title screen lists them: bundled ones, and those in the Hub's cache.

Owns: what is said of a preset before it is loaded. Does not own: the listing's drawing, loading. Asks no network,
loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from worldsim.app.hud import Picture
from worldsim.core.errors import WorldsimError
from worldsim.presets.config import read_config_json
from worldsim.presets.resolve import CONFIG_FILE, START_FOLDER, WEIGHTS_FILE, bundled_presets


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One preset. `ref` is what `worldsim play` takes."""

    ref: str
    name: str
    title: str = ""
    num_bytes: int = 0
    """Of the weights."""
    place: str = "bundled"
    picture: Picture | None = None
    trouble: str = ""
    """Why it cannot be read."""


def offers() -> tuple[Offer, ...]:
    """All that are whole on this machine."""
    from worldsim.presets import hub

    bundled = [_offer(name, name, folder, "bundled") for name, folder in bundled_presets().items()]
    cached = [_offer(f"{c.repo}@{c.commit}", c.repo, c.folder, "from the Hub") for c in hub.cached_presets()]
    # The cache is shared: what cannot be read there is another library's model.
    return (*bundled, *(offer for offer in cached if not offer.trouble))


def _offer(ref: str, name: str, folder: Path, place: str) -> Offer:
    try:
        config, _ = read_config_json(folder / CONFIG_FILE)
        num_bytes = (folder / WEIGHTS_FILE).stat().st_size
    except WorldsimError as error:
        return Offer(ref=ref, name=name, place=place, trouble=error.message)
    except OSError as error:
        return Offer(ref=ref, name=name, place=place, trouble=f"the weights are not there: {error.strerror}")
    return Offer(
        ref=ref, name=name, title=config.title, num_bytes=num_bytes, place=place, picture=_first_picture(folder)
    )


def _first_picture(folder: Path) -> Picture | None:
    """The first frame of the first start; None when there is none that can be read."""
    for path in sorted((folder / START_FOLDER).glob("*.safetensors"))[:1]:
        try:
            with safe_open(path, framework="numpy") as file:
                frame = file.get_slice("frames")[:1][0]
        except (OSError, SafetensorError, IndexError):
            return None
        if frame.dtype == "uint8" and frame.ndim == 3 and frame.shape[2] == 3:
            return Picture(frame.shape[1], frame.shape[0], frame.tobytes())
    return None
