"""The SDL window, with an OpenGL context where one can be had.

Owns: pygame's display and event queue, the context, full screen, the captured mouse, the gamepads' plugs. Does not own:
what is drawn.
UI thread, except `wake`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from typing import Literal

import moderngl
import pygame

from worldsim.app.assets import asset_path
from worldsim.app.gamepad import ConnectedGamepads
from worldsim.core.errors import DisplayError, GraphicsError

HEADLESS_DRIVERS = frozenset({"dummy", "offscreen", "evdev"})
"""What SDL falls back to without a word when there is no screen."""


Backend = Literal["auto", "opengl", "sdl"]

SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software", "gdi generic", "basic render")


def is_software_renderer(renderer_name: str) -> bool:
    """Whether it is the CPU that plays the graphics card of this name."""
    return any(word in renderer_name.lower() for word in SOFTWARE_RENDERERS)


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


BASE_SIZE_PX = (160, 120)
SCREEN_FRACTION = 0.8


def default_size_px(screen_px: tuple[int, int]) -> tuple[int, int]:
    """Of a window that leaves some of the screen free, a multiple of `BASE_SIZE_PX`; four times at least, if it can be.

    A screen with four times as many pixels is rarely twice as wide: its pixels are smaller, and the window has more.
    """
    scale = max(4, int(SCREEN_FRACTION * min(screen_px[0] / BASE_SIZE_PX[0], screen_px[1] / BASE_SIZE_PX[1])))
    return min(screen_px[0], scale * BASE_SIZE_PX[0]), min(screen_px[1], scale * BASE_SIZE_PX[1])


def needs_redraw(events: Iterable[pygame.event.Event]) -> bool:
    """Whether what was drawn before is not what should be seen now."""
    return any(event.type in _REDRAW_EVENTS for event in events)


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


def is_input_event(event: pygame.event.Event) -> bool:
    """Whether a person did something that may be input to the world."""
    return event.type in _INPUT_EVENTS


class Window:
    """Opens on construction. `context` is None when SDL draws; `reason` then says why."""

    def __init__(
        self, *, title: str, size_px: tuple[int, int] | None = None, backend: Backend = "auto", hint: str = ""
    ) -> None:
        """`size_px`: what fits the screen when left out. `hint`: what to do instead where there is no display.

        Raises: DisplayError without a screen, GraphicsError when nothing can be drawn on it.
        """
        _open_display(hint)
        size_px = size_px or default_size_px(pygame.display.get_desktop_sizes()[0])
        pygame.display.set_icon(pygame.image.load(asset_path("icon/icon.png")))
        self.context, self.reason = None, "as asked for"
        if backend != "sdl":
            self.context, self.reason = _try_opengl(size_px, accepts_software=backend == "opengl")
        if self.context is None:
            if backend == "opengl":
                pygame.quit()
                raise GraphicsError(self.reason, hint="--renderer sdl draws without it")
            _open_without_opengl(size_px)
        pygame.display.set_caption(title)
        self._wake_event = pygame.event.custom_type()
        self._gamepads = ConnectedGamepads()

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) now."""
        width_px, height_px = pygame.display.get_window_size()
        return max(1, width_px), max(1, height_px)

    def wait(self, timeout_s: float) -> list[pygame.event.Event]:
        """The events so far; waits for the first one, at most that long. `wake` ends the wait."""
        first = pygame.event.wait(round(timeout_s * 1000)) if timeout_s >= 0.001 else pygame.event.poll()
        events = [first, *pygame.event.get()]
        self._gamepads.update(events)
        return events

    def wake(self) -> None:
        """Ends a `wait`. May be called from any thread."""
        with contextlib.suppress(pygame.error):  # the window is closed, or its queue is full: then it is awake
            pygame.event.post(pygame.event.Event(self._wake_event))

    def flip(self) -> None:
        """Shows what was drawn; waits for the screen where there is vsync."""
        pygame.display.flip()

    @property
    def is_full_screen(self) -> bool:
        return bool(pygame.display.is_fullscreen())

    def set_title(self, title: str) -> None:
        pygame.display.set_caption(title)

    @property
    def is_visible(self) -> bool:
        """Not minimised, not hidden."""
        return bool(pygame.display.get_active())

    def toggle_full_screen(self) -> None:
        """Stays as it is where the screen has gone, or does not do it."""
        with contextlib.suppress(pygame.error):
            pygame.display.toggle_fullscreen()

    def reopen(self, *, can_use_opengl: bool) -> None:
        """After the context was lost: another one where it can be had, else none, and `reason` says why.

        Raises: GraphicsError when nothing can be drawn on.
        """
        size_px, was_full_screen = self.size_px, self.is_full_screen
        had_opengl, self.context = self.context is not None, None
        self.reason = "OpenGL was lost"
        if had_opengl and can_use_opengl:
            self.context, self.reason = _try_opengl(size_px, accepts_software=True)
        if self.context is None:
            _open_without_opengl(size_px)
        if was_full_screen is not self.is_full_screen:
            self.toggle_full_screen()

    def capture_mouse(self, is_captured: bool) -> None:
        """A captured mouse is hidden, cannot leave, and reports motion without end."""
        pygame.mouse.set_visible(not is_captured)
        pygame.event.set_grab(is_captured)
        pygame.mouse.set_relative_mode(is_captured)

    def close(self) -> None:
        """May be called again."""
        if self.context is not None:
            self.context.release()
            self.context = None
        self._gamepads.close()
        pygame.quit()


