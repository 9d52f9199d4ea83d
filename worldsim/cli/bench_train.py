"""`worldsim bench RECIPE --train`: what an update of training costs here, and would cost on more devices like this."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from worldsim.cli.arguments import check_at_least, choose_device, set_threads
from worldsim.cli.output import Progress
from worldsim.core.config import from_mapping
from worldsim.core.errors import DeviceError, UsageError
from worldsim.presets.config import PresetConfig, read_preset_toml
from worldsim.presets.resolve import locate_recipe
from worldsim.training.config import TrainingConfig

if TYPE_CHECKING:
    from worldsim.training.distributed import DistributedContext
    from worldsim.training.throughput import Throughput

CPU_PRODUCT_SIZE, PRODUCT_SIZE = 1024, 8192
"""Of the square matrices whose product utilisation is held against; larger ones keep an accelerator busy."""
PRODUCT_S = 0.5
PREDICTED_DEVICES = (1, 8, 64)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    train: tyro.conf.FlagCreatePairsOff[bool] = False
    """Instead: updates of training on made-up data, without weights or world. PRESET is a recipe then: a preset.toml, a
    folder that holds one, or a bundled name. torchrun may start it, as it does `worldsim train`."""
    stage: Literal["dynamics", "autoencoder"] = "dynamics"
    """With --train (as all that follows): which stage."""
    updates: int = 10
    """Updates that are timed; their median counts. One and a fifth of them go before, untimed."""
    batch_clips: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Clips of a batch (frames, for the autoencoder); the recipe's own number when left out."""
    eager: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compile nothing, even where the recipe does."""
    peak_tflops: Annotated[float | None, tyro.conf.arg(metavar="X")] = None
    """What the device does by its maker's word, in the precision of training: utilisation of that too."""
    frames_to_train: Annotated[float, tyro.conf.arg(metavar="N")] = 100e6
    """Frames whose training time on 1, 8 and 64 devices is predicted."""
    link_gb_per_s: Annotated[float, tyro.conf.arg(metavar="X")] = 25.0
    """GB/s that a device can send to the next, for that prediction."""


def bench_train(
    ref: str, options: TrainOptions, *, device: str, threads: int | None, progress_file: str | None
) -> dict[str, Any] | None:
    """Returns: the measurements, as the JSON has them; None in all processes but the first of those that train.

    Raises: UsageError, ConfigError, PresetNotFoundError; DeviceError when memory does not suffice.
    Side effects: sets torch's number of threads.
    """
    preset, training = read_recipe(ref, options)
    device = choose_device(device)
    set_threads(threads, preset.play.cpu_threads)
    from worldsim.training.distributed import init_distributed

    with init_distributed(device) as distributed:
        measured = _measure(preset, training, options, distributed, progress_file if distributed.is_main else None)
        if not distributed.is_main:
            return None
        return {
            "recipe": preset.name,
            "stage": options.stage,
            "batches": _batch_text(training, options.stage),
            "compiled": training.compute.compile_layers,
            "forgets_activations": training.compute.forget_activations,
            **asdict(measured),
            "frames_per_s": measured.frames_per_s,
            "flop_per_frame": measured.work.needed / measured.frames_per_update,
            "flop_per_s": measured.flop_per_s,
            **_utilisation(measured, distributed.device, options.peak_tflops),
            **_device_info(distributed.device),
            **_predictions(measured, options),
        }


def read_recipe(ref: str, options: TrainOptions) -> tuple[PresetConfig, TrainingConfig]:
    """What is to be trained, with the options put in."""
    check_at_least(options.updates, 1, "--updates")
    check_at_least(options.batch_clips, 1, "--batch-clips")
    for name in ("peak_tflops", "frames_to_train", "link_gb_per_s"):
        if (value := getattr(options, name)) is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} is {value:g}", hint="more than 0")
    preset, table = read_preset_toml(locate_recipe(ref))
    training = from_mapping(TrainingConfig, table, where="training")
    if options.eager:
        training = replace(training, compute=replace(training.compute, compile_layers=False))
    if options.batch_clips is None:
        return preset, training
    if options.stage == "autoencoder":
        autoencoder = replace(training.autoencoder, batch_frames=options.batch_clips)
        return preset, replace(training, autoencoder=autoencoder)
    return preset, replace(training, dynamics=replace(training.dynamics, batch_clips=options.batch_clips))


def _measure(
    preset: PresetConfig,
    training: TrainingConfig,
    options: TrainOptions,
    distributed: DistributedContext,
    progress_file: str | None,
) -> Throughput:
    import torch

    from worldsim.training.throughput import measure_training, num_progress_steps

    total = num_progress_steps(training, options.stage, options.updates)
    with Progress(total, f"bench {preset.name}", progress_file, unit="update") as progress:
        try:
            return measure_training(
                preset,
                training,
                options.stage,
                distributed=distributed,
                updates=options.updates,
                on_progress=lambda: progress.update(progress.done + 1),
            )
        except torch.OutOfMemoryError as error:
            hint = "--batch-clips N, or forget_activations = true in [training.compute]"
            raise DeviceError(f"an update does not fit into {distributed.device}: {error}", hint=hint) from None


