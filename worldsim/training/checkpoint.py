"""Training state on disk: safetensors shards, or, for sharded models, torch's distributed format.

A new state is written beside the old one and then swapped in, so a kill at any time loses nothing. Training state is
local and is never published; playable presets are `presets.store`. A safetensors shard stays under 15 MiB, so that it
can be copied in parts. The distributed format can be read by another number of processes.
"""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from worldsim.core.errors import PresetError, StateError
from worldsim.training.distributed import DistributedContext

SHARD_BYTES = 15 * 2**20
COUNTERS_FILE = "counters.json"
OPTIMIZER_KEY, OLD_OPTIMIZER_KEY = "optimizer", "optimiser"
"""Name of the optimizer's part of the state, now and in states written by earlier versions."""

CheckpointCounters = Mapping[str, float]
Shape: TypeAlias = tuple[int, ...]


class TrainedModules(NamedTuple):
    """What a checkpoint stores, beside counters."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer


class Checkpoint(ABC):
    """The stored state of a run."""

    def __init__(self, folder: Path, distributed: DistributedContext) -> None:
        self._folder, self._distributed = folder, distributed

    @abstractmethod
    def load(self, modules: TrainedModules) -> CheckpointCounters | None:
        """Side effects: the modules. Returns: the counters, or None when nothing was saved."""

    @abstractmethod
    def save(self, modules: TrainedModules, counters: CheckpointCounters) -> None:
        """All ranks must call it."""

    @abstractmethod
    def finish(self) -> None:
        """Waits until everything is written."""


def make_checkpoint(folder: Path, distributed: DistributedContext, *, fsdp: bool) -> Checkpoint:
    return ShardedCheckpoint(folder, distributed) if fsdp else FullCheckpoint(folder, distributed)


class FullCheckpoint(Checkpoint):
    """For models that every rank holds entirely; the first rank writes."""

    def load(self, modules: TrainedModules) -> CheckpointCounters | None:
        _check_layout(_newest(self._folder), is_sharded=False)
        stored = load_training_state(self._folder)
        if stored is None:
            return None
        tensors, counters = stored
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        check_fits(_network_shapes(shapes), modules.network.state_dict(), f"the training state in {self._folder}")
        for module, prefix in ((modules.network, "network."), (modules.average, "average.")):
            module.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
        restore_optimizer(modules.optimizer, modules.network, tensors)
        return counters

    def save(self, modules: TrainedModules, counters: CheckpointCounters) -> None:
        if not self._distributed.is_main:
            return
        tensors = {f"network.{n}": t for n, t in modules.network.state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in modules.average.state_dict().items()}
        tensors |= optimizer_tensors(modules.optimizer, modules.network)
        save_training_state(self._folder, tensors, dict(counters))

    def finish(self) -> None:
        """Nothing is written in the background."""


class ShardedCheckpoint(Checkpoint):
    """Every rank writes its part in the background; the first rank swaps the folders when all are done."""

    def __init__(self, folder: Path, distributed: DistributedContext) -> None:
        super().__init__(folder, distributed)
        # A separate group: writing continues while training uses the others.
        self._group = dist.new_group(backend="gloo")
        self._writing: Future[Any] | None = None
        self._counters: CheckpointCounters = {}

    def load(self, modules: TrainedModules) -> CheckpointCounters | None:
        folder = _newest(self._folder)
        if folder is None:
            return None
        _check_layout(folder, is_sharded=True)
        entries = FileSystemReader(folder).read_metadata().state_dict_metadata
        is_old = any(name.startswith(f"{OLD_OPTIMIZER_KEY}.") for name in entries)
        key = OLD_OPTIMIZER_KEY if is_old else OPTIMIZER_KEY
        state = _sharded_state(modules, key)
        shapes = {
            name: tuple(entry.size) for name, entry in entries.items() if isinstance(entry, TensorStorageMetadata)
        }
        check_fits(_network_shapes(shapes), state["network"], f"the training state in {folder}")
        # Parameters that were never trained have no optimizer state.
        load(state, checkpoint_id=folder, planner=DefaultLoadPlanner(allow_partial_load=True))
        set_model_state_dict(modules.network, state["network"])
        set_model_state_dict(modules.average, state["average"])
        set_optimizer_state_dict(modules.network, modules.optimizer, state[key])
        return _read_counters(folder)

    def save(self, modules: TrainedModules, counters: CheckpointCounters) -> None:
        self.finish()
        if self._distributed.is_main:
            shutil.rmtree(_new_folder(self._folder), ignore_errors=True)
        self._distributed.barrier()
        self._counters = counters
        self._writing = async_save(  # type: ignore[assignment]  # returns another type only with another argument
            _sharded_state(modules, OPTIMIZER_KEY),
            checkpoint_id=_new_folder(self._folder),
            process_group=self._group,
        )

    def finish(self) -> None:
        if self._writing is None:
            return
        self._writing.result()
        self._writing = None
        self._distributed.barrier()
        if self._distributed.is_main:
            (_new_folder(self._folder) / COUNTERS_FILE).write_text(json.dumps(dict(self._counters)), encoding="utf-8")
            _replace_folder(self._folder)


def check_fits(stored: Mapping[str, Shape], tensors: Mapping[str, Tensor], what: str) -> None:
    """Compares stored shapes with a network's tensors. Raises: StateError that names the first difference."""
    wanted = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in (*wanted, *stored):
        if stored.get(name) == wanted.get(name):
            continue
        there, here = (f"shape {list(shapes[name])}" if name in shapes else "none" for shapes in (stored, wanted))
        raise StateError(
            f"{what} does not match the recipe: {name} has {there} in the checkpoint, {here} in the model",
            hint="use another --out, or restore the original model sizes",
        )


