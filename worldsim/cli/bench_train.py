"""`worldsim bench train`: time, FLOPs and memory of a training step, and predicted training time on more devices."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from worldsim.cli.arguments import (
    DeviceOption,
    Flag,
    JsonOption,
    OfflineOption,
    ProgressOption,
    ThreadsOption,
    check_at_least,
    option,
)
from worldsim.cli.output import CommandResult, Progress, counted, text_table
from worldsim.core.devices import choose_device, set_threads
from worldsim.core.errors import DeviceError, UsageError
from worldsim.presets.config import PresetConfig, read_preset_toml
from worldsim.presets.resolve import locate_recipe
from worldsim.training.config import (
    AutoencoderTraining,
    FixedMapTraining,
    RecallTraining,
    Stage,
    TrainingConfig,
    read_training,
)

if TYPE_CHECKING:
    from worldsim.training.distributed import DistributedContext
    from worldsim.training.throughput import Throughput

CPU_PRODUCT_SIZE, PRODUCT_SIZE = 1024, 8192
"""Size of the square matrix product that is the reference for utilization; accelerators need a larger one."""
PRODUCT_S = 0.5
PREDICTED_DEVICES = (1, 8, 64)
FRAMES_HELP = "Predict the time to train on N frames with 1, 8 and 64 devices, by data parallelism."


@dataclass(frozen=True, kw_only=True)
class BenchTrain:
    """Benchmark training steps on synthetic data, without weights or a world.

    For several GPUs, start it with torchrun, like `worldsim train`.
    """

    recipe: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RECIPE")]]
    """preset.toml, a folder that has one, or a bundled name."""
    stage: Literal["dynamics", "map", "autoencoder"] = "dynamics"
    """Training stage."""
    steps: Annotated[int, option("N")] = 10
    """Number of timed optimizer steps, after 1 + N/5 warm-up steps. The median is reported."""
    batch_clips: Annotated[int | None, option("N")] = None
    """Clips per batch, or frames for the autoencoder (default: set by the recipe)."""
    no_compile: Flag = False
    """Run eagerly, even if the recipe compiles layers."""
    peak_tflops: Annotated[float | None, option("X")] = None
    """Vendor peak TFLOPS of the device in the training precision, for model FLOPs utilization (MFU)."""
    frames_to_train: Annotated[float, option("N", FRAMES_HELP)] = 100e6
    link_gb_per_s: Annotated[float, option("X")] = 25.0
    """Bandwidth between devices in GB/s, for the prediction."""
    threads: ThreadsOption = None
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None
    progress: ProgressOption = None

    def run(self) -> CommandResult | None:
        """None on all ranks but the first.

        Raises: UsageError, ConfigError, PresetNotFoundError; DeviceError if memory is too small. Side effects: sets
        torch's number of threads.
        """
        check_at_least(self.threads, 1, "--threads")
        preset, training = read_recipe(self)
        device = choose_device(self.device)
        set_threads(self.threads, preset.play.cpu_threads)
        from worldsim.training.distributed import init_distributed

        with init_distributed(device) as distributed:
            measured = _measure(preset, training, self, distributed)
            if not distributed.is_main:
                return None
            data = {
                "recipe": preset.name,
                "stage": self.stage,
                "batches": _batch_text(preset, training, self.stage),
                "compiled": training.compute.compile,
                "forgets_activations": training.compute.activation_checkpointing,
                **asdict(measured),
                "frames_per_s": measured.frames_per_s,
                "flop_per_frame": measured.work.needed / measured.frames_per_update,
                "flop_per_s": measured.flop_per_s,
                **_utilization(measured, distributed.device, self.peak_tflops),
                **_device_info(distributed.device),
                **_predictions(measured, self),
            }
        return CommandResult(text=_train_text(data), data=data)


def read_recipe(arguments: BenchTrain) -> tuple[PresetConfig, TrainingConfig]:
    """The recipe with the options applied. Raises: UsageError, ConfigError, PresetNotFoundError."""
    check_at_least(arguments.steps, 1, "--steps")
    check_at_least(arguments.batch_clips, 1, "--batch-clips")
    for name in ("peak_tflops", "frames_to_train", "link_gb_per_s"):
        if (value := getattr(arguments, name)) is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} is {value:g}", hint="more than 0")
    preset, table = read_preset_toml(locate_recipe(arguments.recipe))
    training = read_training(table, preset.model)
    if arguments.no_compile:
        training = replace(training, compute=replace(training.compute, compile=False))
    if arguments.batch_clips is None:
        return preset, training
    return preset, training.with_batch_size(arguments.stage, preset.model, arguments.batch_clips)


def _measure(
    preset: PresetConfig, training: TrainingConfig, arguments: BenchTrain, distributed: DistributedContext
) -> Throughput:
    import torch

    from worldsim.training.throughput import measure_training, num_progress_steps

    total = num_progress_steps(preset, training, arguments.stage, arguments.steps)
    progress_file = arguments.progress if distributed.is_main else None
    with Progress(total, f"bench {preset.name}", progress_file, unit="update") as progress:
        try:
            return measure_training(
                preset,
                training,
                arguments.stage,
                distributed=distributed,
                updates=arguments.steps,
                on_progress=lambda: progress.advance(1),
            )
        except torch.OutOfMemoryError as error:
            hint = "--batch-clips N, or activation_checkpointing = true in [training.compute]"
            raise DeviceError(f"a training step does not fit on {distributed.device}: {error}", hint=hint) from None


def _batch_text(preset: PresetConfig, training: TrainingConfig, stage: Stage) -> str:
    """Frames of an optimizer step, as text."""
    config, count = training.recipe(stage, preset.model), training.compute.gradient_accumulation_steps
    if isinstance(config, AutoencoderTraining | FixedMapTraining):
        each = f"{config.batch_frames} frames"
    elif isinstance(config, RecallTraining):
        each = "the clips of the recipe's last phase"
    else:
        each = f"{config.batch_clips} clips of {config.clip_frames}"
    return each if count == 1 else f"{count} batches of {each}"


def _utilization(measured: Throughput, device: str, peak_tflops: float | None) -> dict[str, float | None]:
    """FLOP/s relative to a matrix product on this device, and to the vendor's peak."""
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


