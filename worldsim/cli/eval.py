"""`worldsim eval`: scores a preset against its reference world on held-out episodes."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    OfflineOption,
    PresetArgument,
    ProgressOption,
    StepsOption,
    check_at_least,
    option,
    parse_arguments,
)
from worldsim.cli.eval_tables import tables
from worldsim.cli.output import STDOUT, Progress, write_json
from worldsim.core.config import from_mapping, with_assignments
from worldsim.core.devices import choose_device
from worldsim.evaluation.config import EvalConfig, parse_seeds, parse_tasks


@dataclass(frozen=True, kw_only=True)
class EvalArguments:
    """Score a preset against its reference world, or recordings, on held-out episodes. Every score comes with
    baselines and 95 % confidence intervals.
    """

    preset: PresetArgument
    tasks: Annotated[str | None, option("A,B,...")] = None
    """Tasks: one_step, rollout, retrieval, reverse, tour, reasoning, spin, loop, fidelity, idle, drift.
    Default: all."""
    seeds: Annotated[str, option("N|A:B")] = "16"
    """N held-out episodes per task, or the seeds A to B-1; A is 900000 or more."""
    data: Annotated[str | None, option("DATA")] = None
    """Score on recordings instead: a session, a folder of sessions, or user/dataset on the Hub."""
    steps: StepsOption = None
    horizons: tuple[int, ...] = EvalConfig.horizons
    """Numbers of generated frames after which rollouts are scored."""
    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], option("KEY=VALUE")] = ()
    """Replace a length of the evaluation, as in TOML: --set reverse_context=200. Repeatable; names and defaults are in
    worldsim.evaluation.config.EvalConfig."""
    contact_sheet: Annotated[Path | None, option("FILE.png")] = None
    """Write a contact sheet of true frames above generated ones."""
    lpips: Annotated[Path | None, option("FILE")] = None
    """TorchScript file of the LPIPS network (StyleGAN's vgg16.pt): adds LPIPS."""
    fvd: Annotated[Path | None, option("FILE")] = None
    """TorchScript file of the FVD network (i3d_torchscript.pt): adds FVD."""
    threads: Annotated[int | None, option("N")] = None
    """Number of CPU threads (default: chosen by torch)."""
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(EvalArguments, argv, command="eval")
    check_at_least(arguments.threads, 1, "--threads")
    lengths = from_mapping(EvalConfig, with_assignments({"seeds": parse_seeds(arguments.seeds)}, arguments.set))
    config = replace(
        lengths,
        tasks=parse_tasks(arguments.tasks),
        num_steps=arguments.steps,
        horizons=tuple(arguments.horizons),
    )
    result = evaluate_preset(arguments, config, command=_command(argv))
    if arguments.json is not None:
        write_json(arguments.json, result)
    console = Console(stderr=arguments.json == STDOUT)
    for table in tables(result):
        console.print(table)
    return 0


def evaluate_preset(arguments: EvalArguments, config: EvalConfig, *, command: str) -> dict[str, Any]:
    """Returns: the JSON report. Side effects: writes the contact sheet, sets torch's number of threads."""
    import torch

    from worldsim.evaluation.contact_sheet import evaluation_sections, write_sheet
    from worldsim.evaluation.evaluate import evaluate, num_progress_frames
    from worldsim.evaluation.perceptual import PerceptualMetrics
    from worldsim.presets.store import load_preset
    from worldsim.worlds.recorded import RecordedWorldConfig
    from worldsim.worlds.registry import check_installed

    perceptual = PerceptualMetrics(arguments.lpips, arguments.fvd)
    device = choose_device(arguments.device)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    preset = load_preset(arguments.preset, device=device)
    if arguments.data is None and not isinstance(preset.config.world, RecordedWorldConfig):
        check_installed(preset.config.ground_truth_config)
    total = num_progress_frames(config, preset.config, arguments.data)
    started_s = time.monotonic()
    with Progress(total, f"eval {arguments.preset}", arguments.progress) as progress:

        def on_progress(num_frames: int) -> None:
            progress.update(progress.done + num_frames)

        report = evaluate(
            preset, config, data=arguments.data, device=device, on_progress=on_progress, perceptual=perceptual
        )
        progress.update(total)
    if arguments.contact_sheet is not None:
        write_sheet(arguments.contact_sheet, evaluation_sections(report.results, config.horizons))
    return {
        **report.to_json(),
        "command": command,
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "elapsed_s": round(time.monotonic() - started_s, 1),
    }


def _command(argv: list[str]) -> str:
    """The command line to reproduce the results; absolute paths are reduced to the file name."""
    return shlex.join(["worldsim", "eval", *(Path(a).name if Path(a).is_absolute() else a for a in argv)])