def save_training_state(folder: Path, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
    """Writes shards and counters beside the old ones, then swaps the folders."""
    new_folder = _new_folder(folder)
    shutil.rmtree(new_folder, ignore_errors=True)
    new_folder.mkdir(parents=True)
    for number, shard in enumerate(split_into_shards(tensors)):
        save_file(shard, new_folder / f"shard-{number:05d}.safetensors")
    (new_folder / COUNTERS_FILE).write_text(json.dumps(counters), encoding="utf-8")
    _replace_folder(folder)


def load_training_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_training_state` wrote, or None when nothing was. Raises: PresetError when it is damaged."""
    found = _newest(folder)
    if found is None:
        return None
    tensors: dict[str, Tensor] = {}
    try:
        for shard in sorted(found.glob("shard-*.safetensors")):
            tensors |= load_file(shard)
    except (SafetensorError, OSError) as error:
        raise _damaged(found, error) from None
    return tensors, _read_counters(found)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's tensors by the names of their parameters."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{OPTIMIZER_KEY}.{names[parameter]}.{key}": value.contiguous()
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`. Parameters without a stored state start without one."""
    for name, parameter in model.named_parameters():
        prefixes = (f"{OPTIMIZER_KEY}.{name}.", f"{OLD_OPTIMIZER_KEY}.{name}.")
        stored = {k.removeprefix(p): value for p in prefixes for k, value in tensors.items() if k.startswith(p)}
        if stored:
            optimizer.state[parameter] = {
                key: value.to(parameter.device) if value.dim() else value for key, value in stored.items()
            }


def _check_layout(folder: Path | None, *, is_sharded: bool) -> None:
    """Raises: StateError for a checkpoint of the other kind."""
    if folder is not None and any(folder.glob("*.distcp")) != is_sharded:
        raise StateError(
            f"the training state in {folder} was saved with fsdp = {str(not is_sharded).lower()}",
            hint="use another --out, or restore that setting in [training.compute]",
        )


def _network_shapes(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {name.removeprefix("network."): shape for name, shape in shapes.items() if name.startswith("network.")}


def _sharded_state(modules: TrainedModules, optimizer_key: str) -> dict[str, Any]:
    return {
        "network": get_model_state_dict(modules.network),
        "average": get_model_state_dict(modules.average),
        optimizer_key: get_optimizer_state_dict(modules.network, modules.optimizer),
    }


def _read_counters(folder: Path) -> dict[str, Any]:
    try:
        counters: dict[str, Any] = json.loads((folder / COUNTERS_FILE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise _damaged(folder, error) from None
    return counters


def _damaged(folder: Path, error: Exception) -> PresetError:
    return PresetError(f"the training state in {folder} is damaged: {error}", hint="delete it to start over")


def _new_folder(folder: Path) -> Path:
    return folder.with_name(folder.name + ".new")


def _old_folder(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _replace_folder(folder: Path) -> None:
    """Puts the new folder in place of the old one."""
    shutil.rmtree(_old_folder(folder), ignore_errors=True)
    if folder.exists():
        folder.rename(_old_folder(folder))
    _new_folder(folder).rename(folder)
    shutil.rmtree(_old_folder(folder), ignore_errors=True)


def _newest(folder: Path) -> Path | None:
    """The folder, or the previous one if a swap was interrupted, or None."""
    return next((path for path in (folder, _old_folder(folder)) if path.exists()), None)


def split_into_shards(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Parts of at most SHARD_BYTES, or of a single larger tensor."""
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        num_bytes = tensor.numel() * tensor.element_size()
        if shard and size + num_bytes > SHARD_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor.detach().cpu().contiguous()
        size += num_bytes
    if shard:
        yield shard
