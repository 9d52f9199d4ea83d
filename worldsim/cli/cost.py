"""`worldsim cost`: what each architecture of the paper's tables costs, in training and in play, side by side."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

import worldsim
from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    ProgressOption,
    check_at_least,
    choose_device,
    parse_arguments,
)
from worldsim.cli.output import STDOUT, Progress, write_json
from worldsim.models.sequence.architectures import ARCHITECTURES

HELP = "measure what each architecture costs: training by context length, memory and time by frames generated"

CAPTION = (
    "train: one iteration on the longest clip, and with which power of its frames that grows. "
    "ms: of the last frame; late: over frame 100. memory: the process's, late over early."
)


@dataclass(frozen=True, kw_only=True)
class CostArguments:
    architectures: tuple[str, ...] = ()
    """Their names (see `worldsim train --architecture`); all of them when left out."""
    frames: int = 100_000
    """Frames to generate; between the samples they are only committed."""
    contexts: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Frames of the training clips that are timed, one clip at a time."""
    width: int = 24
    """Width of the reference, a multiple of 12; the others are given as many parameters."""
    layers: int = 2
    """Layers of the reference."""
    rounds: int = 9
    """The fastest of so many rounds counts; each takes all architectures in turn."""
    limit_mb: float = 32.0
    """A state that has grown beyond this ends its architecture's run."""
    threads: int = 1
    """CPU threads of torch."""
    device: DeviceOption = "cpu"
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(CostArguments, argv, command="cost", help=HELP)
    check_at_least(arguments.threads, 1, "--threads")
    result = measure(arguments, command=shlex.join(["worldsim", "cost", *argv]))
    if arguments.json is not None:
        write_json(arguments.json, result)
    console = Console(stderr=arguments.json == STDOUT)
    console.print(table(result))
    for name, costs in result["architectures"].items():
        if remark := _remark(costs):
            console.print(f"{name}: {remark}", highlight=False)
    console.print(CAPTION, highlight=False)
    console.print(result["note"], highlight=False)
    return 0


def measure(arguments: CostArguments, *, command: str) -> dict[str, Any]:
    """Returns: the measurement, as the JSON has it. Side effects: sets torch's number of threads."""
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
        result = measure_costs(config, device=device, on_progress=lambda num: progress.update(progress.done + num))
    return {
        **result,
        "command": command,
        "device": device,
        "threads": arguments.threads,
        "torch": torch.__version__,
        "worldsim": worldsim.__version__,
        "elapsed_s": round(time.monotonic() - started_s, 1),
    }


def table(result: Mapping[str, Any]) -> Table:
    """One row per architecture; fits 80 columns."""
    weights = [costs["parameters"] for costs in result["architectures"].values()]
    sizes = f"{min(weights) / 1e3:.0f} to {max(weights) / 1e3:.0f} thousand weights"
    title = f"{result['device']}, {result['threads']} thread(s), {result['clock']} time; {sizes}"
    rows = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), title=title)
    rows.add_column("", no_wrap=True)
    for heading in ("train ms", "grows", "frame", "ms", "late", "state", "memory"):
        rows.add_column(heading, justify="right", no_wrap=True)
    for name, costs in result["architectures"].items():
        if costs["same_as"] is None:
            rows.add_row(name, *_training_cells(costs), *_generation_cells(costs))
    return rows


def _training_cells(costs: Mapping[str, Any]) -> tuple[str, str]:
    if not costs["training"]:
        return "", ""
    exponent = costs["training_exponent"]
    return f"{costs['training'][-1]['ms']:.1f}", "" if exponent is None else f"T^{exponent:.2f}"


def _generation_cells(costs: Mapping[str, Any]) -> tuple[str, ...]:
    last = costs["generation"][-1]
    ratios = (f"x {last['ms_ratio']:.2f}", f"{last['state_bytes'] / 1e3:.0f} kB", f"x {last['resident_ratio']:.3f}")
    return (f"{last['frame']}", f"{last['ms']:.2f}", *ratios)


def _remark(costs: Mapping[str, Any]) -> str | None:
    if costs["same_as"] is not None:
        return f"the network of {costs['same_as']}, and its cost"
    stopped: str | None = costs["stopped"]
    return stopped
