"""The panels drawn over the frame, as rows of text: status, performance, help, messages. A pure model, no pygame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from textwrap import wrap
from typing import TypeVar

import numpy as np

from worldsim.actions.bindings import BINDINGS, Binding, Command
from worldsim.app.key_labels import key_for
from worldsim.app.metrics import GRAPH_BARS, FrameStats, Percentiles
from worldsim.core.errors import WorldsimError
from worldsim.engine.session import SessionState
from worldsim.engine.worker import WorkerCounters

E = TypeVar("E", bound=Enum)

MAX_MESSAGE_COLUMNS = 64
"""Line length of error messages."""
MAX_LINE_COLUMNS = 84
"""Maximum line length in other panels."""
_NAMED_COMMANDS = (Command.RESET, Command.ESCAPE, Command.PAUSE, Command.SINGLE_STEP, Command.REWIND, Command.LOAD)
GRAPH_HEIGHT_PX = 24
GRAPH_BACKGROUND, BAR, LATE, LINE = (30, 33, 40), (120, 200, 150), (255, 120, 110), (236, 238, 242)
LATE_FRAME_PERIODS = 1.5
"""Frames with a longer interval are drawn in red."""


class Placement(Enum):
    """Position of a panel in the window."""

    CENTER = "center"
    TOP_LEFT = "top left"
    TOP_RIGHT = "top right"
    LOWER_RIGHT = "lower right"
    BOTTOM = "bottom"


class Style(Enum):
    PLAIN = "plain"
    MUTED = "muted"
    STRONG = "strong"
    ERROR = "error"


class StatusLevel(Enum):
    """How much status is shown, in the order in which the key cycles."""

    LINE = "line"
    DETAIL = "detail"
    PERFORMANCE = "performance"
    OFF = "off"


@dataclass(frozen=True)
class InlineImage:
    """A small image beside a row: RGB bytes, row by row."""

    width_px: int
    height_px: int
    pixels: bytes = field(repr=False)
    num_lines: int = 3
    """Height in lines of text."""


@dataclass(frozen=True)
class PanelRow:
    """One line. With `right`, a table row of two columns. With `image`, a taller row with the image on the left."""

    left: str
    right: str = ""
    style: Style = Style.PLAIN
    image: InlineImage | None = None
    left_style: Style | None = None
    """Style of the left column. Default: STRONG in a table row, else `style`."""
    sublines: tuple[str, ...] = ()
    """Muted lines below; not with `right`."""
    is_focus: bool = False
    """Whether this is the focused row of a menu."""


@dataclass(frozen=True, kw_only=True)
class KeyCap:
    """One key of the key overlay. Positions and widths in units of a letter key; `fill`: filled part of the width, as
    (begin, end) fractions."""

    label: str
    x: float
    y: float
    width: float = 1.0
    fill: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Panel:
    """A box of rows, or of key caps. Hashable, so that an unchanged panel is not rendered again."""

    placement: Placement
    rows: tuple[PanelRow, ...]
    key_caps: tuple[KeyCap, ...] = ()
    is_live: bool = False
    """Whether it changes all the time, and is rendered fast rather than well."""

    @property
    def is_menu(self) -> bool:
        return any(row.is_focus for row in self.rows)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Cached: needed at every draw."""
        return hash((self.placement, self.rows, self.key_caps))


@dataclass(frozen=True, kw_only=True)
class HudState:
    """Everything that the panels can show."""

    state: SessionState = SessionState.LOADING
    title: str = ""
    is_loaded: bool = False
    stage: str = ""
    stage_s: float = 0.0
    """Time since the stage began."""
    error: WorldsimError | None = None
    status: StatusLevel = StatusLevel.LINE
    is_help_shown: bool = False
    help_rows: tuple[tuple[str, str], ...] = ()
    stats: FrameStats = field(default_factory=FrameStats)
    counters: WorkerCounters = field(default_factory=WorkerCounters)
    can_rewind: bool = False
    """Whether there is history to rewind to after an error."""
    has_denoising: bool = True
    """Whether frames are denoised, so that the number of steps means something."""
    frame_index: int = 0
    seed: int = 0
    renderer: str = ""
    lines: tuple[str, ...] = ()
    """Notification, time control, reference view, autopilot, recording; shown at every status level."""
    performance_rows: tuple[PanelRow, ...] = ()
    """Empty unless the status level is PERFORMANCE."""
    side_rows: tuple[PanelRow, ...] = ()
    """Branches, save slots, or the memory panel."""
    menu: Panel | None = None
    """The open menu; it replaces help and messages."""
    bindings: tuple[Binding, ...] = BINDINGS
    """For texts that name keys."""


