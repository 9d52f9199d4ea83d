"""Old presets, read as if they had been written today. Torch-free.

Owns: one step per schema version, on the plain mapping of config.json. Does not own: what a version's keys mean
(`presets.config`), or the stored file, which stays as it is: it is hashed as it was written.

A key that is added with a default needs no step. One that is renamed, removed or changes its meaning does: raise
`presets.config.SCHEMA_VERSION`, add the step here, and store a
tiny preset of the new version (`tests/presets/stored.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Migration: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

MIGRATIONS: dict[int, Migration] = {}
"""From a version to the next one. A step returns a new mapping and leaves the one it got, which is hashed; values may
be of any type, a stranger wrote them."""


def migrate(
    data: Mapping[str, Any], version: int, wanted: int, steps: Mapping[int, Migration] = MIGRATIONS
) -> dict[str, Any]:
    """`data`, written by schema `version`, as schema `wanted` has it. `data` is not changed."""
    mapping = dict(data)
    for step in range(version, wanted):
        mapping = steps[step](mapping)
    return {**mapping, "schema_version": wanted}
