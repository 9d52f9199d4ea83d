"""From what a person typed to a preset folder: a bundled name, a folder, or a repository on the Hub. Torch-free.

Owns: the order in which a reference is understood. Does not own: what lies in the folder (`presets.store`), the network
(`presets.hub`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import worldsim
from worldsim.core.errors import PresetError, PresetNotFoundError, did_you_mean

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
RECIPE_FILE = "preset.toml"
START_FOLDER = "start"
DOWNLOADED_FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, f"{START_FOLDER}/*.safetensors")
"""All that is ever fetched from the Hub, or pushed to it. Nothing among it can run code."""

_HUB_REF = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(\w(?!.*(?:\.\.|//))[\w./-]*))?", re.ASCII)
"""A revision becomes a path in the cache: no `..`, no slash in front."""
_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})


@dataclass(frozen=True, kw_only=True)
class HubRef:
    """A repository on the Hub, and which of its revisions: a branch, a tag or a commit."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def bundled_folder() -> Path:
    """Where the presets that come with worldsim lie: inside the wheel, or at the top of a checkout."""
    package = Path(worldsim.__file__).parent
    installed = package / "_presets"
    return installed if installed.is_dir() else package.parent / "presets"


def bundled_presets() -> dict[str, Path]:
    """Name to folder, of the bundled presets that can be played."""
    return {path.parent.name: path.parent for path in sorted(bundled_folder().glob(f"*/{CONFIG_FILE}"))}


def resolve_preset(ref: str | Path) -> Path:
    """The folder that `ref` names: a bundled name, a folder (a checkpoint too), or `user/repo[@revision]`.

    Raises: PresetNotFoundError when there is nothing there, PresetError when there is something else there, HubError.
    Side effects: a Hub reference is downloaded into the Hub's cache when it is not there yet, and stderr says so.
    """
    location = locate_preset(ref)
    if isinstance(location, Path):
        return location
    from worldsim.presets import hub

    return hub.cached_folder(location) or hub.download(hub.list_files(location))


def locate_preset(ref: str | Path) -> Path | HubRef:
    """As `resolve_preset`, without the network: what is not on this machine's own disk stays a HubRef."""
    text = str(ref)
    bundled = bundled_presets()
    if text in bundled:
        return bundled[text]
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise _not_a_folder(path)
    on_hub = hub_ref(text)
    if on_hub is not None:
        return on_hub
    if "/" in text or os.sep in text:
        raise PresetNotFoundError(f"no preset folder {text}", hint="give a folder that holds a config.json")
    raise PresetNotFoundError(f"no preset named {text!r}", hint=did_you_mean(text, bundled))


def locate_recipe(ref: str | Path) -> Path:
    """The preset.toml that `ref` names: the file, a folder that holds one, or a bundled name, of an untrained one too.

    Raises: PresetNotFoundError.
    """
    bundled = {path.parent.name: path for path in sorted(bundled_folder().glob(f"*/{RECIPE_FILE}"))}
    path = Path(ref).expanduser()
    candidates = (bundled.get(str(ref)), path, path / RECIPE_FILE)
    for found in candidates:
        if found is not None and found.is_file():
            return found
    raise PresetNotFoundError(f"no recipe {ref}", hint=f"a {RECIPE_FILE}; {did_you_mean(str(ref), bundled)}")


def hub_ref(text: str) -> HubRef | None:
    """`user/repo[@revision]`, if that is what it is."""
    match = _HUB_REF.fullmatch(text)
    return HubRef(repo=match[1], revision=match[2]) if match else None


def check_no_pickle(folder: Path) -> None:
    """Raises PresetError when `folder` offers its weights only as a pickle: loading one can run any code."""
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLE_SUFFIXES)
    if pickles and not (folder / WEIGHTS_FILE).exists():
        raise _pickle_refused(folder / pickles[0])


def _not_a_folder(path: Path) -> PresetError:
    if path.suffix in _PICKLE_SUFFIXES:
        return _pickle_refused(path)
    return PresetError(f"{path} is a file", hint=f"give the folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}")


def _pickle_refused(path: Path) -> PresetError:
    return PresetError(
        f"{path} is a pickle file, which can run any code when it is loaded: refused",
        hint=f"only {WEIGHTS_FILE} is read; ask its author for safetensors",
    )
