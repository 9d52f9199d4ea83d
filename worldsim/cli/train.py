"""`worldsim train`: trains stages of a preset.toml to a playable checkpoint."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from worldsim.cli.arguments import (
    DeviceOption,
    Flag,
    JsonOption,
    OfflineOption,
    ProgressOption,
    check_at_least,
    option,
    parse_arguments,
)
from worldsim.cli.main import setup_logging
from worldsim.cli.output import Progress, write_json
from worldsim.core.config import to_mapping
from worldsim.core.devices import choose_device
from worldsim.core.errors import UsageError
from worldsim.models.sequence.architectures import ARCHITECTURES
from worldsim.presets.resolve import resolve_preset
from worldsim.training.config import Stage, stages_of
from worldsim.training.trackers import TrackerName, open_trackers

if TYPE_CHECKING:
    from worldsim.training.distributed import DistributedContext
    from worldsim.training.loop import Trainer
    from worldsim.training.run import TrainingRun

STAGE_FRACTIONS: dict[Stage, float] = {"autoencoder": 0.3, "map": 0.6, "dynamics": 0.6, "decoder": 0.1}
"""Fractions of the minutes with --stage all."""

STAGE_HELP = (
    "autoencoder: frames to latents and back. map: the map of a mapped model, before its dynamics. dynamics: predict "
    "latents from actions. decoder: fine-tune the decoder on predicted latents. all: every stage of the model in turn, "
    "sharing the minutes; the autoencoder is skipped if dynamics training has started, or with --init."
)
INIT_HELP = (
    "Initialize a new run from this preset's weights, where shapes match. Repeatable: a mapped model can take the map "
    "of one preset and the scans of another. The autoencoder comes from the first."
)
DATA_HELP = (
    "Train on recordings: a session, a folder of sessions, or user/dataset[@revision] on the Hub. Repeatable; frames "
    "are sampled in proportion to the weights (default: 1). Without --data, frames come from the reference world."
)
ARCHITECTURE_HELP = (
    "Train this architecture of the paper's tables instead of the preset's, matched in parameter count to `full` at "
    f"the preset's width. Preset and run folder are named after both. One of {', '.join(ARCHITECTURES)}."
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """Train one or all stages of a preset for a number of minutes. Running the same command again resumes.

    For several GPUs, start it with torchrun.
    """

    preset: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PRESET.toml")]]
    """Training recipe."""
    stage: Annotated[Literal["autoencoder", "map", "dynamics", "decoder", "all"], option(help=STAGE_HELP)]
    minutes: float
    """Wall-clock training time in minutes."""
    steps: Annotated[int | None, option("N")] = None
    """Stop a stage after N optimizer steps, if the minutes have not ended it."""
    decay_steps: Annotated[int | None, option("N")] = None
    """With --steps: decay the learning rate over the last N steps (default: a fraction set by the recipe)."""
    out: Annotated[Path | None, option("DIR")] = None
    """Run folder (default: runs/<preset name>)."""
    from_start: Flag = False
    """Count loading and rendering the first episodes as part of --minutes."""
    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], option("KEY=VALUE")] = ()
    """Override a value in the recipe's [training] table, in TOML syntax: --set data.num_workers=12. Repeatable."""
    init: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], option("PRESET", INIT_HELP)] = ()
    architecture: Annotated[str | None, option("NAME", ARCHITECTURE_HELP)] = None
    data: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], option("DATA[=WEIGHT]", DATA_HELP)] = ()
    world_fraction: Annotated[float | None, option("X")] = None
    """With --data: fraction of the frames from the reference world, 0 <= X < 1 (default: 0)."""
    track: Annotated[tyro.conf.UseAppendAction[tuple[TrackerName, ...]], option("NAME")] = ()
    """Log to tensorboard, trackio or wandb as well as log.jsonl; each needs its extra. Repeatable."""
    device: DeviceOption = "auto"
    threads: int = 1
    """Number of CPU threads; 1 leaves the other cores to the rendering workers."""
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: Sequence[str]) -> int:
    arguments = parse_arguments(TrainArguments, argv, command="train")
    if arguments.minutes <= 0:
        raise UsageError(f"--minutes is {arguments.minutes:g}", hint="more than 0")
    check_at_least(arguments.steps, 1, "--steps")
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
    import torch

    from worldsim.training.distributed import init_distributed

    torch.set_num_threads(arguments.threads)
    with init_distributed(choose_device(arguments.device)) as distributed:
        if not distributed.is_main:
            setup_logging(logging.WARNING)
        _train(arguments, distributed)
    return 0