def panels(hud: HudState) -> tuple[Panel, ...]:
    """All panels, back to front."""
    found: list[Panel] = []
    if hud.state in (SessionState.PLAYING, SessionState.PAUSED, SessionState.REWINDING):
        lines = [PanelRow(part, style=Style.STRONG) for line in hud.lines for part in wrap_line(capitalized(line))]
        if hud.status is not StatusLevel.OFF and hud.menu is None:
            lines.append(PanelRow(status_line(hud)))
        if lines:
            found.append(Panel(Placement.BOTTOM, tuple(lines)))
        is_covered = hud.menu is not None or hud.is_help_shown
        if hud.status is StatusLevel.DETAIL and not is_covered:
            found.append(Panel(Placement.TOP_LEFT, detail_rows(hud)))
        if hud.performance_rows and not is_covered:
            found.append(Panel(Placement.TOP_LEFT, hud.performance_rows, is_live=True))
        if hud.side_rows and not is_covered:
            found.append(Panel(Placement.TOP_RIGHT, hud.side_rows))
    if hud.menu is not None:
        found.append(hud.menu)
    elif hud.is_help_shown:
        found.append(Panel(Placement.CENTER, help_panel_rows(hud)))
    else:
        message = message_rows(hud)
        if message:
            found.append(Panel(Placement.CENTER, message))
    return tuple(found)


def next_member(value: E) -> E:
    """The enum member after this one; the first after the last."""
    members = list(type(value))
    return members[(members.index(value) + 1) % len(members)]


def capitalized(text: str) -> str:
    """Messages are lowercase, as in the terminal; on screen they begin with a capital, unless with a file name."""
    first = text.partition(" ")[0].rstrip(":,;")
    return text[:1].upper() + text[1:] if first.isalpha() else text


def wrap_line(line: str) -> list[str]:
    """One long line would shrink its whole panel. Paths are not broken."""
    return wrap(line, MAX_LINE_COLUMNS, break_on_hyphens=False, break_long_words=False)


def status_line(hud: HudState) -> str:
    """Generated and shown frames per second, ms per frame, denoising steps, prefetch hit rate."""
    stats, counters = hud.stats, hud.counters
    parts = [
        f"{stats.generated_per_s:.1f} gen fps",
        f"{stats.shown_per_s:.1f} shown fps",
        f"{stats.ms_per_frame:.1f} ms/frame",
    ]
    if counters.num_steps:
        num_requests = counters.hits + counters.misses
        if hud.has_denoising:
            parts.append(f"{counters.num_steps} denoising step{'s' if counters.num_steps > 1 else ''}")
        parts.append(f"prefetch {counters.hits / num_requests:.0%}" if num_requests else "prefetch -")
    else:
        parts.append("reference world")
    return "   ".join([*parts, f"{key_for(Command.HELP, bindings=hud.bindings)} help"])


def detail_rows(hud: HudState) -> tuple[PanelRow, ...]:
    counters, times, latency_ms = hud.counters, hud.counters.times, hud.stats.tick_to_frame_ms
    model_rows = (
        PanelRow("denoise", f"{times.ms_denoise:.1f} ms"),
        PanelRow("commit", f"{times.ms_commit:.1f} ms"),
        PanelRow("decode", f"{times.ms_decode:.1f} ms"),
        PanelRow(
            "prefetch", f"hits {counters.hits}, misses {counters.misses}, depth {counters.ahead}/{counters.depth}"
        ),
        PanelRow("frames", f"{counters.made} generated, {counters.dropped} discarded"),
    )
    return (
        PanelRow(hud.title, style=Style.STRONG),
        PanelRow("frame", f"{hud.frame_index}   seed {hud.seed}"),
        PanelRow("tick to frame", f"p50 {latency_ms.p50:.1f} ms, p95 {latency_ms.p95:.1f} ms"),
        *(model_rows if counters.num_steps else ()),
        PanelRow("renderer", hud.renderer),
    )


def help_panel_rows(hud: HudState) -> tuple[PanelRow, ...]:
    rows = [PanelRow(keys, label) for keys, label in hud.help_rows]
    return (PanelRow(hud.title or "worldsim", style=Style.STRONG), *rows)


