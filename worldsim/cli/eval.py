"""`worldsim eval`: scores a preset against its reference world on held-out episodes.

The text output is tables of at most 80 columns; the JSON has every score. rich's tables wrap their headings and
captions, which the plain tables of the other commands do not need.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

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
from worldsim.cli.output import STDOUT, Progress, write_json
from worldsim.core.config import from_mapping, with_assignments
from worldsim.core.devices import choose_device
from worldsim.evaluation.config import POSE_TASKS, TASKS, EvalConfig, parse_seeds, parse_tasks
from worldsim.presets.score_names import (
    MEMORY_TASKS,
    REGION_NAMES,
    SHORT_METRIC_NAMES,
    rollout_name,
    short_task_name,
    task_name,
)

FRAME_COLUMNS = (
    *("psnr", "psnr_interval", "psnr_autoencoder", "psnr_repeat", "psnr_mean_image"),
    *("psnr_no_state", "psnr_no_map", "psnr_no_scan", "psnr_copy", "psnr_recall"),
    *("ssim", "sharpness", "sharpness_autoencoder"),
)
REGION_COLUMNS = ("share", "psnr", "psnr_interval", "psnr_autoencoder", "psnr_repeat", "psnr_mean_image")
DRIFT_COLUMNS = (
    *("psnr", "psnr_interval", "psnr_autoencoder", "psnr_mean_image", "sharpness", "sharpness_autoencoder"),
    *("colour", "variance", "frechet_latent"),
)
FRAME_CAPTION = (
    "PSNR in dB. AE: ground truth through the autoencoder, an upper bound. Repeat: the last context frame, "
    "repeated. No state, no map, no scan: that part of the memory cleared before every frame. Recall: from the state "
    "after the context, without own frames. Sharp: gradient energy relative to ground truth; below 1 is blurry."
)
REGION_CAPTION = (
    "Returned: pixels that were in the context, left the view and came back, by the engine's pose and depth. Never "
    "seen: pixels that were not in the context. Best match: each frame against the most similar true one (as in "
    "MAG-Bench); a still image can score well too: compare with repeat. History match: against the context."
)
DRIFT_CAPTION = (
    "Color: error of the mean color, in levels of 255. Variance: of latents, relative to ground truth. Frechet: "
    "distance between generated and true frames in the preset's latents (not FVD)."
)
TASKS_HELP = (
    f"Tasks: {', '.join(TASKS)} (default: all that the preset's inputs allow; {' and '.join(POSE_TASKS)} need camera "
    "poses as inputs)."
)
SET_HELP = (
    "Override a length of the evaluation, in TOML syntax: --set reverse_context=200. Repeatable; names and defaults "
    "are in worldsim.evaluation.config.EvalConfig."
)


@dataclass(frozen=True, kw_only=True)
class EvalArguments:
    """Score a preset against its reference world, or recordings, on held-out episodes.

    Every score comes with baselines and a 95 % confidence interval.
    """

    preset: PresetArgument
    tasks: Annotated[str | None, option("A,B,...", TASKS_HELP)] = None
    seeds: Annotated[str, option("N|A:B")] = "16"
    """N: the first N held-out seeds. A:B: seeds A to B-1; A is 900000 or more. Each is one episode per task."""
    data: Annotated[str | None, option("DATA")] = None
    """Score on recordings instead: a session, a folder of sessions, or user/dataset on the Hub."""
    steps: StepsOption = None
    horizons: tuple[int, ...] = EvalConfig.horizons
    """Generated frames at which a rollout is scored, counted from 1."""
    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], option("KEY=VALUE", SET_HELP)] = ()
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
    from worldsim.worlds import check_installed
    from worldsim.worlds.recorded import RecordedWorldConfig

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
        report = evaluate(
            preset, config, data=arguments.data, device=device, on_progress=progress.advance, perceptual=perceptual
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


def tables(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Tables of the tasks in `result`: frames, regions, actions, drift; lines: idle, comparisons, skipped tasks."""
    frames = [(task_name("one_step"), result.get("one_step"))]
    frames += [(rollout_name(score["horizon"]), score) for score in result.get("rollout", ())]
    frames += [(short_task_name(task), result.get(task)) for task in MEMORY_TASKS]
    yield from _table(_title(result), FRAME_COLUMNS, [(name, score) for name, score in frames if score], FRAME_CAPTION)
    if "reverse" in result:
        yield _by_distance(result["reverse"]["by_distance"])
    yield from _table("regions", REGION_COLUMNS, _region_rows(result), REGION_CAPTION)
    if "fidelity" in result:
        yield _fidelity(result["fidelity"])
    yield from _table(
        "drift",
        DRIFT_COLUMNS,
        [(f"frame {score['distance']}", score) for score in result.get("drift", ())],
        DRIFT_CAPTION,
    )
    yield from map(Text, _summary_lines(result))


def _title(result: Mapping[str, Any]) -> str:
    steps = f"{result['steps']} step{'s' if result['steps'] > 1 else ''}"
    seeds, context_frames = result["seeds"], result["context_frames"]
    return f"{result['preset']}: {len(seeds)} held-out seeds from {seeds[0]}, {steps}, {context_frames} context frames"


