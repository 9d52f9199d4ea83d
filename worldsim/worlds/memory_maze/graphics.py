"""How MuJoCo draws without a display: chosen before the package is imported, since it looks only then."""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import os

from worldsim.core.errors import WorldError

logger = logging.getLogger(__name__)

MUJOCO_GL = "MUJOCO_GL"
_DEVICE_PLATFORM, _MAX_DEVICES = 0x313F, 16


def choose_graphics() -> str:
    """Sets MUJOCO_GL where it is not set: egl (a graphics card where there is one), else osmesa. Prints which and why.

    Worker processes inherit the choice. Raises: WorldError when neither works.
    """
    asked = os.environ.get(MUJOCO_GL)
    if asked:
        return asked
    if _egl_works():
        choice, why = "egl", "it needs no display"
    elif ctypes.util.find_library("OSMesa"):
        choice, why = "osmesa", "EGL does not start here"
    else:
        raise WorldError(
            "Memory Maze cannot draw: neither EGL nor OSMesa is there",
            hint="on Debian: apt-get install libegl1 libgl1-mesa-dri (or libosmesa6)",
        )
    os.environ[MUJOCO_GL] = choice
    logger.info("Memory Maze renders with %s: %s", choice, why)
    return choice


def _egl_works() -> bool:
    """Whether a device of EGL can be initialised, asked the way dm_control asks: a failed attempt there is final."""
    try:
        egl = ctypes.CDLL(ctypes.util.find_library("EGL") or "libEGL.so.1")
    except OSError:
        return False
    pointer = ctypes.c_void_p
    egl.eglGetProcAddress.restype = pointer
    addresses = [egl.eglGetProcAddress(name) for name in (b"eglQueryDevicesEXT", b"eglGetPlatformDisplayEXT")]
    if not all(addresses):
        return False
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, pointer, ctypes.POINTER(ctypes.c_int))(addresses[0])
    display_of = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(addresses[1])
    egl.eglInitialize.argtypes, egl.eglTerminate.argtypes = [pointer] * 3, [pointer]
    devices, found = (pointer * _MAX_DEVICES)(), ctypes.c_int()
    query(_MAX_DEVICES, devices, ctypes.byref(found))
    for device in devices[: found.value]:
        display = display_of(_DEVICE_PLATFORM, device, None)
        if display and egl.eglInitialize(display, None, None):
            egl.eglTerminate(display)
            return True
    return False
