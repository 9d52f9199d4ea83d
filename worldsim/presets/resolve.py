"""From what a person typed to a preset folder: a bundled name, a folder, or a repository on the Hub. Torch-free.

Owns: the order in which a reference is understood, and the only network access of `play`. Does not own: what lies in
the folder (`presets.store`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import worldsim
from worldsim.core.errors import PresetError, PresetNotFoundError, nearest

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
START_FOLDER = "start"
FETCHED_FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, f"{START_FOLDER}/*.safetensors")
"""All that is ever fetched from the Hub. Nothing among it can run code."""

_HUB_REF = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})


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

    Raises: PresetNotFoundError when there is nothing there, PresetError when there is something else there.
    Side effects: a Hub reference is downloaded into the Hub's cache when it is not there yet.
    """
    text = str(ref)
    bundled = bundled_presets()
    if text in bundled:
        return bundled[text]
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise _not_a_folder(path)
    match = _HUB_REF.fullmatch(text)
    if match:
        return _from_hub(match["repo"], match["revision"])
    if "/" in text or os.sep in text:
        raise PresetNotFoundError(f"no preset folder {text}", hint="give a folder that holds a config.json")
    raise PresetNotFoundError(f"no preset named {text!r}", hint=nearest(text, bundled))


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


def _from_hub(repo: str, revision: str | None) -> Path:
    """Cache first, network after. `HF_HUB_OFFLINE` and `HF_ENDPOINT` are honoured by the Hub's own client."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = list(FETCHED_FILES)
    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=True))
        if (folder / CONFIG_FILE).exists() and (folder / WEIGHTS_FILE).exists():
            return folder
    except LocalEntryNotFoundError:
        pass
    at = f"{repo}@{revision}" if revision else repo
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except GatedRepoError:
        hint = f"accept its terms at https://huggingface.co/{repo}, then: hf auth login"
        raise PresetNotFoundError(f"{repo} on the Hub is gated", hint=hint) from None
    except RepositoryNotFoundError:
        hint = "check the spelling; a private one needs: hf auth login"
        raise PresetNotFoundError(f"no folder and no repository on the Hub named {repo}", hint=hint) from None
    except RevisionNotFoundError:
        raise PresetNotFoundError(f"{repo} on the Hub has no revision {revision}", hint="see its page") from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else type(error).__name__
        hint = "go online once to fetch it; for a folder of your own write ./folder"
        raise PresetNotFoundError(
            f"{at} is not in the cache and the Hub cannot be reached ({reason})", hint=hint
        ) from None
