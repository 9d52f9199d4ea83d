"""Learning rate and end of one leg, counted in updates.

Owns: warm-up, cool-down, when a leg is over. Does not own: time. Minutes matter once: when the cool-down is due, what
is left of them becomes a number of updates. So a leg of minutes can be done again by its number of updates, whatever
the machine (`Leg.again`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from worldsim.core.errors import UsageError
from worldsim.training.config import OptimiserConfig

FINAL_RATE = 0.05
RECENT_UPDATES = 50
"""So many last updates say how long one takes."""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """Updates `first` up to but not `end`; the learning rate falls from `cooldown` on."""

    first: int
    cooldown: int
    end: int

    @property
    def again(self) -> str:
        """Options of `worldsim train` that run the same leg."""
        return f"--updates {self.end - self.first} --cooldown-updates {self.end - self.cooldown}"


class Schedule:
    """Of a leg that begins at update `first`. With `updates` it is settled; without, `observe` settles it.

    It ends at an update that `multiple` divides, the next one to what was asked for.
    """

    def __init__(
        self,
        config: OptimiserConfig,
        *,
        first: int,
        updates: int | None,
        cooldown_updates: int | None = None,
        multiple: int = 1,
    ) -> None:
        self._config, self._first, self._multiple = config, first, multiple
        self._spent_s: deque[float] = deque(maxlen=RECENT_UPDATES)
        self.leg: Leg | None = None
        if cooldown_updates is not None and (updates is None or cooldown_updates > updates):
            raise UsageError("--cooldown-updates without as many --updates", hint="give both")
        if updates is not None:
            if cooldown_updates is None:
                cooldown_updates = round(updates * config.cooldown_share)
            end = self._whole(first + updates)
            self.leg = Leg(first=first, cooldown=end - cooldown_updates, end=end)

    def observe(self, update: int, spent_s: float, budget_s: float) -> None:
        """Tells the time before an update; the cool-down is settled when its share of the budget is all that is left.

        `spent_s` is since the leg began.
        """
        self._spent_s.append(spent_s)
        left_s = budget_s - spent_s
        if self.leg is not None or left_s > budget_s * self._config.cooldown_share or len(self._spent_s) < 2:
            return
        update_s = (self._spent_s[-1] - self._spent_s[0]) / (len(self._spent_s) - 1)
        end = self._whole(update + max(1, round(left_s / max(update_s, 1e-9))))
        self.leg = Leg(first=self._first, cooldown=update, end=end)

    def is_over(self, update: int) -> bool:
        return self.leg is not None and update >= self.leg.end

    def rate(self, update: int) -> float:
        """The learning rate of an update."""
        warm = min(1.0, (update + 1) / max(self._config.warmup_updates, 1))
        cool = 1.0
        if self.leg is not None and update >= self.leg.cooldown:
            cool = (self.leg.end - update) / max(self.leg.end - self.leg.cooldown, 1)
        return self._config.learning_rate * warm * max(FINAL_RATE, cool)

    def _whole(self, end: int) -> int:
        return -(-end // self._multiple) * self._multiple
