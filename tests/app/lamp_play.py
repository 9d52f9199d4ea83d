"""A program for the display tests: the real window and loop over a world whose color shows the current action.

Dark blue for no action, red while walking, green while turning left.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pygame

from tests.engine.fakes import FakeSimulator, fake_load
from worldsim.app.application import Application
from worldsim.app.renderer import RecoveringRenderer
from worldsim.app.window import Window
from worldsim.core.clock import MonotonicClock
from worldsim.core.types import Action, Frame, Step
from worldsim.engine.session import Session
from worldsim.engine.worker import Worker

IDLE, WALK, TURN = (0, 0, 90), (220, 0, 0), (0, 200, 0)


class LampWorld(FakeSimulator):
    """Fills each frame with the color of its action."""

    def step(self, action: Action) -> Step:
        step = super().step(action)
        color = WALK if "forward" in action.buttons else TURN if action.axis("turn") > 0 else IDLE
        frame: Frame = np.empty(self.frame_shape, dtype=np.uint8)
        frame[:] = color
        return Step(index=step.index, action=action, frame=frame)


def _wait(
    window: Window, wait: Callable[[float], list[pygame.event.Event]], lost_ns: int, timeout_s: float
) -> list[pygame.event.Event]:
    """Simulates a driver fault: after a second no context is current."""
    if window.context is not None and "lost" not in window.fallback_reason and time.monotonic_ns() > lost_ns:
        window.fallback_reason = "lost"
        take_context_away()
    return wait(timeout_s)


def take_context_away() -> None:
    """Calls the SDL library that pygame has loaded, because pygame has no function for it."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    (library,) = {line.split()[-1] for line in maps if "libSDL2-2" in line}
    assert ctypes.CDLL(library).SDL_GL_MakeCurrent(None, None) == 0


def main(drawing: str, *, is_lost: bool = False) -> None:
    clock = MonotonicClock()
    with ExitStack() as stack:
        window = Window(title="lamp", size_px=(400, 300), backend=drawing)  # type: ignore[arg-type]  # from argv
        worker = Worker(fake_load(LampWorld(step_s=0.01), ticks_per_s=20.0), clock=clock, on_change=window.wake)
        stack.callback(worker.close)
        stack.callback(window.close)
        renderer = RecoveringRenderer(window)
        renderer.notify = print
        worker.start()
        if is_lost:
            window.wait = partial(_wait, window, window.wait, clock.now_ns() + 10**9)  # type: ignore[method-assign]
        report = Application(Session(worker), window, renderer, clock=clock, title="lamp").run()
    print(report.frames_shown, renderer.name)


if __name__ == "__main__":
    main(sys.argv[1], is_lost="lose" in sys.argv[2:])
