"""Gamepads: SDL's game controllers, by the names of the key table.

Owns: the open controllers, hot-plug, the dead zone, what a stick's place means as keys. Does not own: what a key does
(`actions.bindings`), events (`app.window`). SDL's mapping makes every known pad look like one of the same layout; the
mapping of an unknown one can be given in SDL_GAMECONTROLLERCONFIG. UI thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import pygame

from worldsim.actions.bindings import PAD
from worldsim.engine.inputs import DEAD_ZONE, PUSHED

STEPS = 16
"""Places of a stick that are told apart: a hand is never still, and the frame that is made ahead is for one action."""
TREMBLE = 0.8
"""Of a step."""
LET_GO = 0.35
"""A pushed stick is let go below this share: one that is held at the edge does not flutter."""
_FULL = 32767


class PadPorts:
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

    def follow(self, events: Iterable[pygame.event.Event]) -> None:
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


class PadKeys:
    """Controller events as keys of the table, held to some share. Of several pads the hand that pushes more counts."""

    def __init__(self) -> None:
        self.dead_zone = DEAD_ZONE
        """Share of a stick's way in the middle that counts as the middle."""
        self._shares: dict[str, dict[int, float]] = {}
        self._steps: dict[tuple[int, int], int] = {}
        self._pushed: set[str] = set()
        self.is_used = False
        """Whether there was ever anything to hear."""

    def moves(self, event: pygame.event.Event) -> list[tuple[str, float]]:
        """The keys that `event` tells of, and to which share each is held now (0: not at all)."""
        told = self._told(event)
        self.is_used = self.is_used or bool(told)
        for key, share in told:
            self._shares.setdefault(key, {})[event.instance_id] = share
        return [(key, max(self._shares[key].values())) for key, _ in told]

    def turns(self, moves: Iterable[tuple[str, float]]) -> Iterator[tuple[str, bool]]:
        """Of these moves, the keys that went down (True) or came up, as if they were buttons."""
        for key, share in moves:
            if key not in self._pushed and share >= PUSHED:
                self._pushed.add(key)
                yield key, True
            elif key in self._pushed and share < LET_GO:
                self._pushed.discard(key)
                yield key, False

    def _told(self, event: pygame.event.Event) -> list[tuple[str, float]]:
        if event.type in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP):
            name = pad_buttons().get(event.button)
            return [(name, float(event.type == pygame.CONTROLLERBUTTONDOWN))] if name else []
        if event.type == pygame.CONTROLLERAXISMOTION:
            name = pad_axes().get(event.axis)
            share = self._settled(event.value / _FULL, (event.instance_id, event.axis))
            return [(f"{name}-", max(0.0, -share)), (f"{name}+", max(0.0, share))] if name else []
        if event.type == pygame.CONTROLLERDEVICEREMOVED:
            return [(key, 0.0) for key, shares in self._shares.items() if event.instance_id in shares]
        return []

    def _settled(self, place: float, stick: tuple[int, int]) -> float:
        """0 in the dead zone and 1 at the end of the way; in steps, and not from one to the next for a tremble."""
        way = min(1.0, max(0.0, (abs(place) - self.dead_zone) / (1.0 - self.dead_zone))) * STEPS
        exact = way if place > 0 else -way
        if abs(exact - self._steps.get(stick, 0)) > TREMBLE or round(way) in (0, STEPS):
            self._steps[stick] = round(exact)
        return self._steps[stick] / STEPS


@cache
def pad_buttons() -> dict[int, str]:
    """SDL's number of a button to its name in the table."""
    return _named("CONTROLLER_BUTTON_")


@cache
def pad_axes() -> dict[int, str]:
    """SDL's number of an axis to its name in the table, without the direction."""
    return _named("CONTROLLER_AXIS_")


def _named(prefix: str) -> dict[int, str]:
    names = (name.removeprefix(prefix) for name in dir(pygame) if name.startswith(prefix))
    return {getattr(pygame, prefix + n): PAD + n.lower() for n in names if n not in ("INVALID", "MAX")}
