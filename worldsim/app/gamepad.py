"""Gamepads: SDL's game controllers, by the names of the key table.

Owns: the open controllers, hot-plug, the dead zone, what a stick's position means as keys. Does not own: what a key
does (`actions.bindings`), events (`app.window`). SDL's mapping makes every known pad look like one of the same layout;
the mapping of an unknown one can be given in SDL_GAMECONTROLLERCONFIG. UI thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import pygame

from worldsim.actions.bindings import PAD
from worldsim.engine.inputs import BUTTON_THRESHOLD, DEAD_ZONE

AXIS_LEVELS = 16
"""Places of a stick that are told apart: a hand is never still, and the frame that is made ahead is for one action."""
HYSTERESIS_LEVELS = 0.8
"""Of a step."""
RELEASE_THRESHOLD = 0.35
"""A pushed stick is let go below this fraction: one that is held at the edge does not flutter."""
AXIS_MAX = 32767


class ConnectedGamepads:
    """The controllers that are plugged in. They are open as long as this is; `num` of them."""

    def __init__(self) -> None:
        self._open: dict[int, Any] = {}
        self._controller: Any = None
        with suppress(ImportError, pygame.error):  # an SDL without game controllers: there are none, then
            from pygame._sdl2 import controller

            controller.init()
            self._controller = controller

    @property
    def num(self) -> int:
        return len(self._open)

    def update(self, events: Iterable[pygame.event.Event]) -> None:
        """Opens what was plugged in, and lets go what was pulled out."""
        for event in events:
            if event.type == pygame.CONTROLLERDEVICEADDED and self._controller is not None:
                with suppress(pygame.error):  # pulled out again
                    opened = self._controller.Controller(event.device_index)
                    self._open[opened.id] = opened
            elif event.type == pygame.CONTROLLERDEVICEREMOVED:
                self._open.pop(event.instance_id, None)

    def close(self) -> None:
        self._open.clear()


class GamepadKeys:
    """Controller events as keys of the table, held to some fraction. Of several pads the hand that pushes more
    counts."""

    def __init__(self) -> None:
        self.dead_zone = DEAD_ZONE
        """Share of a stick's deflection in the middle that counts as the middle."""
        self._fractions: dict[str, dict[int, float]] = {}
        self._steps: dict[tuple[int, int], int] = {}
        self._pushed: set[str] = set()
        self.is_used = False
        """Whether there was ever anything to hear."""

    def axis_values(self, event: pygame.event.Event) -> list[tuple[str, float]]:
        """The keys that `event` tells of, and to which fraction each is held now (0: not at all)."""
        values = self._key_values(event)
        self.is_used = self.is_used or bool(values)
        for key, fraction in values:
            self._fractions.setdefault(key, {})[event.instance_id] = fraction
        return [(key, max(self._fractions[key].values())) for key, _ in values]

    def transitions(self, axis_values: Iterable[tuple[str, float]]) -> Iterator[tuple[str, bool]]:
        """Of these values, the keys that went down (True) or came up, as if they were buttons."""
        for key, fraction in axis_values:
            if key not in self._pushed and fraction >= BUTTON_THRESHOLD:
                self._pushed.add(key)
                yield key, True
            elif key in self._pushed and fraction < RELEASE_THRESHOLD:
                self._pushed.discard(key)
                yield key, False

    def _key_values(self, event: pygame.event.Event) -> list[tuple[str, float]]:
        if event.type in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP):
            name = gamepad_buttons().get(event.button)
            return [(name, float(event.type == pygame.CONTROLLERBUTTONDOWN))] if name else []
        if event.type == pygame.CONTROLLERAXISMOTION:
            name = gamepad_axes().get(event.axis)
            fraction = self._quantize(event.value / AXIS_MAX, (event.instance_id, event.axis))
            return [(f"{name}-", max(0.0, -fraction)), (f"{name}+", max(0.0, fraction))] if name else []
        if event.type == pygame.CONTROLLERDEVICEREMOVED:
            return [(key, 0.0) for key, fractions in self._fractions.items() if event.instance_id in fractions]
        return []

    def _quantize(self, position: float, stick: tuple[int, int]) -> float:
        """0 in the dead zone and 1 at the end of the deflection; in steps, and not from one to the next for a
        tremble."""
        deflection = min(1.0, max(0.0, (abs(position) - self.dead_zone) / (1.0 - self.dead_zone))) * AXIS_LEVELS
        exact = deflection if position > 0 else -deflection
        if abs(exact - self._steps.get(stick, 0)) > HYSTERESIS_LEVELS or round(deflection) in (0, AXIS_LEVELS):
            self._steps[stick] = round(exact)
        return self._steps[stick] / AXIS_LEVELS


@cache
def gamepad_buttons() -> dict[int, str]:
    """SDL's number of a button to its name in the table."""
    return _names_of("CONTROLLER_BUTTON_")


@cache
def gamepad_axes() -> dict[int, str]:
    """SDL's number of an axis to its name in the table, without the direction."""
    return _names_of("CONTROLLER_AXIS_")


def _names_of(prefix: str) -> dict[int, str]:
    names = (name.removeprefix(prefix) for name in dir(pygame) if name.startswith(prefix))
    return {getattr(pygame, prefix + n): PAD + n.lower() for n in names if n not in ("INVALID", "MAX")}