def _open_display(hint: str) -> None:
    asked = os.environ.get("SDL_VIDEODRIVER", "").lower()
    if sys.platform.startswith("linux") and not asked:
        # SDL would try one driver after the other: complaints on stderr, at last a window that nobody sees, and on a
        # server reached by ssh perhaps the console in the rack.
        if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            raise DisplayError("no display to open a window on", hint=hint)
        if not os.environ.get("WAYLAND_DISPLAY"):
            os.environ["SDL_VIDEODRIVER"] = "x11"
    # Windows would draw small and enlarge: here a pixel is a pixel, and the text grows with the window.
    os.environ.setdefault("SDL_WINDOWS_DPI_AWARENESS", "permonitorv2")
    try:
        pygame.display.init()
    except pygame.error as error:
        raise DisplayError(f"no display to open a window on ({error})", hint=hint) from None
    driver = pygame.display.get_driver()
    if driver in HEADLESS_DRIVERS and driver not in asked:
        pygame.quit()
        raise DisplayError("no display to open a window on", hint=hint)


def _try_opengl(size_px: tuple[int, int], *, accepts_software: bool) -> tuple[moderngl.Context | None, str]:
    """The window with a context, or None and the reason. A graphics card that the CPU plays takes time from the model:
    measured on one core at 960x720, 17 ms per drawing, against 3 ms without OpenGL."""
    try:
        context = _open_with_opengl(size_px)
    except Exception as error:  # pygame, moderngl and the driver each raise their own
        return None, f"no OpenGL 3.3 ({error})"
    name = context.info["GL_RENDERER"]
    if accepts_software or not is_software_renderer(name):
        return context, ""
    context.release()
    return None, f"OpenGL is only emulated here ({name})"


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
    except pygame.error:  # a driver without vsync (Xvfb): the loop draws only what is new, so nothing spins
        pygame.display.set_mode(size_px, flags)
    return moderngl.create_context(require=330)


def _open_without_opengl(size_px: tuple[int, int]) -> None:
    # SDL would present the surface through a texture, which means OpenGL again.
    os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
    try:
        pygame.display.set_mode(size_px, pygame.RESIZABLE)
    except pygame.error as error:
        raise GraphicsError(
            f"the window cannot be drawn on: {error}", hint="worldsim doctor says what there is"
        ) from None
