"""`worldsim cost`: training and inference cost of the architectures of the paper's tables."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill
from typing import Annotated, Any

import worldsim
from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    ProgressOption,
    check_at_least,
    option,
    parse_arguments,
)
from worldsim.cli.output import Progress, counted, print_result, text_table
from worldsim.core.devices import choose_device
from worldsim.models.sequence.architectures import ARCHITECTURES

CAPTION = """\
train ms: one training step on the longest clip; scaling: growth with length T.
frame ms: time of the last frame, and its ratio to frame 100.
memory: resident memory of the process, last over first sample."""


@dataclass(frozen=True, kw_only=True)
class CostArguments:
    """Compare training and inference cost of the architectures, with untrained weights.

    Measures training time by context length, and time and memory per frame by the number of frames generated before.
    """

    architectures: Annotated[tuple[str, ...], option("NAME")] = ()
    """Architectures to measure, separated by spaces (default: all). `worldsim train --help` lists them."""
    frames: int = 100_000
    """Frames to generate; those between two samples are only committed to the state."""
    contexts: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Lengths of the training clips in frames."""
    width: int = 24
    """Width of the reference model, a multiple of 12. Other architectures are matched in parameter count."""
    layers: int = 2
    """Layers of the reference model."""
    rounds: int = 9
    """Number of timing rounds; the fastest counts."""
    limit_mb: float = 32.0
    """Stop an architecture once its state exceeds this size in MB."""
    threads: int = 1
    """Number of CPU threads."""
    device: DeviceOption = "cpu"
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(CostArguments, argv, command="cost")
    check_at_least(arguments.threads, 1, "--threads")
    result = measure(arguments, command=shlex.join(["worldsim", "cost", *argv]))
    print_result(_cost_text(result), result, arguments.json)
    return 0


def measure(arguments: CostArguments, *, command: str) -> dict[str, Any]:
    """Returns: the JSON result. Side effects: sets torch's number of threads."""
    import torch

    from worldsim.evaluation.cost import CostConfig, measure_costs

    config = CostConfig(
        architectures=arguments.architectures or tuple(ARCHITECTURES),
        width=arguments.width,
        num_layers=arguments.layers,
        frames=arguments.frames,
        contexts=arguments.contexts,
        rounds=arguments.rounds,
        limit_mb=arguments.limit_mb,
    )
    device = choose_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    started_s = time.monotonic()
    with Progress(config.num_progress_frames, "cost", arguments.progress) as progress:
        result = measure_costs(config, device=device, on_progress=progress.advance)
    return {
        **result,
        "command": command,
        "device": device,
        "threads": arguments.threads,
        "torch": torch.__version__,
        "worldsim": worldsim.__version__,
        "elapsed_s": round(time.monotonic() - started_s, 1),
    }


def _cost_text(result: Mapping[str, Any]) -> str:
    """One row per architecture, at most 80 columns."""
    weights = [costs["parameters"] for costs in result["architectures"].values()]
    title = (
        f"{result['device']}, {counted(result['threads'], 'thread')}, {result['clock']} time; "
        f"{min(weights) / 1e3:.0f} to {max(weights) / 1e3:.0f} thousand parameters"
    )
    rows = [("", "train ms", "scaling", "frame", "ms", "ratio", "state", "memory")]
    remarks = []
    for name, costs in result["architectures"].items():
        if costs["same_as"] is None:
            rows.append((name, *_training_cells(costs), *_generation_cells(costs)))
        else:
            remarks.append(f"{name}: same network and cost as {costs['same_as']}")
        if costs["stopped"]:
            remarks.append(f"{name}: {costs['stopped']}")
    return "\n".join([title, text_table(rows, align="lrrrrrrr"), *remarks, CAPTION, fill(result["note"], 80)])


def _training_cells(costs: Mapping[str, Any]) -> tuple[str, str]:
    if not costs["training"]:
        return "", ""
    exponent = costs["training_exponent"]
    return f"{costs['training'][-1]['ms']:.1f}", "" if exponent is None else f"T^{exponent:.2f}"


def _generation_cells(costs: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    last = costs["generation"][-1]
    sizes = f"{last['state_bytes'] / 1e3:.0f} kB", f"x {last['resident_ratio']:.3f}"
    return str(last["frame"]), f"{last['ms']:.2f}", f"x {last['ms_ratio']:.2f}", *sizes
