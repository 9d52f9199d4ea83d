"""Injected context losses: frame and settings are restored, and a message is shown."""

from __future__ import annotations

from collections.abc import Iterator

import moderngl
import numpy as np
import pygame
import pytest

from worldsim.app.hud import Panel, PanelRow, Placement
from worldsim.app.renderer import MAX_CONTEXT_LOSSES, RecoveringRenderer, ScalingFilter
from worldsim.core.errors import GraphicsError
from worldsim.core.types import Frame

RED: Frame = np.full((6, 8, 3), (200, 0, 0), np.uint8)
PANEL = (Panel(Placement.BOTTOM, (PanelRow("17 frames/s"),)),)


class FakeWindow:
    """An invisible SDL surface; `context` is always None, as without OpenGL."""

    context = None
    size_px = (64, 48)

    def __init__(self) -> None:
        self.reopened: list[bool] = []

    def reopen(self, *, can_use_opengl: bool) -> None:
        self.reopened.append(can_use_opengl)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWindow]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()
    pygame.display.set_mode((64, 48))
    yield FakeWindow()
    pygame.display.quit()


def lose(renderer: RecoveringRenderer, error: Exception) -> None:
    def draw(*_: object) -> None:
        raise error

    renderer._inner.draw = draw  # type: ignore[method-assign]  # injects the driver's fault


def pixel() -> tuple[int, ...]:
    surface = pygame.display.get_surface()
    assert surface is not None
    return tuple(surface.get_at((32, 10)))[:3]


@pytest.mark.parametrize("error", [moderngl.Error("cannot create texture"), pygame.error("Surface lost")])
def test_lost_context_is_recreated_with_frame_and_settings(
    window: FakeWindow, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    renderer = RecoveringRenderer(window)  # type: ignore[arg-type]  # stands in for the window
    renderer.scaling_filter = ScalingFilter.NEAREST
    renderer.show(RED)
    lose(renderer, error)
    renderer.draw(PANEL, (64, 48))
    assert window.reopened == [True]
    assert caplog.messages == [f"OpenGL context lost ({error}); continuing with SDL"]
    assert pixel() == (200, 0, 0)
    assert renderer._inner.scaling_filter is ScalingFilter.NEAREST


def test_repeated_context_loss_falls_back_to_sdl_then_raises(window: FakeWindow) -> None:
    renderer = RecoveringRenderer(window)  # type: ignore[arg-type]  # as above
    for _ in range(MAX_CONTEXT_LOSSES + 1):
        lose(renderer, moderngl.Error("cannot create texture"))
        renderer.draw(PANEL, (64, 48))
    assert window.reopened == [*[True] * MAX_CONTEXT_LOSSES, False]
    lose(renderer, pygame.error("no video device"))
    with pytest.raises(GraphicsError, match="no video device"):
        renderer.draw(PANEL, (64, 48))


@pytest.mark.parametrize("size_px", [(1, 1), (1, 400), (400, 1), (3, 2)])
def test_tiny_windows_can_be_drawn(window: FakeWindow, size_px: tuple[int, int]) -> None:
    pygame.display.set_mode(size_px)
    renderer = RecoveringRenderer(window)  # type: ignore[arg-type]  # as above
    for chosen in ScalingFilter:
        renderer.scaling_filter = chosen
        renderer.show(np.zeros((48, 64, 3), np.uint8))
        renderer.draw(PANEL, size_px)
    assert window.reopened == []
