"""Training state on disk: safetensors shards small enough to travel, swapped in whole.

Owns: the folder's layout. Does not own: what a playable preset is (`presets.store`). A shard stays under 15 MiB.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldsim.core.errors import PresetError

SHARD_BYTES = 15 * 2**20


def save_training_state(folder: Path, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
    """Writes shards and counters beside the old ones, then swaps: a kill in between loses nothing."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for number, shard in enumerate(_shards(tensors)):
        save_file(shard, fresh / f"shard-{number:05d}.safetensors")
    (fresh / "counters.json").write_text(json.dumps(counters), encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_training_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_training_state` wrote, or None when nothing was. Raises PresetError when it is damaged."""
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        folder = old
    if not folder.exists():
        return None
    tensors: dict[str, Tensor] = {}
    try:
        for shard in sorted(folder.glob("shard-*.safetensors")):
            tensors |= load_file(shard)
        counters = json.loads((folder / "counters.json").read_text(encoding="utf-8"))
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise PresetError(
            f"the training state in {folder} is damaged: {error}", hint="delete it to start anew"
        ) from None
    return tensors, counters


def optimiser_tensors(optimiser: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's tensors under the parameters' names."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"optimiser.{names[parameter]}.{key}": value.contiguous()
        for parameter, state in optimiser.state.items()
        for key, value in state.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`. Parameters without a stored state start fresh."""
    for name, parameter in model.named_parameters():
        prefix = f"optimiser.{name}."
        stored = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if stored:
            optimiser.state[parameter] = {
                key: value.to(parameter.device) if value.dim() else value for key, value in stored.items()
            }


def _shards(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
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
