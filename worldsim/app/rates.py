"""How fast things go, over the last two seconds. Pure; time is passed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from worldsim.engine.worker import Counters

WINDOW_NS = 2_000_000_000
MAX_LATENCIES = 120


@dataclass(frozen=True, kw_only=True)
class Rates:
    """`ms_input` is from the moment a tick took its input to the moment its frame was there."""

    made_per_s: float = 0.0
    shown_per_s: float = 0.0
    ms_per_frame: float = 0.0
    ms_input_p50: float = 0.0
    ms_input_p95: float = 0.0


class RateMeter:
    """Fed with running totals; `rates` are differences over the window."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int, int, int]] = deque()
        self._latencies_ms: deque[float] = deque(maxlen=MAX_LATENCIES)

    def add_latency(self, input_ns: int, ready_ns: int) -> None:
        self._latencies_ms.append((ready_ns - input_ns) / 1e6)

    def sample(self, now_ns: int, counters: Counters, num_shown: int) -> None:
        self._samples.append((now_ns, counters.made, num_shown, counters.busy_ns))
        while len(self._samples) > 2 and now_ns - self._samples[1][0] >= WINDOW_NS:
            self._samples.popleft()

    @property
    def rates(self) -> Rates:
        if len(self._samples) < 2:
            return Rates()
        (begin_ns, made_0, shown_0, busy_0), (end_ns, made_1, shown_1, busy_1) = self._samples[0], self._samples[-1]
        elapsed_s = max((end_ns - begin_ns) / 1e9, 1e-9)
        made = made_1 - made_0
        latencies = sorted(self._latencies_ms) or [0.0]
        return Rates(
            made_per_s=made / elapsed_s,
            shown_per_s=(shown_1 - shown_0) / elapsed_s,
            ms_per_frame=(busy_1 - busy_0) / 1e6 / made if made else 0.0,
            ms_input_p50=latencies[len(latencies) // 2],
            ms_input_p95=latencies[int(len(latencies) * 0.95)],
        )
