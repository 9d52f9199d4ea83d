"""A person's settings, kept between runs as JSON in the user's config folder.

Owns: the fields, the file, what happens when it is damaged. Does not own: what settings do (`app.application`), how
they are shown (`app.menu_pages`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import platformdirs

from worldsim.actions.bindings import KeyOverride
from worldsim.core.config import check_ranges, from_mapping, parse_json, read_text, to_mapping
from worldsim.core.errors import ConfigError, StorageError
from worldsim.core.files import atomic_write
from worldsim.engine.inputs import DEAD_ZONE

Filter = Literal["sharp", "smooth", "nearest"]
FILTERS: tuple[Filter, ...] = ("sharp", "smooth", "nearest")
InterpolationMode = Literal["off", "blend", "motion"]
INTERPOLATION_MODES: tuple[InterpolationMode, ...] = ("off", "blend", "motion")


@dataclass(frozen=True, kw_only=True)
class Settings:
    picture_filter: Filter = "sharp"
    is_whole_scale: bool = False
    """The picture is enlarged by whole numbers only, with a border."""
    between: InterpolationMode = "off"
    """What is drawn between two frames of the world: nothing, a blend, or the motion followed; a tick later then."""
    is_full_screen: bool = False
    mouse_sensitivity: float = 1.0
    """Times the table's own."""
    pad_dead_zone: float = DEAD_ZONE
    """Share of a stick's way in the middle that counts as the middle."""
    num_steps: int | None = None
    """Denoising steps per frame; None is the preset's own number."""
    is_always_recorded: bool = False
    is_lossless: bool = False
    own_keys: tuple[KeyOverride, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self, {"mouse_sensitivity": (0.1, 10.0), "pad_dead_zone": (0.0, 0.9)})
        if self.num_steps is not None:
            check_ranges(self, {"num_steps": (1, 64)})


class SettingsFile:
    """`current` is what counts; `change` writes it. A file that cannot be written is said once and changes nothing."""

    def __init__(self, path: Path | None = None, say: Callable[[str], None] = lambda text: None) -> None:
        """`path`: in place of the user's own."""
        self.path = path or platformdirs.user_config_path("worldsim") / "settings.json"
        self._say, self._has_said = say, False
        self.current = self._read()

    def change(self, **values: Any) -> Settings:
        """Returns: the settings with these fields in place of the old ones."""
        self.current = replace(self.current, **values)
        try:
            atomic_write(self.path, json.dumps(to_mapping(self.current), indent=2) + "\n")
        except StorageError as error:
            if not self._has_said:
                self._say(f"the settings are not kept: {error.message}")
            self._has_said = True
        return self.current

    def _read(self) -> Settings:
        """The defaults where there is no file, or a damaged one, which is put aside."""
        if not self.path.exists():
            return Settings()
        try:
            found = parse_json(read_text(self.path))
            if not isinstance(found, dict):
                raise ValueError("it is not a table")
            return from_mapping(Settings, found)
        except (ConfigError, ValueError) as error:
            backup = self.path.with_name(f"{self.path.name}.bad")
            with suppress(OSError):
                self.path.replace(backup)
            reason = error.message if isinstance(error, ConfigError) else error
            self._say(f"damaged settings, kept as {backup}; the defaults are used ({reason})")
            return Settings()
