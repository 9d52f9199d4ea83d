"""`worldsim train`: one leg of a stage, from a preset.toml to a playable checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    OfflineOption,
    ProgressOption,
    check_at_least,
    parse_arguments,
)
from worldsim.cli.output import Progress, write_json
from worldsim.core.config import to_mapping
from worldsim.core.devices import choose_device
from worldsim.core.errors import UsageError
from worldsim.models.sequence.architectures import ARCHITECTURES
from worldsim.presets.resolve import resolve_preset
from worldsim.training.trackers import TrackerName, open_trackers

if TYPE_CHECKING:
    from worldsim.training.distributed import DistributedContext
    from worldsim.training.loop import Trainer
    from worldsim.training.run import TrainingRun

StageOption = Literal["autoencoder", "dynamics", "decoder"]

STAGE_FRACTIONS: dict[StageOption, float] = {"autoencoder": 0.3, "dynamics": 0.6, "decoder": 0.1}
"""Of the minutes, when all stages are trained in one go."""

ARCHITECTURE_HELP = (
    "Train this model of the paper's tables in place of the preset's own, with as many parameters as `full` has at the "
    f"preset's width; preset and run folder are named after both. One of {', '.join(ARCHITECTURES)}."
)
HELP = "train a stage of a preset for some minutes; the same command goes on where the last one ended"


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    preset: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PRESET.toml")]]
    """The preset.toml to train."""
    stage: Literal["autoencoder", "dynamics", "decoder", "all"]
    """autoencoder, then dynamics on its latents; then decoder, which learns to draw what the dynamics predicts. all:
    one by one, sharing the minutes; the autoencoder stays as it is once a dynamics stands on it, and with --init."""
    minutes: float
    """Wall-clock minutes of this leg."""
    updates: int | None = None
    """End a stage after so many updates, if that comes first."""
    cooldown_updates: int | None = None
    """With --updates: over so many the learning rate falls; the preset's share of them when left out."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Run folder; runs/<preset name> when left out."""
    init: Annotated[str | None, tyro.conf.arg(metavar="PRESET")] = None
    """Preset (name, folder, user/repo[@revision]) whose weights a new run begins with, as far as they fit."""
    architecture: Annotated[str | None, tyro.conf.arg(metavar="NAME", help=ARCHITECTURE_HELP)] = None
    data: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="DATA[=WEIGHT]")] = ()
    """Learn from recordings: a session, a folder of sessions, or user/dataset[@revision] on the Hub. Repeat it for
    more; each gets its weight's share of the frames (1 when left out). Without --data, the true world alone."""
    world_share: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """With --data: the share of the frames that come from the true world, from 0 (also when left out) to below 1."""
    track: Annotated[tyro.conf.UseAppendAction[tuple[TrackerName, ...]], tyro.conf.arg(metavar="NAME")] = ()
    """Figures go there too, beside log.jsonl: tensorboard, trackio or wandb (an extra each)."""
    device: DeviceOption = "auto"
    threads: int = 1
    """CPU threads of torch; one beside rendering workers."""
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None


def run(argv: Sequence[str]) -> int:
    arguments = parse_arguments(TrainArguments, argv, command="train", help=HELP)
    if arguments.minutes <= 0:
        raise UsageError(f"--minutes is {arguments.minutes:g}", hint="more than 0")
    check_at_least(arguments.updates, 1, "--updates")
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
    import torch

    from worldsim.training.distributed import init_distributed

    torch.set_num_threads(arguments.threads)
    with init_distributed(choose_device(arguments.device)) as distributed:
        _train(arguments, distributed)
    return 0


def _train(arguments: TrainArguments, distributed: DistributedContext) -> None:
    """All stages that are asked for. Of several ranks the first speaks."""
    from worldsim.training.recordings import DataSource
    from worldsim.training.run import TrainingRun

    init = None if arguments.init is None else resolve_preset(arguments.init)
    run = TrainingRun.open(
        arguments.preset,
        folder=arguments.out,
        distributed=distributed,
        init=init,
        data=[DataSource.parse(text) for text in arguments.data],
        world_share=arguments.world_share,
        architecture=arguments.architecture,
    )
    summaries: dict[str, dict[str, float | int | str]] = {}
    progress_file = arguments.progress if distributed.is_main else None
    with Progress(arguments.minutes * 60, arguments.stage, progress_file, unit="second") as progress:
        for stage, minutes in _phases(arguments, run):
            reason, trainer = _train_phase(run, stage, minutes, arguments, progress)
            summaries[stage] = _summary(trainer, reason)
            _say(distributed, f"ended by {reason} after {trainer.num_updates} updates; {run.folder / stage}")
            if reason.startswith("SIG"):
                break
    if arguments.json and distributed.is_main:
        last = list(summaries.values())[-1]
        write_json(arguments.json, {**last, "stages": summaries} if arguments.stage == "all" else last)


def _phases(arguments: TrainArguments, run: TrainingRun) -> list[tuple[StageOption, float]]:
    """Stages and their minutes, in order."""
    if arguments.stage != "all":
        return [(arguments.stage, arguments.minutes)]
    is_settled = arguments.init is not None or (run.folder / "dynamics" / "last").exists()
    shares = {stage: share for stage, share in STAGE_FRACTIONS.items() if stage != "autoencoder" or not is_settled}
    return [(stage, arguments.minutes * share / sum(shares.values())) for stage, share in shares.items()]


def _train_phase(
    run: TrainingRun, stage: StageOption, minutes: float, arguments: TrainArguments, progress: Progress
) -> tuple[str, Trainer]:
    on = run.device if run.distributed.world_size == 1 else f"{run.distributed.world_size} times {run.device}"
    _say(run.distributed, f"training {run.preset.name} ({stage}) on {on} for {minutes:g} min in {run.folder}")
    for line in run.training_data(stage).describe() if arguments.data else ():
        _say(run.distributed, f"data: {line}")
    done_before_s = progress.done

    def on_fill(have: int, want: int) -> None:
        progress.update(done_before_s, note=f"episode {have} of {want}")

    def on_log(row: dict[str, float | int | str]) -> None:
        spent_s = minutes * 60 - float(row.get("left_s", 0))
        progress.update(done_before_s + spent_s, note=_note(row), **row)
        print(_line(row), flush=True)

    cooldown = arguments.cooldown_updates
    names = arguments.track if run.distributed.is_main else ()
    with open_trackers(names, run.folder / stage, project="worldsim", config=to_mapping(run.training)) as track:

        def on_row(row: dict[str, float | int | str]) -> None:
            on_log(row)
            track(row)

        return run.train(stage, minutes, arguments.updates, cooldown_updates=cooldown, on_log=on_row, on_fill=on_fill)


def _say(distributed: DistributedContext, line: str) -> None:
    if distributed.is_main:
        print(line, flush=True)


def _note(row: dict[str, float | int | str]) -> str:
    return f"{row.get('frames_per_s', 0):.0f} frames/s, loss {row['loss']:.4f}" if "loss" in row else "checkpoint"


def _line(row: dict[str, float | int | str]) -> str:
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())


def _summary(trainer: Trainer, reason: str) -> dict[str, float | int | str]:
    """`again`: the options that make the same leg again, on any machine."""
    frames_per_s = trainer.num_frames / max(trainer.trained_s, 1e-9)
    return {
        "again": trainer.phase.reproduce_args if trainer.phase else "",
        "ended_by": reason,
        "updates": trainer.num_updates,
        "frames": trainer.num_frames,
        "trained_s": trainer.trained_s,
        "frames_per_s": frames_per_s,
    }
