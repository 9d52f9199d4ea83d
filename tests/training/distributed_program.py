"""Started by torchrun in `test_distributed`: a small recipe with layers, trained by one or several processes.

python distributed_program.py FOLDER:UPDATES[:fsdp] ... [--rank-1-dies-at UPDATE]

Every job is a session of the run in FOLDER; it resumes where the last job there ended.
"""

from __future__ import annotations

import copy
import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from worldsim.core.errors import WorldsimError
from worldsim.training.config import ComputeConfig, OptimizerConfig
from worldsim.training.distributed import DistributedContext, init_distributed
from worldsim.training.loop import Trainer

SIZE = 8


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE)
        self.scale = nn.Parameter(torch.ones(()).expand(SIZE).clone())

    def forward_context(self, x: Tensor) -> Tensor:
        return x + self.scale * self.linear(x).tanh()

    def forward_queries(self, x: Tensor) -> Tensor:
        return self.forward_context(x)

    def forward_noisy(self, x: Tensor) -> Tensor:
        return self.forward_context(x)

    def step(self, x: Tensor) -> Tensor:
        return self.forward_context(x)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block() for _ in range(2)])
        self.out = nn.Linear(SIZE, 1)
        self.unused = nn.Linear(SIZE, SIZE)

    def predict(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            assert isinstance(layer, Block)
            x = layer.forward_context(x)
        predicted: Tensor = self.out(x)
        return predicted


class Recipe:
    """Learns the sum of random inputs. Never calls `forward`, like the real recipes."""

    frames_per_update = 16
    updates_per_sequence = 1

    def __init__(self, rank: int, dies_at: int) -> None:
        torch.manual_seed(0)
        self.network = Network()
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.rank, self.dies_at = rank, dies_at

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        if num_updates == self.dies_at and self.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        x = torch.randn(16, SIZE)
        return (self.network.predict(x) - x.sum(1, keepdim=True)).square().mean(), {}

    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        save_file({name: t.contiguous() for name, t in self.average.state_dict().items()}, folder / "last.safetensors")
        return {}


def train(folder: Path, updates: int, distributed: DistributedContext, *, fsdp: bool, dies_at: int) -> None:
    """Two batches per update, for any number of processes."""
    folder.mkdir(parents=True, exist_ok=True)
    config = OptimizerConfig(learning_rate=0.01, warmup_steps=1, decay_fraction=0.0)
    compute = ComputeConfig(
        gradient_accumulation_steps=2 // distributed.world_size, fsdp=fsdp, activation_checkpointing=True
    )
    recipe = Recipe(distributed.rank, dies_at)
    trainer = Trainer(recipe, config, folder, on_log=lambda row: None, seed=3, compute=compute, distributed=distributed)
    trainer.resume()
    trainer.run(updates=updates)
    rank = f"rank {distributed.rank} of {distributed.world_size}"
    print(f"{rank}: {trainer.num_updates} updates, {trainer.num_frames} frames", flush=True)


def main(arguments: list[str]) -> int:
    dies_at = int(arguments.pop()) if "--rank-1-dies-at" in arguments else -1
    with init_distributed("cpu") as distributed:
        for job in arguments:
            if not job.startswith("--"):
                folder, updates, *fsdp = job.split(":")
                train(Path(folder), int(updates), distributed, fsdp=bool(fsdp), dies_at=dies_at)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except WorldsimError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
