"""`worldsim eval`: how close a preset stays to its true world on episodes it was not trained on."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    OfflineOption,
    PresetArgument,
    ProgressOption,
    StepsOption,
    at_least,
    choose_device,
    parse_arguments,
)
from worldsim.cli.output import STDOUT, Progress, write_json
from worldsim.evaluation.config import EvalConfig, parse_seeds

HELP = "score a preset against its true world on held-out episodes, beside references (needs vizdoom)"

COLUMNS = {
    "psnr": "PSNR",
    "psnr_interval": "95 %",
    "psnr_autoencoder": "AE",
    "psnr_repeat": "last seen",
    "psnr_mean_image": "mean image",
    "psnr_no_state": "no state",
    "psnr_copy": "a turn ago",
    "ssim": "SSIM",
    "sharpness": "sharp",
    "sharpness_autoencoder": "sharp AE",
}
"""Score to heading, in the order of the table."""
CAPTION = (
    "PSNR in dB. AE: the truth through the autoencoder, the ceiling. Last seen: the last true frame, repeated. "
    "No state: the scan state cleared before every frame. Sharp: gradient energy over the truth's, less is fog."
)


@dataclass(frozen=True, kw_only=True)
class EvalArguments:
    preset: PresetArgument
    seeds: str = "900000:900016"
    """A:B, seeds from A up to but not B, 900000 or more: one held-out episode of each task per seed."""
    steps: StepsOption = None
    horizons: tuple[int, ...] = EvalConfig.horizons
    """Generated frames after which a roll-out is scored."""
    sheet: Path | None = None
    """PNG of true frames above generated ones."""
    threads: int | None = None
    """Threads torch may use; its own choice when left out."""
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(EvalArguments, argv, command="eval", help=HELP)
    at_least(arguments.threads, 1, "--threads")
    config = EvalConfig(
        seeds=parse_seeds(arguments.seeds), num_steps=arguments.steps, horizons=tuple(arguments.horizons)
    )
    result = evaluate_preset(arguments, config, command=shlex.join(["worldsim", "eval", *argv]))
    if arguments.json is not None:
        write_json(arguments.json, result)
    Console(stderr=arguments.json == STDOUT).print(table(result))
    return 0


def evaluate_preset(arguments: EvalArguments, config: EvalConfig, *, command: str) -> dict[str, Any]:
    """Returns: the report as the JSON has it. Side effects: writes the sheet, sets torch's number of threads."""
    from worldsim.worlds.doom.engine import import_vizdoom

    import_vizdoom()
    import torch

    from worldsim.evaluation.report import evaluate, num_frames_of_work
    from worldsim.evaluation.sheets import check_can_draw, evaluation_sections, write_sheet
    from worldsim.presets.store import load_preset

    if arguments.sheet is not None:
        check_can_draw()
    device = choose_device(arguments.device)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    preset = load_preset(arguments.preset, device=device)
    started_s = time.monotonic()
    done = 0
    with Progress(
        num_frames_of_work(config, preset.config), f"eval {arguments.preset}", arguments.progress
    ) as progress:

        def advance(num_frames: int) -> None:
            nonlocal done
            done += num_frames
            progress.update(done)

        report = evaluate(preset, config, device=device, advance=advance)
    if arguments.sheet is not None:
        write_sheet(arguments.sheet, evaluation_sections(report.outcomes, config.horizons))
    return {
        **report.to_json(),
        "command": command,
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "elapsed_s": round(time.monotonic() - started_s, 1),
    }


def table(result: Mapping[str, Any]) -> Table:
    """The scores beside their references; fits 80 columns."""
    rows = Table(title=_title(result), caption=CAPTION, box=box.SIMPLE, padding=0)
    rows.add_column("", no_wrap=True)
    for name, heading in COLUMNS.items():
        rows.add_column(heading, justify="right", no_wrap=name == "psnr_interval")
    rows.add_row("next frame", *_cells(result["one_step"]))
    for score in result["rollout"]:
        rows.add_row(f"frame {score['horizon']}", *_cells(score))
    for name in ("retrieval", "spin"):
        rows.add_row(name, *_cells(result[name]))
    return rows


def _title(result: Mapping[str, Any]) -> str:
    steps = f"{result['steps']} step{'s' if result['steps'] > 1 else ''}"
    seeds, context_frames = result["seeds"], result["context_frames"]
    return f"{result['preset']}: {len(seeds)} held-out seeds from {seeds[0]}, {steps}, {context_frames} context frames"


def _cells(score: Mapping[str, Any]) -> list[str]:
    values = {**score, "psnr_interval": f"{score['psnr_low']:.1f}-{score['psnr_high']:.1f}"}
    return [_cell(name, values.get(name)) for name in COLUMNS]


def _cell(name: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.1f}" if name.startswith("psnr") else f"{value:.2f}"
