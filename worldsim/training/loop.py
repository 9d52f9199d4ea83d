"""The training loop: budget, optimiser, EMA, log, checkpoints, stopping. A recipe says what is learned.

Owns: legs that resume, what happens in an update, the JSONL log, when a checkpoint is due. Does not own: losses and
data (the recipes), the learning rate (`schedule`), how processes share the work (`distributed`), files of a checkpoint
(`checkpoint`). Side effects: everything is written under the run's folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from worldsim.core.errors import DistributedError, NonFiniteError, WorldError
from worldsim.training.checkpoint import make_checkpoint
from worldsim.training.compute import autocast_context, prepare_layers
from worldsim.training.config import ComputeConfig, OptimizerConfig
from worldsim.training.distributed import (
    DistributedContext,
    full_state_dict,
    no_sync_unless_last,
    translate_rank_errors,
)
from worldsim.training.schedule import Schedule, TrainingPhase

CHECKPOINT_EVERY_S = 240.0
LOG_EVERY_UPDATES = 20


class Recipe(Protocol):
    """What a stage brings to the loop. `network` is trained, `average` is its EMA and is what plays."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def average(self) -> nn.Module: ...

    @property
    def frames_per_update(self) -> int: ...

    @property
    def updates_per_sequence(self) -> int:
        """After every so many nothing is under way but what a checkpoint holds: there alone a leg ends."""
        ...

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one update, and figures for the log."""
        ...

    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        """Writes what a person can use or look at (preset, sample sheet); returns figures for the log."""
        ...


class ResumableData(Protocol):
    """What else goes on where it was when a run is resumed."""

    wait_s: float

    def counters(self) -> dict[str, float]: ...

    def restore(self, counters: Mapping[str, float]) -> None: ...


LogCallback = Callable[[dict[str, float | int | str]], None]


class Objective(nn.Module):
    """A recipe's loss as a module's forward pass, which is what spreads over processes."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.network = recipe.network
        self._loss = recipe.loss

    def forward(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        return self._loss(num_updates)


class Trainer:
    """One run, leg by leg. Every rank makes one; the first writes and speaks.

    All randomness of a batch comes from (seed, update, number of the batch within it): going on after a stop, or with
    the batches spread over more processes, changes none of it.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: OptimizerConfig,
        folder: Path,
        *,
        on_log: LogCallback,
        data: ResumableData | None = None,
        seed: int = 0,
        compute: ComputeConfig | None = None,
        distributed: DistributedContext | None = None,
    ) -> None:
        self._recipe, self._config, self._folder, self._on_log, self._seed = recipe, config, folder, on_log, seed
        self._data = data
        self._compute, self._distributed = compute or ComputeConfig(), distributed or DistributedContext(device="cpu")
        prepare_layers(recipe.network, self._compute)
        shard = self._compute.shard
        self._average = self._distributed.sharded_copy(recipe.average) if shard else recipe.average
        self._objective = self._distributed.wrap(Objective(recipe), recipe.network, shard=shard)
        self._optimizer = torch.optim.AdamW(
            recipe.network.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.97),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._checkpoint = make_checkpoint(folder / "state", self._distributed, sharded=shard)
        self.num_updates = 0
        self.num_frames = 0
        self.trained_s = 0.0
        self.phase: TrainingPhase | None = None
        self._stop_reason, self._is_done = "", False

    def resume(self) -> bool:
        """Goes on from the run's folder if there is something to go on from."""
        counters = self._checkpoint.load(self._recipe.network, self._average, self._optimizer)
        if counters is None:
            return False
        self.num_updates, self.num_frames = int(counters["num_updates"]), int(counters["num_frames"])
        self.trained_s = float(counters["trained_s"])
        if self._data:
            self._data.restore(counters)
        return True

    def run(self, minutes: float = math.inf, *, updates: int | None = None, cooldown_updates: int | None = None) -> str:
        """Trains a leg: `minutes` of wall-clock time or `updates`, whichever ends first, or until a signal.

        Returns: why it ended.

        Raises: NonFiniteError before a broken update is applied, the last checkpoint stays; WorldError from the data
        and DistributedError when another process is gone, both after a checkpoint.
        """
        schedule = Schedule(
            self._config,
            first=self.num_updates,
            updates=updates,
            cooldown_updates=cooldown_updates,
            multiple=self._recipe.updates_per_sequence,
        )
        with self._stop_on_signal():
            try:
                self._run(schedule, minutes * 60)
            except (WorldError, DistributedError):
                if self._distributed.is_main and not self._compute.shard:
                    self._save()
                raise
        self._stop_reason = self._stop_reason or ("time" if updates is None or not self._is_done else "updates")
        self.save()
        self._checkpoint.finish()
        return self._stop_reason

    def update(self, learning_rate: float) -> dict[str, float]:
        """One update at this learning rate, and nothing beside it. Returns: figures for the log. Raises: as `run`."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        loss_value, metrics = self._backward()
        gradient_norm = self._clip_gradients()
        self._check_finite(loss_value, gradient_norm)
        self._optimizer.step()
        self._update_average()
        self.num_updates += 1
        self.num_frames += self._recipe.frames_per_update * self._compute.accumulate * self._distributed.world_size
        return {**metrics, "loss": loss_value, "gradient_norm": gradient_norm}

    def save(self) -> None:
        """Writes the training state and what the recipe exports, with all ranks."""
        self._save()
        self._distributed.barrier()

    def _run(self, schedule: Schedule, budget_s: float) -> None:
        started_s = saved_s = logged_s = time.monotonic()
        logged_frames, logged_wait_s = self.num_frames, self._waited_s
        while True:
            now_s = time.monotonic()
            # Clocks and signals differ between ranks; what follows from them must not.
            spent_s, unsaved_s, stop = self._distributed.all_reduce_max(
                now_s - started_s, now_s - saved_s, bool(self._stop_reason)
            )
            schedule.observe_time(self.num_updates, spent_s, budget_s)
            self.phase, self._is_done = schedule.phase, schedule.is_over(self.num_updates)
            if self.num_updates % self._recipe.updates_per_sequence == 0:
                if stop or self._is_done or spent_s >= budget_s:
                    return
                if unsaved_s > CHECKPOINT_EVERY_S:
                    self.save()
                    saved_s = time.monotonic()
            learning_rate = schedule.learning_rate(self.num_updates)
            metrics = self.update(learning_rate)
            self.trained_s += time.monotonic() - now_s
            if self.num_updates % LOG_EVERY_UPDATES == 0:
                now_s = time.monotonic()
                rate_hz = (self.num_frames - logged_frames) / max(now_s - logged_s, 1e-9)
                metrics |= {"frames_per_s": rate_hz, "learning_rate": learning_rate, "left_s": budget_s - spent_s}
                metrics["wait_share"] = (self._waited_s - logged_wait_s) / max(now_s - logged_s, 1e-9)
                self._log(metrics)
                logged_s, logged_frames, logged_wait_s = now_s, self.num_frames, self._waited_s

    @property
    def _waited_s(self) -> float:
        return self._data.wait_s if self._data else 0.0

    def _save(self) -> None:
        counters = {"num_updates": self.num_updates, "num_frames": self.num_frames, "trained_s": self.trained_s}
        counters |= self._data.counters() if self._data else {}
        self._checkpoint.save(self._recipe.network, self._average, self._optimizer, counters)
        if self._average is not self._recipe.average:
            self._recipe.average.load_state_dict(full_state_dict(self._average))
        if self._distributed.is_main:
            self._log(self._recipe.export(self._folder, self.num_updates, self.num_frames))

    def _backward(self) -> tuple[float, dict[str, float]]:
        """Mean gradients of this rank's batches, and of all ranks'. Returns the mean loss and the last figures."""
        count, loss_value, metrics = self._compute.accumulate, 0.0, dict[str, float]()
        for part in range(count):
            torch.manual_seed(batch_seed(self._seed, self.num_updates, self._distributed.rank * count + part))
            with translate_rank_errors(), no_sync_unless_last(self._objective, is_last=part == count - 1):
                with autocast_context(self._compute, self._distributed.device):
                    loss, metrics = self._objective(self.num_updates)
                (loss / count).backward()
            loss_value += float(loss.detach()) / count
        return loss_value, metrics

    def _clip_gradients(self) -> float:
        norm = nn.utils.clip_grad_norm_(self._recipe.network.parameters(), self._config.gradient_clip)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def _check_finite(self, loss_value: float, gradient_norm: float) -> None:
        loss_broken, norm_broken = self._distributed.all_reduce_max(
            not math.isfinite(loss_value), not math.isfinite(gradient_norm)
        )
        if loss_broken or norm_broken:
            name, value = ("loss", loss_value) if loss_broken else ("gradient", gradient_norm)
            raise NonFiniteError(
                f"the {name} became {value} at update {self.num_updates}",
                hint="lower optimiser.learning_rate; the last checkpoint is untouched",
            )

    @torch.no_grad()
    def _update_average(self) -> None:
        """The average takes a step towards the network."""
        decay = min(self._config.ema_decay, (1 + self.num_updates) / (10 + self.num_updates))
        averages, networks = self._average.state_dict(), self._recipe.network.state_dict()
        for name, value in networks.items():
            if value.is_floating_point():
                averages[name].lerp_(value, 1 - decay)
            else:
                averages[name].copy_(value)

    def _log(self, metrics: dict[str, float]) -> None:
        if not self._distributed.is_main:
            return
        row: dict[str, float | int | str] = {"update": self.num_updates, "frames": self.num_frames}
        row |= {"minutes": round(self.trained_s / 60, 3)} | {k: round(float(v), 6) for k, v in metrics.items()}
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._on_log(row)

    @contextmanager
    def _stop_on_signal(self) -> Iterator[None]:
        """The first Ctrl+C or SIGTERM ends the leg after this update, with a checkpoint."""

        def stop(number: int, _: object) -> None:
            self._stop_reason = signal.Signals(number).name

        previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def batch_seed(seed: int, update: int, batch: int) -> int:
    """A seed of its own for every batch of every update of every run."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{update}:{batch}".encode(), digest_size=7).digest(), "big")
