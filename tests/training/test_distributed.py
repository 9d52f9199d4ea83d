"""Two processes over gloo learn what one learns, also with FSDP, and when resumed, redistributed or killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

PROGRAM = Path(__file__).parent / "distributed_program.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
TOLERANCE = 1e-6
"""Largest difference of a weight: two processes add gradients in a different order."""


def torchrun(ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command = [sys.executable, *launcher, str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=ENVIRONMENT)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "last.safetensors")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs of twelve updates each that differ only in how they were computed."""
    folder = tmp_path_factory.mktemp("runs")
    two = ["two:5", "two:7", "sharded:5:fsdp", "sharded:7:fsdp", "redistributed:5:fsdp"]
    one = ["one:12", "stopped:5", "stopped:7", "redistributed:7:fsdp"]
    for ranks, jobs in ((2, two), (1, one)):
        done = torchrun(ranks, *(str(folder / job) for job in jobs))
        assert done.returncode == 0, done.stderr
        assert f"rank {ranks - 1} of {ranks}: 12 updates, 384 frames" in done.stdout
    return folder


def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(runs: Path) -> None:
    stopped = weights(runs / "stopped")
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in weights(runs / "one").items())


@pytest.mark.parametrize("name", ["two", "sharded", "redistributed"])
def test_every_distribution_of_batches_learns_the_same(runs: Path, name: str) -> None:
    """Two processes, with DDP or FSDP; FSDP by two processes, resumed by one."""
    one, other = weights(runs / "one"), weights(runs / name)
    assert max(float((other[n] - tensor).abs().max()) for n, tensor in one.items()) < TOLERANCE


def test_a_killed_rank_ends_the_run_with_an_error_and_a_checkpoint(tmp_path: Path) -> None:
    done = torchrun(2, str(tmp_path / "run:500"), "--rank-1-dies-at", "6")
    assert done.returncode != 0
    assert "DistributedError: another training process exited" in done.stderr
    counters = json.loads((tmp_path / "run" / "state" / "counters.json").read_text())
    assert counters["num_updates"] == 6
    assert weights(tmp_path / "run")