def message_rows(hud: HudState) -> tuple[PanelRow, ...]:
    """The message in the center of the window: loading, paused, failed; none during play."""
    keys = {command: key_for(command, bindings=hud.bindings) for command in _NAMED_COMMANDS}
    if hud.state is SessionState.FAILED and hud.error is not None:
        message = [PanelRow(line) for line in wrap(capitalized(hud.error.message), MAX_MESSAGE_COLUMNS)]
        hint = [PanelRow(line, style=Style.MUTED) for line in wrap(capitalized(hud.error.hint), MAX_MESSAGE_COLUMNS)]
        title = "World stopped" if hud.is_loaded else "Could not load the world"
        again = "restart" if hud.is_loaded else "try again"
        options = [PanelRow(f"{keys[Command.RESET]} {again} · {keys[Command.ESCAPE]} menu")]
        if hud.can_rewind:
            options.insert(0, PanelRow(f"{keys[Command.REWIND]} rewind · {keys[Command.LOAD]} load"))
        return (PanelRow(title, style=Style.ERROR), *message, *hint, *options)
    if hud.state is SessionState.LOADING:
        elapsed = f" ({hud.stage_s:.0f} s)" if hud.stage_s >= 1 else ""
        return (
            PanelRow(hud.title or "worldsim", style=Style.STRONG),
            PanelRow(f"{capitalized(hud.stage)} ...{elapsed}"),
        )
    if hud.state is SessionState.PAUSED:
        return (
            PanelRow("Paused", style=Style.STRONG),
            PanelRow(f"{keys[Command.PAUSE]} resume · {keys[Command.SINGLE_STEP]} step", style=Style.MUTED),
        )
    return ()


def performance_rows(stats: FrameStats, counters: WorkerCounters, resident_bytes: int) -> tuple[PanelRow, ...]:
    times, num_requests = counters.times, counters.hits + counters.misses
    hit_rate = f" ({counters.hits / num_requests:.0%})" if num_requests else ""
    model_rows = (
        PanelRow("model, ms", _format_named(denoise=times.ms_denoise, commit=times.ms_commit, decode=times.ms_decode)),
        PanelRow("prefetch", f"hits {counters.hits}, misses {counters.misses}{hit_rate}"),
        PanelRow("prefetch depth", f"{counters.ahead}/{counters.depth}"),
        PanelRow("discarded", f"{counters.dropped} of {counters.made} frames"),
    )
    return (
        PanelRow("Performance", style=Style.STRONG),
        PanelRow(
            "fps", _format_named(generated=stats.generated_per_s, shown=stats.shown_per_s, drawn=stats.drawn_per_s)
        ),
        PanelRow("p50, p95, p99 in ms", style=Style.MUTED),
        PanelRow(f"frame interval (target {stats.period_ms:.0f})", _format_percentiles(stats.frame_interval_ms)),
        PanelRow("tick to frame", _format_percentiles(stats.tick_to_frame_ms)),
        PanelRow("input to display", _format_percentiles(stats.input_to_display_ms)),
        PanelRow("tick jitter", f"{stats.jitter.p50:.1%}   {stats.jitter.p95:.1%}   {stats.jitter.p99:.1%}"),
        *(model_rows if counters.num_steps else ()),
        PanelRow("window, ms", _format_named(upload=stats.upload_ms, draw=stats.draw_ms, flip=stats.flip_ms)),
        PanelRow("memory", _format_memory(resident_bytes, counters.device_bytes)),
        PanelRow(
            f"last {sum(stats.intervals_ms) / 1e3:.0f} s", image=frame_time_graph(stats.intervals_ms, stats.period_ms)
        ),
    )


def frame_time_graph(intervals_ms: Sequence[float], period_ms: float) -> InlineImage:
    """One bar per frame interval; the white line is one period, the full height two."""
    pixels = np.full((GRAPH_HEIGHT_PX, GRAPH_BARS, 3), GRAPH_BACKGROUND, dtype=np.uint8)
    fractions = np.asarray(intervals_ms[-GRAPH_BARS:], dtype=np.float64) / (period_ms or 1.0)
    heights = np.clip(fractions / 2 * GRAPH_HEIGHT_PX, 1, GRAPH_HEIGHT_PX).astype(int)
    is_bar = np.arange(GRAPH_HEIGHT_PX)[::-1, None] < heights
    columns = pixels[:, GRAPH_BARS - len(heights) :]
    columns[is_bar & (fractions <= LATE_FRAME_PERIODS)] = BAR
    columns[is_bar & (fractions > LATE_FRAME_PERIODS)] = LATE
    pixels[GRAPH_HEIGHT_PX // 2, ::2] = LINE
    return InlineImage(GRAPH_BARS, GRAPH_HEIGHT_PX, pixels.tobytes())


def _format_named(**values: float) -> str:
    return "   ".join(f"{name} {value:.1f}" for name, value in values.items())


def _format_percentiles(percentiles: Percentiles) -> str:
    return f"{percentiles.p50:.1f}   {percentiles.p95:.1f}   {percentiles.p99:.1f}"


def _format_memory(resident_bytes: int, device_bytes: int | None) -> str:
    resident = f"{resident_bytes / 1e6:.0f} MB"
    return resident if device_bytes is None else f"{resident}, GPU {device_bytes / 1e6:.0f} MB"
