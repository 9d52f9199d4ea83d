"""User settings, stored as JSON in the user's config folder."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import platformdirs

from worldsim.actions.bindings import KeyOverride
from worldsim.core.config import check_ranges, from_mapping, parse_json, read_text, to_mapping
from worldsim.core.errors import ConfigError, StorageError
from worldsim.core.files import atomic_write
from worldsim.engine.inputs import DEAD_ZONE

_log = logging.getLogger(__name__)

SCHEMA = 2
Filter = Literal["sharp", "smooth", "nearest"]
FILTERS: tuple[Filter, ...] = ("sharp", "smooth", "nearest")
InterpolationMode = Literal["off", "blend", "motion"]
INTERPOLATION_MODES: tuple[InterpolationMode, ...] = ("off", "blend", "motion")

_SCHEMA_1_KEYS = {
    "picture_filter": "scaling_filter",
    "is_whole_scale": "integer_scale",
    "between": "frame_interpolation",
    "is_full_screen": "full_screen",
    "pad_dead_zone": "stick_dead_zone",
    "num_steps": "denoising_steps",
    "is_always_recorded": "always_record",
    "is_lossless": "lossless_recording",
    "own_keys": "key_overrides",
}
_SCHEMA_1_ROWS = {
    "other start": "next seed",
    "worlds": "view mode",
    "anchor": "reset context",
    "keys": "key overlay",
    "filter": "scaling filter",
}
"""Renamed rows of the key table (`Binding.name`)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    scaling_filter: Filter = "sharp"
    integer_scale: bool = False
    """Enlarge by integer factors only, with a border."""
    frame_interpolation: InterpolationMode = "off"
    """Draw a blend or motion-compensated frames between two frames; adds one tick of latency."""
    full_screen: bool = False
    mouse_sensitivity: float = 1.0
    """Multiplies the default sensitivity."""
    stick_dead_zone: float = DEAD_ZONE
    """Fraction of a stick's deflection that counts as centered."""
    denoising_steps: int | None = None
    """Per frame; None for the preset's default."""
    always_record: bool = False
    lossless_recording: bool = False
    key_overrides: tuple[KeyOverride, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self, {"mouse_sensitivity": (0.1, 10.0), "stick_dead_zone": (0.0, 0.9)})
        if self.denoising_steps is not None:
            check_ranges(self, {"denoising_steps": (1, 64)})


class SettingsFile:
    """`current` are the settings in effect; `change` saves them. A file that cannot be written is reported once."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` replaces the user's own file."""
        self.path = path or platformdirs.user_config_path("worldsim") / "settings.json"
        self._has_warned = False
        self.current = self._read()

    def change(self, **values: Any) -> Settings:
        """Returns: the new settings."""
        self.current = replace(self.current, **values)
        data = {"schema": SCHEMA, **to_mapping(self.current)}
        try:
            atomic_write(self.path, json.dumps(data, indent=2) + "\n")
        except StorageError as error:
            if not self._has_warned:
                _log.warning("settings could not be saved: %s", error.message)
            self._has_warned = True
        return self.current

    def _read(self) -> Settings:
        """The defaults if there is no file, or a damaged one, which is moved aside."""
        if not self.path.exists():
            return Settings()
        try:
            data = parse_json(read_text(self.path))
            if not isinstance(data, dict):
                raise ValueError("not a JSON object")
            data = _migrate(data)
            known = {field.name for field in fields(Settings)}
            unknown = sorted(data.keys() - known)
            if unknown:  # a newer worldsim may have written them: the other settings are still good
                _log.warning("ignoring unknown settings in %s: %s", self.path, ", ".join(unknown))
            return from_mapping(Settings, {key: value for key, value in data.items() if key in known})
        except (ConfigError, ValueError) as error:
            backup = self.path.with_name(f"{self.path.name}.bad")
            with suppress(OSError):
                self.path.replace(backup)
            reason = error.message if isinstance(error, ConfigError) else error
            _log.warning("settings file is damaged (moved to %s); using defaults (%s)", backup, reason)
            return Settings()


def _migrate(data: dict[str, Any]) -> dict[str, Any]:
    """A file of any schema, with the keys of the current one. A file without a number has schema 1."""
    schema = data.pop("schema", 1)
    if schema != 1:
        return data
    data = {_SCHEMA_1_KEYS.get(key, key): value for key, value in data.items()}
    overrides = data.get("key_overrides")
    for override in overrides if isinstance(overrides, list) else ():
        if isinstance(override, dict) and isinstance(override.get("name"), str):
            override["name"] = _SCHEMA_1_ROWS.get(override["name"], override["name"])
    return data
