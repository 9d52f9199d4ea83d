"""The training loop: time budget, learning rate, optimizer, EMA, log, checkpoints, stopping.

Recipes define the losses and own the data; `distributed` spreads the work over processes, `checkpoint` stores the
state. Everything is written under the run's folder.

A *session* is one call of the command. It is counted in updates: minutes matter only once, when the decay of the
learning rate is due and the remaining time becomes a number of updates. So a session of minutes can be reproduced by
its number of updates on any machine (`TrainingPhase.reproduce_args`).
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from worldsim.core.errors import ConfigError, DistributedError, NonFiniteError, UsageError, WorldError
from worldsim.training.checkpoint import TrainedModules, make_checkpoint
from worldsim.training.compute import autocast_context, prepare_layers
from worldsim.training.config import ComputeConfig, OptimizerConfig
from worldsim.training.distributed import (
    DistributedContext,
    full_state_dict,
    no_sync_unless_last,
    translate_rank_errors,
)
from worldsim.training.optimizer import build_optimizer, set_learning_rate
from worldsim.training.replay_buffer import ReplayBuffer

CHECKPOINT_EVERY_S = 240.0
LOG_EVERY_UPDATES = 20
FINAL_RATE_FRACTION = 0.05
"""Learning rate at the end of a session, relative to the constant rate."""
RECENT_UPDATES = 50
"""Updates whose mean duration predicts the remaining ones."""

LogCallback = Callable[[dict[str, float | int | str]], None]


class Recipe(Protocol):
    """What a stage trains. `network` is trained; `average` is its EMA, which is exported."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def average(self) -> nn.Module: ...

    @property
    def frames_per_update(self) -> int: ...

    @property
    def updates_per_sequence(self) -> int:
        """A session ends only at multiples of this: in between, the recipe has state that no checkpoint contains."""
        ...

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch, and metrics for the log."""
        ...

    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        """Writes what people use or look at (preset, sample sheet). Returns: metrics for the log."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingPhase:
    """The updates of a session, from `first` to before `end`; the learning rate decays from `decay_start` on."""

    first: int
    decay_start: int
    end: int

    @property
    def reproduce_args(self) -> str:
        """Options of `worldsim train` that run the same session."""
        return f"--steps {self.end - self.first} --decay-steps {self.end - self.decay_start}"


