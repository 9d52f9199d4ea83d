"""The title screen: choose a preset. Has its own loop, which runs before and between sessions. UI thread."""

from __future__ import annotations

from functools import partial

import numpy as np

from worldsim.actions.bindings import apply_overrides
from worldsim.app.application import apply_display_settings
from worldsim.app.hud import InlineImage
from worldsim.app.input import InputHandler, handle_menu_event
from worldsim.app.menu import PLACEHOLDER_IMAGE, MenuPage, MenuStack, SettingsPages, title_page
from worldsim.app.preset_library import PresetEntry, PresetLibrary
from worldsim.app.renderer import Renderer
from worldsim.app.settings import Settings, SettingsFile
from worldsim.app.window import Window, needs_redraw
from worldsim.core.types import Frame
from worldsim.engine.inputs import Inputs

MAX_WAIT_S = 1.0
"""Upper bound of a wait; events and the preset library wake it earlier."""
BACKGROUND_BRIGHTNESS = 0.4
"""Brightness of the image behind the list."""


class TitleScreen:
    """`run` returns when a preset was chosen, or the program should quit."""

    def __init__(
        self,
        library: PresetLibrary,
        window: Window,
        renderer: Renderer,
        settings: SettingsFile,
        *,
        error: str = "",
    ) -> None:
        """`error` is shown below the list."""
        self._library, self._window, self._renderer, self._error = library, window, renderer, error
        self._menus = MenuStack()
        self._settings_pages = SettingsPages(self._menus, settings, self._apply)
        self._input = InputHandler(Inputs(), window.capture_mouse)
        self._bind(settings.current)
        self._chosen: PresetEntry | None = None

    def run(self) -> PresetEntry | None:
        """Returns: the preset to play; None to quit."""
        self._renderer.show(np.zeros((1, 1, 3), np.uint8))
        self._menus.open(self._page)
        background: InlineImage | None = None
        drawn = None
        is_stale = False
        while self._menus.is_open:
            panel = self._menus.panel()
            image = next((row.image for row in panel.rows if row.is_focus), None)
            if image not in (None, PLACEHOLDER_IMAGE, background):
                background = image
                self._renderer.show(_dimmed(image))
            if panel != drawn or is_stale:
                self._renderer.draw((panel,), self._window.size_px)
                self._window.flip()
                drawn = panel
            events = self._window.wait(MAX_WAIT_S)
            is_stale = needs_redraw(events)
            for event in events:
                if self._input.is_quit_event(event):
                    return None
                if self._menus.is_open:
                    row_at = partial(self._renderer.row_at, self._menus.panel(), self._window.size_px)
                    handle_menu_event(self._menus, event, row_at, self._input.gamepad)
        return self._chosen

    def _page(self) -> MenuPage:
        return title_page(
            self._library.entries,
            play=self._play,
            settings=self._settings_pages.open,
            quit_=self._menus.close,
            notes=(self._error, self._library.note),
        )

    def _play(self, entry: PresetEntry) -> None:
        if not entry.error:
            self._chosen = entry
            self._menus.close()

    def _apply(self, before: Settings, after: Settings) -> None:
        apply_display_settings(before, after, self._window, self._renderer)
        self._bind(after)

    def _bind(self, settings: Settings) -> None:
        """The quit key may be user-defined."""
        self._input.bind(apply_overrides(settings.key_overrides), dead_zone=settings.stick_dead_zone)


def _dimmed(image: InlineImage) -> Frame:
    """Dark enough for text on top to be readable."""
    pixels = np.frombuffer(image.pixels, np.uint8).reshape(image.height_px, image.width_px, 3)
    return (pixels * BACKGROUND_BRIGHTNESS).astype(np.uint8)