def _predictions(measured: Throughput, arguments: BenchTrain) -> dict[str, Any]:
    """Predicted scaling, from the measurement of a single process only."""
    from worldsim.training.throughput import predict_scaling

    if measured.processes > 1:
        return {"predicted": []}
    link_bytes_per_s = arguments.link_gb_per_s * 1e9
    return {
        "frames_to_train": arguments.frames_to_train,
        "link_bytes_per_s": link_bytes_per_s,
        "gradient_bytes": measured.gradient_bytes,
        "predicted": [
            asdict(
                predict_scaling(measured, count, frames=arguments.frames_to_train, link_bytes_per_s=link_bytes_per_s)
            )
            for count in PREDICTED_DEVICES
        ],
    }


def _train_text(result: dict[str, Any]) -> str:
    r = result
    device = r["device_name"] or r["device"]
    if r["device"] == "cpu":
        device += f", {counted(r['threads'], 'thread')}"
    if r["processes"] > 1:
        device = f"{r['processes']} x {device}"
    layers = "compiled" if r["compiled"] else "eager"
    checkpointing = ", activation checkpointing" if r["forgets_activations"] else ""
    memory = "allocated on the device" if r["device"].startswith("cuda") else "growth of the process"
    rows = [
        ("  network", f"{r['parameters'] / 1e6:.3g} million parameters"),
        (
            "  step",
            f"{r['update_ms']:.0f} ms for {r['frames_per_update']} frames ({r['batches']}){checkpointing}; "
            f"median of {r['updates']}, {r['clock']} time",
        ),
        ("  work", f"{r['flop_per_frame'] / 1e9:.3g} GFLOP per frame, forward and backward"),
        (
            "  utilization",
            f"{r['utilisation']:.1%} (model FLOPs): {_format_rate(r['flop_per_s'])} of "
            f"{_format_rate(r['product_flop_per_s'])}, the rate of a {r['product_size']} x {r['product_size']} matrix "
            "product",
        ),
        *(("  MFU", f"{x:.1%} of --peak-tflops") for x in [r["utilisation_of_peak"]] if x is not None),
        ("  memory", f"{r['peak_bytes'] / 1e9:.2f} GB peak, {memory}"),
    ]
    title = f"{r['recipe']} ({r['stage']}): {r['frames_per_s']:.1f} training frames/s, {device}, {r['dtype']}, {layers}"
    return "\n".join([title, text_table(rows), *_prediction_lines(r)])


def _prediction_lines(r: dict[str, Any]) -> list[str]:
    if not r["predicted"]:
        return []
    rows = [("    devices", "hours", "frames/s", "efficiency")]
    for p in r["predicted"]:
        rows.append((str(p["devices"]), f"{p['hours']:.1f}", f"{p['frames_per_s']:.4g}", f"{p['efficiency']:.3f}"))
    return [
        f"  predicted, not measured: {r['frames_to_train'] / 1e6:g} million frames",
        text_table(rows, align="rrrr"),
        "  Assumes a global batch that grows with the number of devices, no time spent on data, and a ring all-reduce",
        f"  of {r['gradient_bytes'] / 1e6:.0f} MB of gradients at {r['link_bytes_per_s'] / 1e9:g} GB/s during "
        "the backward pass.",
    ]


def _format_rate(flop_per_s: float) -> str:
    return f"{flop_per_s / 1e12:.0f} TFLOP/s" if flop_per_s >= 1e13 else f"{flop_per_s / 1e9:.1f} GFLOP/s"
