"""The processes that train one model together, as torchrun starts them.

Owns: joining them, what they must agree on, how a network is spread over them. Does not own: the loop, or files.
One process is the same with a size of 1: nothing is sent. A rank that dies ends the others with a RankError.
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

TIMEOUT = timedelta(minutes=15)
"""Longer than a rank takes to export a preset and its samples."""
LAYER_VERBS = ("forward_context", "forward_noisy", "step")
"""What is called on a layer in place of `forward`; see `models.sequence.mixer`."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """`rank` of `size` processes, each with a `device` of its own."""

    device: str
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """The first rank writes files and speaks."""
        return self.rank == 0

    def agree(self, *values: float) -> list[float]:
        """The largest of each value over all ranks. Raises: RankError when a rank is gone."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        with lost_rank():
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [float(value) for value in tensor]

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            with lost_rank():
                dist.barrier()

    def spread(self, objective: nn.Module, network: nn.Module, *, shard: bool) -> nn.Module:
        """The objective whose backward pass leaves mean gradients on every rank.

        By default every rank holds the whole network (DDP); `shard` splits parameters, gradients and optimiser state
        among them (`fully_shard`, a layer at a time). Side effects: `network`, in place, when sharded.
        """
        if shard:
            self._split(network)
            fully_shard(objective, mesh=self._mesh())
            return objective
        if self.size == 1:
            return objective
        device_ids = [torch.device(self.device)] if self.device.startswith("cuda") else None
        return DistributedDataParallel(objective, device_ids=device_ids, find_unused_parameters=True)

    def sharded_copy(self, module: nn.Module) -> nn.Module:
        """A copy that is split as `spread` splits the network."""
        copied = copy.deepcopy(module)
        self._split(copied)
        fully_shard(copied, mesh=self._mesh())
        return copied

    def _split(self, network: nn.Module) -> None:
        """Every layer by itself: one is gathered while it is used, the others stay split."""
        for layer in getattr(network, "layers", ()):
            fully_shard(layer, mesh=self._mesh())
            for verb in LAYER_VERBS:
                register_fsdp_forward_method(layer, verb)

    def _mesh(self) -> DeviceMesh:
        if not dist.is_initialized():
            raise UsageError("compute.shard splits a model among processes", hint="start them with torchrun")
        return init_device_mesh(torch.device(self.device).type, (self.size,))


def without_sync(objective: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Gradients of all but the last part of a batch stay where they are."""
    if is_last or not isinstance(objective, DistributedDataParallel):
        return nullcontext()
    quiet: AbstractContextManager[None] = objective.no_sync()
    return quiet


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Joins the processes that torchrun started (its environment variables say who); alone without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Ranks(device=device)
        return
    is_cuda = device.startswith("cuda")
    if is_cuda:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    with lost_rank():
        # Checkpoints are written in the background, which needs a group on the CPU too.
        dist.init_process_group("cpu:gloo,cuda:nccl" if is_cuda else "gloo", timeout=TIMEOUT)
    try:
        yield Ranks(device=device, rank=dist.get_rank(), size=dist.get_world_size())
    finally:
        dist.destroy_process_group()


@contextmanager
def lost_rank() -> Iterator[None]:
    """Turns what a collective raises when another process is gone into a RankError; other errors pass."""
    try:
        yield
    except RuntimeError as error:
        first_line = str(error).strip().split("\n")[0]
        if not isinstance(error, dist.DistError) and "gloo" not in first_line:
            raise
        raise DistributedError(
            f"another training process is gone: {first_line}", hint="look at its output; the same command goes on"
        ) from error


def whole_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The state dict with sharded tensors put together, on the CPU of every rank. All ranks must call it."""
    return {
        name: (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().cpu()
        for name, tensor in module.state_dict().items()
    }
