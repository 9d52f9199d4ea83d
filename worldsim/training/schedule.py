"""Learning rate and end of one leg, counted in updates.

Owns: warm-up, cool-down, when a leg is over. Does not own: time. Minutes matter once: when the cool-down is due, what
is left of them becomes a number of updates. So a leg of minutes can be done again by its number of updates, whatever
the machine (`TrainingPhase.reproduce_args`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from worldsim.core.errors import UsageError
from worldsim.training.config import OptimizerConfig

FINAL_RATE_FRACTION = 0.05
RECENT_UPDATES = 50
"""So many last updates say how long one takes."""


@dataclass(frozen=True, kw_only=True)
class TrainingPhase:
    """Updates `first` up to but not `end`; the learning rate falls from `decay_start` on."""

    first: int
    decay_start: int
    end: int

    @property
    def reproduce_args(self) -> str:
        """Options of `worldsim train` that run the same leg."""
        return f"--updates {self.end - self.first} --cooldown-updates {self.end - self.decay_start}"


class Schedule:
    """Of a leg that begins at update `first`. With `updates` it is settled; without, `observe_time` settles it.

    It ends at an update that `multiple` divides, the next one to what was asked for.
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
        self._config, self._first, self._multiple = config, first, multiple
        self._recent_s: deque[float] = deque(maxlen=RECENT_UPDATES)
        self.phase: TrainingPhase | None = None
        if cooldown_updates is not None and (updates is None or cooldown_updates > updates):
            raise UsageError("--cooldown-updates without as many --updates", hint="give both")
        if updates is not None:
            if cooldown_updates is None:
                cooldown_updates = round(updates * config.cooldown_share)
            end = self._round_up(first + updates)
            self.phase = TrainingPhase(first=first, decay_start=end - cooldown_updates, end=end)

    def observe_time(self, update: int, spent_s: float, budget_s: float) -> None:
        """Tells the time before an update; the cool-down is settled when its share of the budget is all that is left.

        `spent_s` is since the leg began.
        """
        self._recent_s.append(spent_s)
        left_s = budget_s - spent_s
        if self.phase is not None or left_s > budget_s * self._config.cooldown_share or len(self._recent_s) < 2:
            return
        update_s = (self._recent_s[-1] - self._recent_s[0]) / (len(self._recent_s) - 1)
        end = self._round_up(update + max(1, round(left_s / max(update_s, 1e-9))))
        self.phase = TrainingPhase(first=self._first, decay_start=update, end=end)

    def is_over(self, update: int) -> bool:
        return self.phase is not None and update >= self.phase.end

    def learning_rate(self, update: int) -> float:
        """The learning rate of an update."""
        warm = min(1.0, (update + 1) / max(self._config.warmup_updates, 1))
        cool = 1.0
        if self.phase is not None and update >= self.phase.decay_start:
            cool = (self.phase.end - update) / max(self.phase.end - self.phase.decay_start, 1)
        return self._config.learning_rate * warm * max(FINAL_RATE_FRACTION, cool)

    def _round_up(self, end: int) -> int:
        return -(-end // self._multiple) * self._multiple
