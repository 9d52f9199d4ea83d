"""The files of a preset folder, and references to repositories on the Hub. Loads neither torch nor the Hub's client."""

from __future__ import annotations

import re
from dataclasses import dataclass

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
RECIPE_FILE = "preset.toml"
START_FOLDER = "start"
DOWNLOADED_FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, f"{START_FOLDER}/*.safetensors")
"""The only files downloaded from the Hub or uploaded to it. None of them can run code."""

_HUB_REF = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(\w(?!.*(?:\.\.|//))[\w./-]*))?", re.ASCII)
"""A revision becomes a path in the cache: no `..`, no slash in front."""


@dataclass(frozen=True, kw_only=True)
class HubRef:
    """A repository on the Hub, with an optional revision: a branch, a tag or a commit."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def hub_ref(text: str) -> HubRef | None:
    """Parses `user/repo[@revision]`; None if `text` is something else."""
    match = _HUB_REF.fullmatch(text)
    return HubRef(repo=match[1], revision=match[2]) if match else None
