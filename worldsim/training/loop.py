"""The training loop: budget, optimiser, EMA, log, checkpoints, stopping. A recipe says what is learned.

Owns: wall-clock legs that resume, learning rate, the JSONL log, the last checkpoint. Does not own: losses and data (the
recipes). Side effects: everything is written under the run's folder.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from worldsim.core.errors import NonFiniteError
from worldsim.training.checkpoint import (
    load_training_state,
    optimiser_tensors,
    restore_optimiser,
    save_training_state,
)
from worldsim.training.config import OptimiserConfig

CHECKPOINT_EVERY_S = 240.0
LOG_EVERY_UPDATES = 20
FINAL_RATE = 0.05


class Recipe(Protocol):
    """What a stage brings to the loop. `network` is trained, `average` is its EMA and is what plays."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def average(self) -> nn.Module: ...

    @property
    def frames_per_update(self) -> int: ...

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one update, and figures for the log."""
        ...

    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        """Writes what a person can use or look at (preset, sample sheet); returns figures for the log."""
        ...


Report = Callable[[dict[str, float | int | str]], None]


class Trainer:
    def __init__(self, recipe: Recipe, config: OptimiserConfig, folder: Path, *, tell: Report) -> None:
        self._recipe, self._config, self._folder, self._tell = recipe, config, folder, tell
        self._optimiser = torch.optim.AdamW(
            recipe.network.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.97),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.num_updates = 0
        self.num_frames = 0
        self.trained_s = 0.0
        self._stop_reason = ""

    def resume(self) -> bool:
        """Goes on from the run's folder if there is something to go on from."""
        stored = load_training_state(self._folder / "state")
        if stored is None:
            return False
        tensors, counters = stored
        for module, prefix in ((self._recipe.network, "network."), (self._recipe.average, "average.")):
            part = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            module.load_state_dict(part)
        restore_optimiser(self._optimiser, self._recipe.network, tensors)
        self.num_updates, self.num_frames = int(counters["num_updates"]), int(counters["num_frames"])
        self.trained_s = float(counters["trained_s"])
        return True

    def run(self, minutes: float = math.inf, *, updates: int | None = None) -> str:
        """Trains a leg: `minutes` of wall-clock time or `updates`, whichever ends first, or until a signal.

        Returns: why it ended.

        Raises: NonFiniteError before a broken update is applied; the last checkpoint stays.
        """
        budget_s, started_s = minutes * 60, time.monotonic()
        first_update = self.num_updates
        saved_s = logged_s = started_s
        logged_frames = self.num_frames
        with self._stop_on_signal():
            while not self._stop_reason:
                now_s = time.monotonic()
                done_share = (now_s - started_s) / budget_s
                if updates is not None:
                    done_share = max(done_share, (self.num_updates - first_update) / updates)
                if done_share >= 1:
                    self._stop_reason = "time" if now_s - started_s >= budget_s else "updates"
                    break
                rate = self._learning_rate(done_share)
                figures = self._update(rate)
                self.trained_s += time.monotonic() - now_s
                if self.num_updates % LOG_EVERY_UPDATES == 0:
                    now_s = time.monotonic()
                    rate_hz = (self.num_frames - logged_frames) / max(now_s - logged_s, 1e-9)
                    left_s = budget_s - (now_s - started_s)
                    self._log({**figures, "frames_per_s": rate_hz, "learning_rate": rate, "left_s": left_s})
                    logged_s, logged_frames = now_s, self.num_frames
                if time.monotonic() - saved_s > CHECKPOINT_EVERY_S:
                    self.save()
                    saved_s = time.monotonic()
        self.save()
        return self._stop_reason

    def save(self) -> None:
        """Writes the training state and what the recipe exports."""
        tensors = {f"network.{n}": t for n, t in self._recipe.network.state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in self._recipe.average.state_dict().items()}
        tensors |= optimiser_tensors(self._optimiser, self._recipe.network)
        counters = {"num_updates": self.num_updates, "num_frames": self.num_frames, "trained_s": self.trained_s}
        save_training_state(self._folder / "state", tensors, counters)
        self._log(self._recipe.export(self._folder, self.num_updates, self.num_frames))

    def _update(self, rate: float) -> dict[str, float]:
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        loss, figures = self._recipe.loss(self.num_updates)
        loss_value = float(loss.detach())
        if not math.isfinite(loss_value):
            raise NonFiniteError(
                f"the loss became {loss_value} at update {self.num_updates}",
                hint="lower optimiser.learning_rate; the last checkpoint is untouched",
            )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self._recipe.network.parameters(), self._config.gradient_clip))
        if not math.isfinite(norm):
            raise NonFiniteError(
                f"a gradient became {norm} at update {self.num_updates}",
                hint="lower optimiser.learning_rate; the last checkpoint is untouched",
            )
        self._optimiser.step()
        self._average()
        self.num_updates += 1
        self.num_frames += self._recipe.frames_per_update
        return {**figures, "loss": loss_value, "gradient_norm": norm}

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self._config.ema_decay, (1 + self.num_updates) / (10 + self.num_updates))
        averages, networks = self._recipe.average.state_dict(), self._recipe.network.state_dict()
        for name, value in networks.items():
            if value.is_floating_point():
                averages[name].lerp_(value, 1 - decay)
            else:
                averages[name].copy_(value)

    def _learning_rate(self, done_share: float) -> float:
        warm = min(1.0, (self.num_updates + 1) / max(self._config.warmup_updates, 1))
        cooldown = max(self._config.cooldown_share, 1e-9)
        cool = min(1.0, (1 - done_share) / cooldown)
        return self._config.learning_rate * warm * max(FINAL_RATE, cool)

    def _log(self, figures: dict[str, float]) -> None:
        row: dict[str, float | int | str] = {"update": self.num_updates, "frames": self.num_frames}
        row |= {"minutes": round(self.trained_s / 60, 3)} | {k: round(float(v), 6) for k, v in figures.items()}
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._tell(row)

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
