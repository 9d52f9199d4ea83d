"""Resolves a preset reference to a folder: a bundled name, a folder, or a repository on the Hub. Torch-free.

Owns: the order in which references are tried. Does not own: the folder's contents (`presets.store`), the network
(`presets.hub`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import worldsim
from worldsim.core.errors import PresetError, PresetNotFoundError, did_you_mean
from worldsim.presets.layout import CARD_FILE as CARD_FILE
from worldsim.presets.layout import CONFIG_FILE as CONFIG_FILE
from worldsim.presets.layout import DOWNLOADED_FILES as DOWNLOADED_FILES
from worldsim.presets.layout import RECIPE_FILE as RECIPE_FILE
from worldsim.presets.layout import START_FOLDER as START_FOLDER
from worldsim.presets.layout import WEIGHTS_FILE as WEIGHTS_FILE
from worldsim.presets.layout import HubRef as HubRef
from worldsim.presets.layout import hub_ref as hub_ref

_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})


def bundled_folder() -> Path:
    """The folder of the bundled presets: inside the wheel, or at the top level of a checkout."""
    package = Path(worldsim.__file__).parent
    installed = package / "_presets"
    return installed if installed.is_dir() else package.parent / "presets"


def bundled_presets() -> dict[str, Path]:
    """Name -> folder of the bundled presets that can be played."""
    return {path.parent.name: path.parent for path in sorted(bundled_folder().glob(f"*/{CONFIG_FILE}"))}


def resolve_preset(ref: str | Path, report: Callable[[str], None] | None = None) -> Path:
    """The folder of a bundled name, a folder (also a checkpoint), or `user/repo[@revision]`.

    `report` receives lines about the progress of a download.
    Raises: PresetNotFoundError, PresetError for something that is not a preset, HubError.
    Side effects: a Hub reference that is not cached is downloaded to the Hub cache.
    """
    location = locate_preset(ref)
    if isinstance(location, Path):
        return location
    from worldsim.presets import hub

    return hub.fetch(location, report)


def locate_preset(ref: str | Path) -> Path | HubRef:
    """Like `resolve_preset`, but never uses the network: a Hub reference is returned as a HubRef."""
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
        raise PresetNotFoundError(f"no preset folder {text}", hint="expected a folder with a config.json")
    raise PresetNotFoundError(f"no preset named {text!r}", hint=did_you_mean(text, bundled))


def locate_recipe(ref: str | Path) -> Path:
    """The preset.toml of `ref`: the file, a folder that contains one, or a bundled name (also an untrained one).

    Raises: PresetNotFoundError.
    """
    bundled = {path.parent.name: path for path in sorted(bundled_folder().glob(f"*/{RECIPE_FILE}"))}
    path = Path(ref).expanduser()
    candidates = (bundled.get(str(ref)), path, path / RECIPE_FILE)
    for found in candidates:
        if found is not None and found.is_file():
            return found
    raise PresetNotFoundError(f"no recipe {ref}", hint=f"a {RECIPE_FILE}; {did_you_mean(str(ref), bundled)}")


def check_no_pickle(folder: Path) -> None:
    """Raises PresetError if the folder has its weights only as a pickle, which can run arbitrary code when loaded."""
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLE_SUFFIXES)
    if pickles and not (folder / WEIGHTS_FILE).exists():
        raise _pickle_refused(folder / pickles[0])


def _not_a_folder(path: Path) -> PresetError:
    if path.suffix in _PICKLE_SUFFIXES:
        return _pickle_refused(path)
    return PresetError(f"{path} is a file", hint=f"expected the folder with {CONFIG_FILE} and {WEIGHTS_FILE}")


def _pickle_refused(path: Path) -> PresetError:
    return PresetError(
        f"refused to load {path}: a pickle can run arbitrary code",
        hint=f"worldsim reads only {WEIGHTS_FILE}; ask the author for safetensors",
    )
