"""Distributed training with torchrun: joining the processes, collectives, DDP and FSDP.

A single process is a world of size 1, without communication. If a rank dies, the others end with a DistributedError.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from worldsim.core.errors import DistributedError, UsageError

COLLECTIVE_TIMEOUT = timedelta(minutes=15)
"""Longer than a rank takes to export a preset and its samples."""
LAYER_METHODS = ("forward_context", "forward_noisy", "step")
"""Methods that are called on a layer instead of `forward`; see `models.sequence.mixer`."""


@dataclass(frozen=True, kw_only=True)
class DistributedContext:
    """This process: `rank` of `world_size` processes, each with its own `device`."""

    device: str
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Only the first rank writes files and prints."""
        return self.rank == 0

    def all_reduce_max(self, *values: float) -> list[float]:
        """The largest of each value over all ranks. Raises: DistributedError when a rank exited."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        with translate_rank_errors():
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [float(value) for value in tensor]

    def barrier(self) -> None:
        """Waits for all ranks."""
        if self.world_size > 1:
            with translate_rank_errors():
                dist.barrier()

    def wrap(self, objective: nn.Module, network: nn.Module, *, fsdp: bool) -> nn.Module:
        """The objective, whose backward pass leaves mean gradients on every rank.

        By default every rank holds the entire network (DDP); `fsdp` shards parameters, gradients and optimizer state
        across ranks, layer by layer (`fully_shard`). Side effects: with `fsdp`, `network` in place.
        """
        if fsdp:
            self._shard_layers(network)
            fully_shard(objective, mesh=self._mesh())
            return objective
        if self.world_size == 1:
            return objective
        device_ids = [torch.device(self.device)] if self.device.startswith("cuda") else None
        return DistributedDataParallel(objective, device_ids=device_ids, find_unused_parameters=True)

    def sharded_copy(self, module: nn.Module) -> nn.Module:
        """A copy that is sharded as `wrap` shards the network."""
        copied = copy.deepcopy(module)
        self._shard_layers(copied)
        fully_shard(copied, mesh=self._mesh())
        return copied

    def _shard_layers(self, network: nn.Module) -> None:
        """Each layer by itself: it is gathered only while it is used."""
        for layer in getattr(network, "layers", ()):
            fully_shard(layer, mesh=self._mesh())
            for method in LAYER_METHODS:
                register_fsdp_forward_method(layer, method)

    def _mesh(self) -> DeviceMesh:
        if not dist.is_initialized():
            raise UsageError("compute.fsdp shards a model across processes", hint="start them with torchrun")
        return init_device_mesh(torch.device(self.device).type, (self.world_size,))


def no_sync_unless_last(objective: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """With gradient accumulation, only the last batch synchronizes gradients between ranks."""
    if is_last or not isinstance(objective, DistributedDataParallel):
        return nullcontext()
    no_sync: AbstractContextManager[None] = objective.no_sync()
    return no_sync


@contextmanager
def init_distributed(device: str) -> Iterator[DistributedContext]:
    """Joins the processes that torchrun started, as its environment variables describe; without them, one process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield DistributedContext(device=device)
        return
    is_cuda = device.startswith("cuda")
    if is_cuda:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    with translate_rank_errors():
        # Checkpoints are written in the background, which also needs a group on the CPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if is_cuda else "gloo", timeout=COLLECTIVE_TIMEOUT)
    try:
        yield DistributedContext(device=device, rank=dist.get_rank(), world_size=dist.get_world_size())
    finally:
        dist.destroy_process_group()


@contextmanager
def translate_rank_errors() -> Iterator[None]:
    """Turns the error of a collective when another process exited into a DistributedError; other errors pass."""
    try:
        yield
    except RuntimeError as error:
        first_line = str(error).strip().split("\n")[0]
        if not isinstance(error, dist.DistError) and "gloo" not in first_line:
            raise
        raise DistributedError(
            f"another training process exited: {first_line}", hint="see its output; the same command resumes"
        ) from error


def full_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """The state dict with sharded tensors gathered, on the CPU of every rank. All ranks must call it."""
    return {
        name: (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().cpu()
        for name, tensor in module.state_dict().items()
    }