def _batch_text(training: TrainingConfig, stage: str) -> str:
    """Of one update."""
    dynamics, count = training.dynamics, training.compute.accumulate
    each = f"{dynamics.batch_clips} clips of {dynamics.clip_frames}"
    if stage == "autoencoder":
        each = f"{training.autoencoder.batch_frames} frames"
    return each if count == 1 else f"{count} batches of {each}"


def _utilisation(measured: Throughput, device: str, peak_tflops: float | None) -> dict[str, float | None]:
    """Of what the device does in products alone, and of what it is said to do."""
    import torch

    from worldsim.training.profiling import matmul_rate

    size = CPU_PRODUCT_SIZE if device == "cpu" else PRODUCT_SIZE
    rate = matmul_rate(device, getattr(torch, measured.dtype), rows=size, size=size, limit_s=PRODUCT_S)
    return {
        "product_flop_per_s": rate,
        "product_size": size,
        "utilisation": measured.flop_per_s / rate,
        "utilisation_of_peak": None if peak_tflops is None else measured.flop_per_s / (peak_tflops * 1e12),
    }


def _device_info(device: str) -> dict[str, Any]:
    import torch

    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _predictions(measured: Throughput, options: TrainOptions) -> dict[str, Any]:
    """Several processes have been measured, and nothing is predicted from that."""
    from worldsim.training.throughput import predict_scaling

    if measured.processes > 1:
        return {"predicted": []}
    link_bytes_per_s = options.link_gb_per_s * 1e9
    return {
        "frames_to_train": options.frames_to_train,
        "link_bytes_per_s": link_bytes_per_s,
        "gradient_bytes": measured.gradient_bytes,
        "predicted": [
            asdict(predict_scaling(measured, count, frames=options.frames_to_train, link_bytes_per_s=link_bytes_per_s))
            for count in PREDICTED_DEVICES
        ],
    }


def text(result: dict[str, Any]) -> str:
    r = result
    where = r["device_name"] or r["device"]
    if r["device"] == "cpu":
        where += f", {r['threads']} thread(s)"
    if r["processes"] > 1:
        where = f"{r['processes']} times {where}"
    layers = "compiled layers" if r["compiled"] else "eager"
    again = ", activations forgotten" if r["forgets_activations"] else ""
    memory = "allocated on the device" if r["device"].startswith("cuda") else "by which the process grew"
    rows = [
        f"{r['recipe']} ({r['stage']}): trained on {r['frames_per_s']:.1f} frames/s, {where}, {r['dtype']}, {layers}",
        f"  network      {r['parameters'] / 1e6:.3g} million parameters",
        f"  update       {r['update_ms']:.0f} ms for {r['frames_per_update']} frames ({r['batches']}){again}; "
        f"median of {r['updates']}, {r['clock']} time",
        f"  work         {r['flop_per_frame'] / 1e9:.3g} GFLOP per frame, forward and backward: matrix products, "
        "convolutions, attention",
        f"  utilisation  {r['utilisation']:.1%} (model FLOPs): {_format_rate(r['flop_per_s'])} of the "
        f"{_format_rate(r['product_flop_per_s'])} of a product of matrices of {r['product_size']} squared",
    ]
    if r["utilisation_of_peak"] is not None:
        rows.append(f"               {r['utilisation_of_peak']:.1%} of --peak-tflops")
    rows.append(f"  memory       {r['peak_bytes'] / 1e9:.2f} GB at its peak, {memory}")
    return "\n".join(rows + _prediction_rows(r))


def _prediction_rows(r: dict[str, Any]) -> list[str]:
    if not r["predicted"]:
        return []
    rows = [f"  predicted, not measured: {r['frames_to_train'] / 1e6:g} million frames on devices like this take"]
    for p in r["predicted"]:
        times = f"{p['hours']:10.1f} h, {p['frames_per_s']:.4g} frames/s, efficiency {p['efficiency']:.3f}"
        rows.append(f"    {p['devices']:>3} of them {times}")
    sums = (
        f"{r['gradient_bytes'] / 1e6:.0f} MB of gradients are summed in a ring at {r['link_bytes_per_s'] / 1e9:g} GB/s"
    )
    return [
        *rows,
        "  assumed: each has batches of its own, so the batch grows with them, and its data at hand;",
        f"    {sums}, behind the backward pass as long as it lasts",
    ]


def _format_rate(flop_per_s: float) -> str:
    return f"{flop_per_s / 1e12:.0f} TFLOP/s" if flop_per_s >= 1e13 else f"{flop_per_s / 1e9:.1f} GFLOP/s"
