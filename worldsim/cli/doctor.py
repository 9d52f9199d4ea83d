"""`worldsim doctor`: what this machine can run. Everything is measured, nothing is looked up.

The speed of a preset is measured with untrained weights (`engine.estimate`), as for presets that are not
downloaded yet.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import worldsim
from worldsim.cli.arguments import DeviceOption, JsonOption, parse_arguments
from worldsim.cli.output import counted, print_result, text_table
from worldsim.core.devices import choose_device
from worldsim.core.errors import WorldsimError
from worldsim.core.install import install_hint
from worldsim.presets.resolve import CONFIG_FILE, WEIGHTS_FILE, bundled_presets

PLAY_ROWS, TRAIN_ROWS, PRODUCT_SIZE = 16, 2048, 384
"""Sizes of the timed matrix products: few rows in play, many in training; the size of a layer."""
PROBE_S = 0.2
"""Time spent on each matrix product, in seconds."""
GRAPHICS_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class DoctorArguments:
    """Show what this machine can run: devices, data types, window, reference worlds, frames/s of every preset."""

    device: DeviceOption = "auto"
    json: JsonOption = None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(DoctorArguments, argv, command="doctor")
    report = examine(arguments.device)
    print_result(_text(report), report, arguments.json)
    return 0


def examine(device_name: str) -> dict[str, Any]:
    """Returns: the JSON report. Raises: DeviceError."""
    import torch

    device = choose_device(device_name)
    memory = psutil.virtual_memory()
    products = {name: _product_rates(device, rows) for name, rows in _PRODUCTS.items()}
    return {
        "worldsim": worldsim.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "devices": _devices(),
        "device": device,
        "gflops": products,
        "dtype_play": _faster(products["play"]),
        "dtype_train": _faster(products["train"]),
        "display": os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"),
        "graphics": probe_graphics(),
        "vizdoom": _version("vizdoom"),
        "memory_maze": _version("memory-maze"),
        "presets": {name: examine_preset(folder, device) for name, folder in bundled_presets().items()},
    }


_PRODUCTS = {"play": PLAY_ROWS, "train": TRAIN_ROWS}


def examine_preset(folder: Path, device: str) -> dict[str, Any]:
    """Estimated speed and memory of a preset, or {"error": reason} if it does not load."""
    from worldsim.engine.estimate import estimate_play
    from worldsim.presets.config import read_config_json
    from worldsim.presets.store import verify

    try:
        verified = verify(folder)
        prediction = estimate_play(read_config_json(folder / CONFIG_FILE)[0], device=device)
    except WorldsimError as error:
        return {"error": error.message}
    return {
        "frames_per_s": prediction.frames_per_s,
        "ticks_per_s": prediction.ticks_per_s,
        "full_speed": prediction.full_speed,
        "steps": prediction.steps,
        "memory_bytes": prediction.memory_bytes,
        "reason": prediction.reason,
        "weights_bytes": (folder / WEIGHTS_FILE).stat().st_size,
        "sha256": verified.sha256,
    }


_GRAPHICS_PROBE = """
import json
from worldsim.app.window import Window
from worldsim.core.devices import choose_device
from worldsim.core.errors import WorldsimError
try:
    window = Window(title="worldsim doctor", size_px=(64, 48))
except WorldsimError as error:
    print(json.dumps({"error": error.message}))
else:
    info = window.context.info if window.context else {}
    drawing, names = ("opengl", [info["GL_RENDERER"], info["GL_VERSION"]]) if info else ("sdl", [])
    print(json.dumps({"drawing": drawing, "renderer": " ".join(names), "reason": window.fallback_reason}))
    window.close()
"""


def probe_graphics() -> dict[str, Any]:
    """The renderer a window would get. In a subprocess, so that a crash of the driver does not lose the report."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _GRAPHICS_PROBE],
            capture_output=True,
            text=True,
            timeout=GRAPHICS_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {GRAPHICS_TIMEOUT_S} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"the probe exited with code {done.returncode}"}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _devices() -> list[dict[str, Any]]:
    import torch

    found: list[dict[str, Any]] = [{"device": "cpu", "name": platform.processor() or platform.machine()}]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        found.append({"device": f"cuda:{index}", "name": properties.name, "memory_bytes": properties.total_memory})
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU"})
    return found


def _product_rates(device: str, rows: int) -> dict[str, float]:
    """GFLOP/s of a matrix product with `rows` rows, by dtype."""
    import torch

    from worldsim.training.profiling import matmul_rate

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    return {
        name: matmul_rate(device, dtype, rows=rows, size=PRODUCT_SIZE, limit_s=PROBE_S) / 1e9
        for name, dtype in dtypes.items()
    }


def _faster(rates: dict[str, float]) -> str:
    """float32, unless bfloat16 is fast enough to justify its lower precision."""
    return "bfloat16" if rates["bfloat16"] > 1.3 * rates["float32"] else "float32"


def _version(distribution: str) -> str | None:
    """Of an installed distribution, under the name that pip knows; None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(report: dict[str, Any]) -> str:
    rows = [
        ("worldsim", f"{report['worldsim']}, Python {report['python']}, torch {report['torch']}"),
        (
            "machine",
            f"{report['platform']}, {counted(report['cores'], 'core')}, {counted(report['threads'], 'torch thread')}",
        ),
        ("memory", f"{report['memory_bytes'] / 1e9:.1f} GB, {report['memory_available_bytes'] / 1e9:.1f} GB free"),
    ]
    for device in report["devices"]:
        memory = f", {device['memory_bytes'] / 1e9:.0f} GB" if "memory_bytes" in device else ""
        used = " (used)" if device["device"].split(":")[0] == report["device"].split(":")[0] else ""
        rows.append(("device", f"{device['device']}: {device['name']}{memory}{used}"))
    for use, rates in report["gflops"].items():
        figures = ", ".join(f"{dtype} {rate:.0f}" for dtype, rate in rates.items())
        rows.append((f"dtype ({use})", f"{report[f'dtype_{use}']} (GFLOP/s: {figures})"))
    rows.append(("display", report["display"] or "none; use worldsim rollout to write a video"))
    graphics = report["graphics"]
    rows.append(("window", f"none: {graphics['error']}" if "error" in graphics else _graphics_text(graphics)))
    missing = "not installed (needed to train on it and to compare with it): "
    rows.append(("vizdoom", report["vizdoom"] or missing + install_hint("doom")))
    rows.append(("memory-maze", report["memory_maze"] or missing + install_hint("memory-maze")))
    for name, row in report["presets"].items():
        rows.append((f"preset {name}", f"does not load: {row['error']}" if "error" in row else _preset_text(row)))
    if not report["presets"]:
        rows.append(("presets", "none bundled"))
    return text_table(rows)


def _graphics_text(graphics: dict[str, Any]) -> str:
    why = f" ({graphics['reason']})" if graphics["reason"] else ""
    return f"renderer {graphics['drawing']} {graphics['renderer']}".strip() + why


def _preset_text(row: dict[str, Any]) -> str:
    if row["frames_per_s"] is None:
        return row["reason"]
    verdict = "full speed" if row["full_speed"] else "slower than real time"
    steps = counted(row["steps"], "step")
    return (
        f"{row['frames_per_s']:.0f} fps at {steps}, target {row['ticks_per_s']:g} fps: {verdict}; "
        f"{row['memory_bytes'] / 1e6:.0f} MB of memory, {row['weights_bytes'] / 1e6:.1f} MB on disk"
    )