def _by_distance(scores: Sequence[Mapping[str, Any]]) -> Table:
    caption = "Recall: the same frames from the state after the context: the model's own frames do not show them again."
    table = Table(title="reverse, by distance to the frame shown again", caption=caption, box=box.SIMPLE, padding=0)
    table.add_column("frames")
    for name in ("psnr", "psnr_recall", "psnr_autoencoder"):
        table.add_column(SHORT_METRIC_NAMES[name], justify="right")
    for score in scores:
        table.add_row(f"up to {score['distance']}", *(_cell(name, score[name]) for name in list(score)[1:]))
    return table


def _region_rows(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for task in (task for task in MEMORY_TASKS if task in result):
        label, score = short_task_name(task), result[task]
        regions = score["regions"] or {}
        rows += [(f"{label}, {REGION_NAMES[name]}", region) for name, region in regions.items() if region]
        names = {"psnr": "", **{f"psnr_{n}": f"_{n}" for n in ("low", "high", "autoencoder", "repeat", "mean_image")}}
        for prefix in ("psnr_best_match", "psnr_history"):
            if score.get(prefix) is not None:
                match = {name: score[prefix + end] for name, end in names.items()}
                rows.append((f"{label}, {SHORT_METRIC_NAMES[prefix]}", match))
    return rows


def _fidelity(score: Mapping[str, Any]) -> Table:
    caption = "Balanced accuracy of an inverse-dynamics probe that predicts keys from frames; true frames: upper bound."
    table = Table(title="actions", caption=caption, box=box.SIMPLE, padding=0)
    for heading in ("", "all", "95 %", *score["by_input"]):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    inputs = score["by_input"].values()
    for name, key, kind in (
        ("generated", "accuracy", "generated"),
        ("true", "accuracy_true", "true"),
        ("true through the AE", "accuracy_autoencoder", "autoencoder"),
    ):
        ends = f"{score[f'{key}_low']:.2f}-{score[f'{key}_high']:.2f}" if f"{key}_low" in score else ""
        table.add_row(name, f"{score[key]:.2f}", ends, *(_format_number("accuracy", by[kind]) for by in inputs))
    table.add_row("last frame, repeated", f"{score['accuracy_repeat']:.2f}")
    table.add_row("chance", f"{score['chance']:.2f}")
    return table


def _summary_lines(result: Mapping[str, Any]) -> Iterator[str]:
    if "idle" in result:
        idle = result["idle"]
        change, first = (_with_interval(idle, name, 2) for name in ("change", "psnr_first"))
        yield (
            f"idle, {idle['frames']} frames: consecutive frames differ by {change} levels of 255 (true "
            f"{idle['change_true']:.2f}); last frame vs. first {first} dB, vs. ground truth "
            f"{_with_interval(idle, 'psnr', 1)} dB (AE {idle['psnr_autoencoder']:.1f})"
        )
    for task, score in result["comparison"].items():
        yield f"{short_task_name(task)}: {_comparison(score)}"
    for task, reason in result["left_out"].items():
        yield f"{short_task_name(task)} skipped: {reason}"


def _comparison(score: Mapping[str, Any]) -> str:
    """Every metric with the autoencoder's score."""
    names = [name.removesuffix("_autoencoder") for name in score if name.endswith("_autoencoder")]
    return ", ".join(
        f"{name} {_with_interval(score, name, 3)} (AE {score[f'{name}_autoencoder']:.3g})" for name in names
    )


def _with_interval(score: Mapping[str, Any], name: str, digits: int) -> str:
    """The value, with its confidence interval if there is one."""
    value = f"{score[name]:.{digits}f}"
    if f"{name}_low" not in score:
        return value
    return f"{value} [{score[f'{name}_low']:.{digits}f}, {score[f'{name}_high']:.{digits}f}]"


def _table(
    title: str, columns: Sequence[str], rows: Sequence[tuple[str, Mapping[str, Any]]], caption: str
) -> Iterator[Table]:
    """No table if there are no rows, and no columns without values."""
    if not rows:
        return
    columns = [name for name in columns if name == "psnr_interval" or any(s.get(name) is not None for _, s in rows)]
    table = Table(title=title, caption=caption, box=box.SIMPLE, padding=0)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(SHORT_METRIC_NAMES[name], justify="right", no_wrap=name == "psnr_interval")
    for label, score in rows:
        values = {**score, "psnr_interval": f"{score['psnr_low']:.1f}-{score['psnr_high']:.1f}"}
        table.add_row(label, *(_cell(name, values.get(name)) for name in columns))
    yield table


def _cell(name: str, value: float | str | None) -> str:
    return value if isinstance(value, str) else _format_number(name, value)


def _format_number(name: str, value: float | None) -> str:
    if value is None or value != value:
        return ""
    if name == "share":
        return f"{100 * value:.0f} %"
    return f"{value:.1f}" if name.startswith(("psnr", "colour")) else f"{value:.2f}"