class Schedule:
    """Learning rate and end of a session that starts at update `first`.

    With `updates` both are known from the start; otherwise `observe_time` determines them when the decay is due. The
    session ends at the next multiple of `multiple`.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        *,
        first: int,
        updates: int | None,
        cooldown_updates: int | None = None,
        multiple: int = 1,
    ) -> None:
        """Raises: UsageError for a decay that is longer than the session."""
        self._config, self._first, self._multiple = config, first, multiple
        self._recent_s: deque[float] = deque(maxlen=RECENT_UPDATES)
        self.phase: TrainingPhase | None = None
        if cooldown_updates is not None and (updates is None or cooldown_updates > updates):
            raise UsageError("--decay-steps needs --steps of at least the same number", hint="give both")
        if updates is not None:
            if cooldown_updates is None:
                cooldown_updates = round(updates * config.decay_fraction)
            end = self._round_up(first + updates)
            self.phase = TrainingPhase(first=first, decay_start=end - cooldown_updates, end=end)

    def observe_time(self, update: int, spent_s: float, budget_s: float) -> None:
        """Called before each update. Fixes the end once only the decay's fraction of the budget is left.

        `spent_s` is the time since the session started.
        """
        self._recent_s.append(spent_s)
        left_s = budget_s - spent_s
        if self.phase is not None or left_s > budget_s * self._config.decay_fraction or len(self._recent_s) < 2:
            return
        update_s = (self._recent_s[-1] - self._recent_s[0]) / (len(self._recent_s) - 1)
        end = self._round_up(update + max(1, round(left_s / max(update_s, 1e-9))))
        self.phase = TrainingPhase(first=self._first, decay_start=update, end=end)

    def is_over(self, update: int) -> bool:
        return self.phase is not None and update >= self.phase.end

    def learning_rate(self, update: int) -> float:
        """The learning rate of an update."""
        warmup = min(1.0, (update + 1) / max(self._config.warmup_steps, 1))
        decay = 1.0
        if self.phase is not None and update >= self.phase.decay_start:
            decay = (self.phase.end - update) / max(self.phase.end - self.phase.decay_start, 1)
        return self._config.learning_rate * warmup * max(FINAL_RATE_FRACTION, decay)

    def _round_up(self, end: int) -> int:
        return -(-end // self._multiple) * self._multiple


class Objective(nn.Module):
    """A recipe's loss as the forward pass of a module, as DDP and FSDP need it."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.network = recipe.network
        self._loss = recipe.loss

    def forward(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        return self._loss(num_updates)


class Trainer:
    """One run, session by session. Every rank has one; only the first writes and logs.

    All randomness of a batch follows from (seed, update, number of the batch within the update): neither resuming nor
    spreading the batches over more processes changes it.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: OptimizerConfig,
        folder: Path,
        *,
        on_log: LogCallback,
        data: ReplayBuffer | None = None,
        seed: int = 0,
        compute: ComputeConfig | None = None,
        distributed: DistributedContext | None = None,
    ) -> None:
        """`on_log` receives every row of log.jsonl."""
        self._recipe, self._config, self._folder, self._on_log, self._seed = recipe, config, folder, on_log, seed
        self._data = data
        self._compute, self._distributed = compute or ComputeConfig(), distributed or DistributedContext(device="cpu")
        prepare_layers(recipe.network, self._compute)
        fsdp = self._compute.fsdp
        self._average = self._distributed.sharded_copy(recipe.average) if fsdp else recipe.average
        self._objective = self._distributed.wrap(Objective(recipe), recipe.network, fsdp=fsdp)
        if fsdp and config.muon_learning_rate:
            raise ConfigError("Muon needs complete matrices, and fsdp = true shards them", hint="fsdp = false")
        self._optimizer = build_optimizer(recipe.network, config)
        self._modules = TrainedModules(recipe.network, self._average, self._optimizer)
        self._checkpoint = make_checkpoint(folder / "state", self._distributed, fsdp=fsdp)
        self.num_updates = 0
        self.num_frames = 0
        self.trained_s = 0.0
        self.phase: TrainingPhase | None = None
        self._stop_reason, self._is_done = "", False

    def resume(self) -> bool:
        """Loads the run's checkpoint. Returns: whether there is one."""
        counters = self._checkpoint.load(self._modules)
        if counters is None:
            return False
        self.num_updates, self.num_frames = int(counters["num_updates"]), int(counters["num_frames"])
        self.trained_s = float(counters["trained_s"])
        if self._data:
            self._data.restore(counters)
        return True

    def run(self, minutes: float = math.inf, *, updates: int | None = None, cooldown_updates: int | None = None) -> str:
        """Trains for `minutes` of wall-clock time or `updates`, whichever ends first, or until a signal.

        Returns: why it ended.

        Raises: NonFiniteError before a broken update is applied, with the last checkpoint intact; WorldError from the
        data and DistributedError when another process exited, both after saving a checkpoint.
        """
        schedule = Schedule(
            self._config,
            first=self.num_updates,
            updates=updates,
            cooldown_updates=cooldown_updates,
            multiple=self._recipe.updates_per_sequence,
        )
        with _stop_on_signal(self._stop):
            try:
                self._run(schedule, minutes * 60)
            except (WorldError, DistributedError):
                if self._distributed.is_main and not self._compute.fsdp:
                    self._save()
                raise
        self._stop_reason = self._stop_reason or ("time" if updates is None or not self._is_done else "updates")
        self.save()
        self._checkpoint.finish()
        return self._stop_reason

    def update(self, learning_rate: float) -> dict[str, float]:
        """One update, without logging or saving. Returns: metrics. Raises: as `run`."""
        set_learning_rate(self._optimizer, learning_rate)
        self._optimizer.zero_grad(set_to_none=True)
        loss_value, metrics = self._backward()
        gradient_norm = self._clip_gradients()
        self._check_finite(loss_value, gradient_norm)
        self._optimizer.step()
        decay = min(self._config.ema_decay, (1 + self.num_updates) / (10 + self.num_updates))
        _update_average(self._average, self._recipe.network, decay)
        self.num_updates += 1
        num_batches = self._compute.gradient_accumulation_steps * self._distributed.world_size
        self.num_frames += self._recipe.frames_per_update * num_batches
        return {**metrics, "loss": loss_value, "gradient_norm": gradient_norm}

    def save(self) -> None:
        """Writes the training state and the recipe's export. All ranks must call it."""
        self._save()
        self._distributed.barrier()

    def _run(self, schedule: Schedule, budget_s: float) -> None:
        started_s = saved_s = logged_s = time.monotonic()
        logged_frames, logged_wait_s = self.num_frames, self._waited_s
        while True:
            now_s = time.monotonic()
            # Clocks and signals differ between ranks; decisions based on them must not.
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

    def _stop(self, reason: str) -> None:
        self._stop_reason = reason

    def _save(self) -> None:
        counters = {"num_updates": self.num_updates, "num_frames": self.num_frames, "trained_s": self.trained_s}
        counters |= self._data.counters() if self._data else {}
        self._checkpoint.save(self._modules, counters)
        if self._average is not self._recipe.average:
            self._recipe.average.load_state_dict(full_state_dict(self._average))
        if self._distributed.is_main:
            self._log(self._recipe.export(self._folder, self.num_updates, self.num_frames))

    def _backward(self) -> tuple[float, dict[str, float]]:
        """Computes the mean gradient of all batches of all ranks. Returns: mean loss, metrics of the last batch."""
        count, loss_value, metrics = self._compute.gradient_accumulation_steps, 0.0, dict[str, float]()
        for part in range(count):
            torch.manual_seed(batch_seed(self._seed, self.num_updates, self._distributed.rank * count + part))
            with translate_rank_errors(), no_sync_unless_last(self._objective, is_last=part == count - 1):
                with autocast_context(self._compute, self._distributed.device):
                    loss, metrics = self._objective(self.num_updates)
                (loss / count).backward()
            loss_value += float(loss.detach()) / count
        return loss_value, metrics

    def _clip_gradients(self) -> float:
        norm = nn.utils.clip_grad_norm_(self._recipe.network.parameters(), self._config.max_gradient_norm)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def _check_finite(self, loss_value: float, gradient_norm: float) -> None:
        loss_broken, norm_broken = self._distributed.all_reduce_max(
            not math.isfinite(loss_value), not math.isfinite(gradient_norm)
        )
        if loss_broken or norm_broken:
            name, value = ("loss", loss_value) if loss_broken else ("gradient", gradient_norm)
            raise NonFiniteError(
                f"the {name} became {value} at update {self.num_updates}",
                hint="lower optimizer.learning_rate; the last checkpoint is intact",
            )

    def _log(self, metrics: dict[str, float]) -> None:
        if not self._distributed.is_main:
            return
        row: dict[str, float | int | str] = {"update": self.num_updates, "frames": self.num_frames}
        row |= {"minutes": round(self.trained_s / 60, 3)} | {k: round(float(v), 6) for k, v in metrics.items()}
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._on_log(row)


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    averages, values = average.state_dict(), network.state_dict()
    floating = [name for name, value in values.items() if value.is_floating_point()]
    torch._foreach_lerp_([averages[name] for name in floating], [values[name] for name in floating], 1 - decay)
    for name in values.keys() - set(floating):
        averages[name].copy_(values[name])


@contextmanager
def _stop_on_signal(stop: Callable[[str], None]) -> Iterator[None]:
    """Ctrl+C and SIGTERM call `stop` with the signal's name: the session ends after this update, with a checkpoint."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda n, _: stop(signal.Signals(n).name)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def batch_seed(seed: int, update: int, batch: int) -> int:
    """A different seed for every batch of every update of every run."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{update}:{batch}".encode(), digest_size=7).digest(), "big")