def _train(arguments: TrainArguments, distributed: DistributedContext) -> None:
    """Trains the requested stages. Only the main rank logs and writes."""
    from worldsim.training.recordings import DataSource
    from worldsim.training.run import TrainingRun

    run = TrainingRun.open(
        arguments.preset,
        folder=arguments.out,
        distributed=distributed,
        init=[resolve_preset(name) for name in arguments.init],
        data=[DataSource.parse(text) for text in arguments.data],
        world_share=arguments.world_fraction,
        architecture=arguments.architecture,
        overrides=arguments.set,
    )
    summaries: dict[str, dict[str, float | int | str]] = {}
    progress_file = arguments.progress if distributed.is_main else None
    with Progress(arguments.minutes * 60, arguments.stage, progress_file, unit="second") as progress:
        for stage, minutes in _phases(arguments, run):
            reason, trainer = _train_phase(run, stage, minutes, arguments, progress)
            summaries[stage] = _summary(trainer, reason)
            _log.info("stopped (%s) after %d steps; %s", reason, trainer.num_updates, run.folder / stage)
            if reason.startswith("SIG"):
                break
    if arguments.json and distributed.is_main:
        last = list(summaries.values())[-1]
        write_json(arguments.json, {**last, "stages": summaries} if arguments.stage == "all" else last)


def _phases(arguments: TrainArguments, run: TrainingRun) -> list[tuple[Stage, float]]:
    """Stages with their minutes, in order."""
    if arguments.stage != "all":
        return [(arguments.stage, arguments.minutes)]
    is_frozen = bool(arguments.init) or (run.folder / "dynamics" / "last").exists()
    stages = [stage for stage in stages_of(run.preset.model) if stage != "autoencoder" or not is_frozen]
    fractions = {stage: STAGE_FRACTIONS[stage] for stage in stages}
    return [(stage, arguments.minutes * x / sum(fractions.values())) for stage, x in fractions.items()]


def _train_phase(
    run: TrainingRun, stage: Stage, minutes: float, arguments: TrainArguments, progress: Progress
) -> tuple[str, Trainer]:
    on = run.device if run.distributed.world_size == 1 else f"{run.distributed.world_size} x {run.device}"
    _log.info("training %s (%s) on %s for %g min in %s", run.preset.name, stage, on, minutes, run.folder)
    for line in run.training_data(stage).describe() if arguments.data else ():
        _log.info("data: %s", line)
    done_before_s = progress.done

    def on_fill(have: int, want: int) -> None:
        progress.update(done_before_s, note=f"episode {have} of {want}")

    def on_log(row: dict[str, float | int | str]) -> None:
        spent_s = minutes * 60 - float(row.get("left_s", 0))
        progress.update(done_before_s + spent_s, note=_note(row), **row)
        _log.info("%s", _line(row))

    cooldown = arguments.decay_steps
    names = arguments.track if run.distributed.is_main else ()
    with open_trackers(names, run.folder / stage, project="worldsim", config=to_mapping(run.training)) as track:

        def on_row(row: dict[str, float | int | str]) -> None:
            on_log(row)
            track(row)

        return run.train(
            stage,
            minutes,
            arguments.steps,
            cooldown_updates=cooldown,
            from_start=arguments.from_start,
            on_log=on_row,
            on_fill=on_fill,
        )


def _note(row: dict[str, float | int | str]) -> str:
    return f"{row.get('frames_per_s', 0):.0f} frames/s, loss {row['loss']:.4f}" if "loss" in row else "checkpoint"


def _line(row: dict[str, float | int | str]) -> str:
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())


def _summary(trainer: Trainer, reason: str) -> dict[str, float | int | str]:
    """`again`: options that reproduce this training phase on any machine."""
    frames_per_s = trainer.num_frames / max(trainer.trained_s, 1e-9)
    return {
        "again": trainer.phase.reproduce_args if trainer.phase else "",
        "ended_by": reason,
        "updates": trainer.num_updates,
        "frames": trainer.num_frames,
        "trained_s": trainer.trained_s,
        "frames_per_s": frames_per_s,
    }
