"""Contexts that are lost, injected: the picture and what a person chose are there again, and it is said how."""

from __future__ import annotations

from collections.abc import Iterator

import moderngl
import numpy as np
import pygame
import pytest

from worldsim.app.hud import Panel, PanelRow, Placement
from worldsim.app.recovering_renderer import MAX_CONTEXT_LOSSES, RecoveringRenderer
from worldsim.app.renderer import PictureFilter
from worldsim.core.errors import GraphicsError
from worldsim.core.types import Frame

RED: Frame = np.full((6, 8, 3), (200, 0, 0), np.uint8)
PANEL = (Panel(Placement.BOTTOM, (PanelRow("17 frames/s"),)),)


class FakeWindow:
    """An SDL surface that nobody sees; `context` is always None, as where there is no OpenGL."""

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

    renderer._inner.draw = draw  # type: ignore[method-assign]  # the driver's fault, injected


def pixel() -> tuple[int, ...]:
    surface = pygame.display.get_surface()
    assert surface is not None
    return tuple(surface.get_at((32, 10)))[:3]


@pytest.mark.parametrize("error", [moderngl.Error("cannot create texture"), pygame.error("Surface lost")])
def test_a_lost_context_is_made_anew_with_the_picture_and_the_choices(window: FakeWindow, error: Exception) -> None:
    said: list[str] = []
    renderer = RecoveringRenderer(window, said.append)  # type: ignore[arg-type]  # stands in for the window
    renderer.picture_filter = PictureFilter.NEAREST
    renderer.show(RED)
    lose(renderer, error)
    renderer.draw(PANEL, (64, 48))
    assert window.reopened == [True]
    assert said == [f"the graphics context was lost ({error}): drawing goes on with SDL"]
    assert pixel() == (200, 0, 0)
    assert renderer._inner.picture_filter is PictureFilter.NEAREST


def test_contexts_that_are_lost_again_and_again_end_with_sdl_and_then_in_words(window: FakeWindow) -> None:
    renderer = RecoveringRenderer(window, lambda text: None)  # type: ignore[arg-type]  # as above
    for _ in range(MAX_CONTEXT_LOSSES + 1):
        lose(renderer, moderngl.Error("cannot create texture"))
        renderer.draw(PANEL, (64, 48))
    assert window.reopened == [*[True] * MAX_CONTEXT_LOSSES, False]
    lose(renderer, pygame.error("no video device"))
    with pytest.raises(GraphicsError, match="no video device"):
        renderer.draw(PANEL, (64, 48))


@pytest.mark.parametrize("size_px", [(1, 1), (1, 400), (400, 1), (3, 2)])
def test_a_window_without_room_is_drawn_without_trouble(window: FakeWindow, size_px: tuple[int, int]) -> None:
    pygame.display.set_mode(size_px)
    renderer = RecoveringRenderer(window, lambda text: None)  # type: ignore[arg-type]  # as above
    for chosen in PictureFilter:
        renderer.picture_filter = chosen
        renderer.show(np.zeros((48, 64, 3), np.uint8))
        renderer.draw(PANEL, size_px)
    assert window.reopened == []
