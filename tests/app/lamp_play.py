"""A program for the display test: the real window and loop over a world that lights up in the colour of what is done.

Dark blue when nothing is done, red while walking, green while turning left.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

import numpy as np

from tests.engine.fakes import FakeSimulator, fake_load
from worldsim.app.application import Application
from worldsim.app.renderer import GlRenderer, SdlRenderer
from worldsim.app.window import Window
from worldsim.core.clock import MonotonicClock
from worldsim.core.types import Action, Frame, Step
from worldsim.engine.session import Session
from worldsim.engine.worker import Worker

IDLE, WALK, TURN = (0, 0, 90), (220, 0, 0), (0, 200, 0)


class LampWorld(FakeSimulator):
    """Paints the action over the fake's frames."""

    def step(self, action: Action) -> Step:
        step = super().step(action)
        colour = WALK if "forward" in action.buttons else TURN if action.axis("turn") > 0 else IDLE
        frame: Frame = np.empty(self.frame_shape, dtype=np.uint8)
        frame[:] = colour
        return Step(index=step.index, action=action, frame=frame)


def main(drawing: str) -> None:
    clock = MonotonicClock()
    with ExitStack() as at_the_end:
        window = Window(title="lamp", size_px=(400, 300), drawing=drawing)  # type: ignore[arg-type]  # from argv
        worker = Worker(fake_load(LampWorld(step_s=0.01), ticks_per_s=20.0), clock=clock, on_change=window.wake)
        at_the_end.callback(worker.close)
        at_the_end.callback(window.close)
        renderer = GlRenderer(window.context) if window.context else SdlRenderer()
        worker.start()
        report = Application(Session(worker), window, renderer, clock=clock, title="lamp").run()
    print(report.frames_shown, renderer.name)


if __name__ == "__main__":
    main(sys.argv[1])
