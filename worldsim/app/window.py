"""The SDL window, its event queue, and an OpenGL context where possible. UI thread, except `wake`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from typing import Literal

import moderngl
import pygame

from worldsim.app.input import ConnectedGamepads
from worldsim.core.errors import DisplayError, GraphicsError
from worldsim.core.files import asset_path

HEADLESS_DRIVERS = frozenset({"dummy", "offscreen", "evdev"})
"""Drivers that SDL silently falls back to without a display."""
SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software", "gdi generic", "basic render")
BASE_SIZE_PX = (160, 120)
SCREEN_FRACTION = 0.8

Backend = Literal["auto", "opengl", "sdl"]

_REDRAW_EVENTS = frozenset(
    {
        pygame.VIDEOEXPOSE,
        pygame.WINDOWEXPOSED,
        pygame.WINDOWSIZECHANGED,
        pygame.WINDOWSHOWN,
        pygame.WINDOWRESTORED,
        pygame.WINDOWDISPLAYCHANGED,
    }
)


_INPUT_EVENTS = frozenset(
    {
        pygame.KEYDOWN,
        pygame.KEYUP,
        pygame.MOUSEMOTION,
        pygame.CONTROLLERAXISMOTION,
        pygame.CONTROLLERBUTTONDOWN,
        pygame.CONTROLLERBUTTONUP,
    }
)


def is_software_renderer(renderer_name: str) -> bool:
    """Whether an OpenGL renderer of this name runs on the CPU."""
    return any(word in renderer_name.lower() for word in SOFTWARE_RENDERERS)


def default_size_px(screen_px: tuple[int, int]) -> tuple[int, int]:
    """A multiple of `BASE_SIZE_PX` that leaves part of the screen free; at least 4x if that fits.

    In proportion to the screen's pixels: a high-resolution screen has smaller pixels rather than a larger area.
    """
    scale = max(4, int(SCREEN_FRACTION * min(screen_px[0] / BASE_SIZE_PX[0], screen_px[1] / BASE_SIZE_PX[1])))
    return min(screen_px[0], scale * BASE_SIZE_PX[0]), min(screen_px[1], scale * BASE_SIZE_PX[1])


def needs_redraw(events: Iterable[pygame.event.Event]) -> bool:
    """Whether the window content has to be drawn again."""
    return any(event.type in _REDRAW_EVENTS for event in events)


def is_input_event(event: pygame.event.Event) -> bool:
    """Whether the event may be input to the world."""
    return event.type in _INPUT_EVENTS


class Window:
    """Opens on construction. `context` is None when SDL draws; `fallback_reason` then says why."""

    def __init__(
        self, *, title: str, size_px: tuple[int, int] | None = None, backend: Backend = "auto", hint: str = ""
    ) -> None:
        """`size_px`: None chooses a size that fits the screen. `hint`: advice for the error when there is no display.

        Raises: DisplayError without a display, GraphicsError if neither OpenGL nor SDL can draw.
        """
        _open_display(hint)
        size_px = size_px or default_size_px(pygame.display.get_desktop_sizes()[0])
        pygame.display.set_icon(pygame.image.load(asset_path("icon/icon.png")))
        self.context, self.fallback_reason = None, "as requested"
        if backend != "sdl":
            self.context, self.fallback_reason = _try_opengl(size_px, accepts_software=backend == "opengl")
        if self.context is None:
            if backend == "opengl":
                pygame.quit()
                raise GraphicsError(self.fallback_reason, hint="use --renderer sdl")
            _open_without_opengl(size_px)
        pygame.display.set_caption(title)
        self._wake_event = pygame.event.custom_type()
        self._gamepads = ConnectedGamepads()

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        width_px, height_px = pygame.display.get_window_size()
        return max(1, width_px), max(1, height_px)

    def wait(self, timeout_s: float) -> list[pygame.event.Event]:
        """Pending events; blocks for the first one up to `timeout_s`, or until `wake`."""
        first = pygame.event.wait(round(timeout_s * 1000)) if timeout_s >= 0.001 else pygame.event.poll()
        events = [first, *pygame.event.get()]
        self._gamepads.update(events)
        return events

    def wake(self) -> None:
        """Ends a `wait`. Safe from any thread."""
        with contextlib.suppress(pygame.error):  # the window is closed, or its queue is full, so it is awake
            pygame.event.post(pygame.event.Event(self._wake_event))

    def flip(self) -> None:
        """Shows what was drawn; waits for vsync where supported."""
        pygame.display.flip()

    @property
    def is_full_screen(self) -> bool:
        return bool(pygame.display.is_fullscreen())

    def set_title(self, title: str) -> None:
        pygame.display.set_caption(title)

    @property
    def is_visible(self) -> bool:
        """Neither minimized nor hidden."""
        return bool(pygame.display.get_active())

    def toggle_full_screen(self) -> None:
        """Does nothing if the display is gone or does not support it."""
        with contextlib.suppress(pygame.error):
            pygame.display.toggle_fullscreen()

    def reopen(self, *, can_use_opengl: bool) -> None:
        """Recreates a lost context, or switches to SDL and sets `fallback_reason`.

        Raises: GraphicsError if neither OpenGL nor SDL can draw.
        """
        size_px, was_full_screen = self.size_px, self.is_full_screen
        had_opengl, self.context = self.context is not None, None
        self.fallback_reason = "OpenGL context lost"
        if had_opengl and can_use_opengl:
            self.context, self.fallback_reason = _try_opengl(size_px, accepts_software=True)
        if self.context is None:
            _open_without_opengl(size_px)
        if was_full_screen is not self.is_full_screen:
            self.toggle_full_screen()

    def capture_mouse(self, is_captured: bool) -> None:
        """A captured mouse is hidden, confined to the window, and reports unlimited relative motion."""
        pygame.mouse.set_visible(not is_captured)
        pygame.event.set_grab(is_captured)
        pygame.mouse.set_relative_mode(is_captured)

    def close(self) -> None:
        """Idempotent."""
        if self.context is not None:
            self.context.release()
            self.context = None
        self._gamepads.close()
        pygame.quit()


def _open_display(hint: str) -> None:
    requested = os.environ.get("SDL_VIDEODRIVER", "").lower()
    if sys.platform.startswith("linux") and not requested:
        # SDL would try one driver after another: noise on stderr, then an invisible window, or on a server reached by
        # ssh perhaps the console in the rack.
        if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            raise DisplayError("no display to open a window on", hint=hint)
        if not os.environ.get("WAYLAND_DISPLAY"):
            os.environ["SDL_VIDEODRIVER"] = "x11"
    # Otherwise Windows upscales the window. Text already grows with the window size.
    os.environ.setdefault("SDL_WINDOWS_DPI_AWARENESS", "permonitorv2")
    try:
        pygame.display.init()
    except pygame.error as error:
        raise DisplayError(f"no display to open a window on ({error})", hint=hint) from None
    driver = pygame.display.get_driver()
    if driver in HEADLESS_DRIVERS and driver not in requested:
        pygame.quit()
        raise DisplayError("no display to open a window on", hint=hint)


def _try_opengl(size_px: tuple[int, int], *, accepts_software: bool) -> tuple[moderngl.Context | None, str]:
    """The context, or None and the reason. Software OpenGL competes with the model for the CPU: on one core at 960x720
    a draw takes 17 ms, against 3 ms without OpenGL."""
    try:
        context = _open_with_opengl(size_px)
    except Exception as error:  # pygame, moderngl and the driver each raise their own classes
        return None, f"no OpenGL 3.3 ({error})"
    name = context.info["GL_RENDERER"]
    if accepts_software or not is_software_renderer(name):
        return context, ""
    context.release()
    return None, f"only software OpenGL is available ({name})"


def _open_with_opengl(size_px: tuple[int, int]) -> moderngl.Context:
    for attribute, value in (
        (pygame.GL_CONTEXT_MAJOR_VERSION, 3),
        (pygame.GL_CONTEXT_MINOR_VERSION, 3),
        (pygame.GL_CONTEXT_PROFILE_MASK, pygame.GL_CONTEXT_PROFILE_CORE),
        (pygame.GL_CONTEXT_FORWARD_COMPATIBLE_FLAG, 1),
    ):
        pygame.display.gl_set_attribute(attribute, value)
    flags = pygame.OPENGL | pygame.DOUBLEBUF | pygame.RESIZABLE
    try:
        pygame.display.set_mode(size_px, flags, vsync=1)
    except pygame.error:  # a driver without vsync (Xvfb); the loop draws only when something changed, so it cannot spin
        pygame.display.set_mode(size_px, flags)
    return moderngl.create_context(require=330)


def _open_without_opengl(size_px: tuple[int, int]) -> None:
    # By default SDL presents the surface through a texture, which is OpenGL again.
    os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
    try:
        pygame.display.set_mode(size_px, pygame.RESIZABLE)
    except pygame.error as error:
        raise GraphicsError(f"cannot draw to the window: {error}", hint="run worldsim doctor for details") from None
