"""What is said on top of the picture, as rows of text. A pure model: no window, no fonts, no pygame.

Owns: the words and which panels there are. Does not own: how text looks (`app.text_renderer`) or where time goes
(`app.metrics`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from textwrap import wrap

from worldsim.actions.bindings import BINDINGS, Binding, Command, key_for
from worldsim.app.metrics import FrameStats
from worldsim.core.errors import WorldsimError
from worldsim.engine.session import SessionState
from worldsim.engine.worker import WorkerCounters

MAX_MESSAGE_COLUMNS = 64
"""Letters in a line of an error message."""
MAX_LINE_COLUMNS = 84
"""Letters in a line of a panel, at most."""
_NAMED_COMMANDS = (Command.RESET, Command.ESCAPE, Command.PAUSE, Command.SINGLE_STEP, Command.REWIND, Command.LOAD)


class Placement(Enum):
    """Where in the window a panel sits."""

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
    """How much is said of the status, in the order in which its key goes through."""

    LINE = "line"
    DETAIL = "detail"
    PERFORMANCE = "performance"
    OFF = "off"


@dataclass(frozen=True)
class InlineImage:
    """A small picture beside a line: RGB bytes, row by row."""

    width_px: int
    height_px: int
    pixels: bytes = field(repr=False)
    num_lines: int = 3
    """Its height, in lines of text."""


@dataclass(frozen=True)
class PanelRow:
    """One line. With `right`, a table row of two columns. With `image`, higher, and the image stands before it."""

    left: str
    right: str = ""
    style: Style = Style.PLAIN
    image: InlineImage | None = None
    left_style: Style | None = None
    """Of the left column; without it, that of a table's keys, or `style` where there is no right one."""
    sublines: tuple[str, ...] = ()
    """Quiet lines under it; not with `right`."""
    is_focus: bool = False
    """In a menu: the one that Enter is for."""


@dataclass(frozen=True, kw_only=True)
class KeyCap:
    """One key of a drawn keyboard. Places and widths are in widths of a letter's key; `fill` is from where to where it
    is filled, as shares of its width."""

    label: str
    x: float
    y: float
    width: float = 1.0
    fill: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Panel:
    """A box of rows, or of keys. Hashable, so that an unchanged panel is not drawn again."""

    placement: Placement
    rows: tuple[PanelRow, ...]
    key_caps: tuple[KeyCap, ...] = ()
    is_live: bool = False
    """Whether it changes all the time: then it is drawn quickly rather than finely."""

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Asked for at every drawing."""
        return hash((self.placement, self.rows, self.key_caps))


@dataclass(frozen=True, kw_only=True)
class HudState:
    """All that the HUD can speak of."""

    state: SessionState = SessionState.LOADING
    title: str = ""
    is_loaded: bool = False
    stage: str = ""
    stage_s: float = 0.0
    """How long the stage has been going on."""
    error: WorldsimError | None = None
    status: StatusLevel = StatusLevel.LINE
    is_help_shown: bool = False
    help_rows: tuple[tuple[str, str], ...] = ()
    stats: FrameStats = field(default_factory=FrameStats)
    counters: WorkerCounters = field(default_factory=WorkerCounters)
    can_go_back: bool = False
    """Whether there is a past to go back to, out of a failure."""
    frame_index: int = 0
    seed: int = 0
    renderer: str = ""
    recording: str = ""
    """What is said of the recording; shown whatever the status level."""
    time_lines: tuple[str, ...] = ()
    """What is said of time control; shown whatever the status level."""
    performance_rows: tuple[PanelRow, ...] = ()
    """What is said of performance; empty unless that level was asked for."""
    side_rows: tuple[PanelRow, ...] = ()
    """The list that was asked for: branches or slots."""
    menu: Panel | None = None
    """The open menu; the middle of the window is its own."""
    bindings: tuple[Binding, ...] = BINDINGS
    """For texts that name keys."""


def panels(hud: HudState) -> tuple[Panel, ...]:
    """What to draw, from the back to the front."""
    found: list[Panel] = []
    if hud.state in (SessionState.PLAYING, SessionState.PAUSED, SessionState.REWINDING):
        told = [row for line in (*hud.time_lines, hud.recording) for row in wrap_line(line)]
        lines = [PanelRow(line, style=Style.STRONG) for line in told]
        lines += [PanelRow(status_line(hud))] if hud.status is not StatusLevel.OFF else []
        if lines:
            found.append(Panel(Placement.BOTTOM, tuple(lines)))
        if hud.status is StatusLevel.DETAIL:
            found.append(Panel(Placement.TOP_LEFT, detail_rows(hud)))
        if hud.performance_rows:
            found.append(Panel(Placement.TOP_LEFT, hud.performance_rows, is_live=True))
        if hud.side_rows:
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


def wrap_line(line: str) -> list[str]:
    """One long line would make all of its panel small. Paths stay whole."""
    return wrap(line, MAX_LINE_COLUMNS, break_on_hyphens=False, break_long_words=False)


def status_line(hud: HudState) -> str:
    """Generated and shown frames per second, ms per frame, denoising steps, prefetch hits."""
    stats, counters = hud.stats, hud.counters
    parts = [
        f"{stats.generated_per_s:.1f} made/s",
        f"{stats.shown_per_s:.1f} shown/s",
        f"{stats.ms_per_frame:.1f} ms/frame",
    ]
    if counters.num_steps:
        asked = counters.hits + counters.misses
        parts.append(f"{counters.num_steps} step{'s' if counters.num_steps > 1 else ''}")
        parts.append(f"prefetch {counters.hits / asked:.0%}" if asked else "prefetch -")
    else:
        parts.append("the true world")
    return "   ".join([*parts, f"{key_for(Command.HELP, bindings=hud.bindings)} help"])


def detail_rows(hud: HudState) -> tuple[PanelRow, ...]:
    counters, times = hud.counters, hud.counters.times
    model_rows = (
        PanelRow("denoise", f"{times.ms_denoise:.1f} ms"),
        PanelRow("commit", f"{times.ms_commit:.1f} ms"),
        PanelRow("decode", f"{times.ms_decode:.1f} ms"),
        PanelRow("prefetch", f"{counters.hits} hits, {counters.misses} misses, {counters.ahead} ahead"),
        PanelRow("frames made", f"{counters.made}, {counters.dropped} in vain"),
    )
    return (
        PanelRow(hud.title, style=Style.STRONG),
        PanelRow("frame", f"{hud.frame_index}   seed {hud.seed}"),
        PanelRow(
            "tick to frame", f"{hud.stats.tick_to_frame_ms.p50:.1f} ms, 95%: {hud.stats.tick_to_frame_ms.p95:.1f} ms"
        ),
        *(model_rows if counters.num_steps else ()),
        PanelRow("drawn by", hud.renderer),
    )


def help_panel_rows(hud: HudState) -> tuple[PanelRow, ...]:
    rows = [PanelRow(keys, what) for keys, what in hud.help_rows]
    return (PanelRow(hud.title or "worldsim", style=Style.STRONG), *rows)


def message_rows(hud: HudState) -> tuple[PanelRow, ...]:
    """What is said in the middle of the window; nothing while the world is played."""
    keys = {command: key_for(command, bindings=hud.bindings) for command in _NAMED_COMMANDS}
    if hud.state is SessionState.FAILED and hud.error is not None:
        message = [PanelRow(line) for line in wrap(hud.error.message, MAX_MESSAGE_COLUMNS)]
        hint = [PanelRow(line, style=Style.MUTED) for line in wrap(hud.error.hint, MAX_MESSAGE_COLUMNS)]
        what = "The world has stopped" if hud.is_loaded else "The world could not be loaded"
        ways = [PanelRow(f"{keys[Command.RESET]} starts afresh, {keys[Command.ESCAPE]} opens the menu")]
        if hud.can_go_back:
            ways.insert(0, PanelRow(f"{keys[Command.REWIND]} goes back in time, {keys[Command.LOAD]} loads"))
        return (PanelRow(what, style=Style.ERROR), *message, *hint, *ways)
    if hud.state is SessionState.LOADING:
        elapsed = f" ({hud.stage_s:.0f} s)" if hud.stage_s >= 1 else ""
        return (PanelRow(hud.title or "worldsim", style=Style.STRONG), PanelRow(f"{hud.stage} ...{elapsed}"))
    if hud.state is SessionState.PAUSED:
        return (
            PanelRow("Paused", style=Style.STRONG),
            PanelRow(f"{keys[Command.PAUSE]} goes on, {keys[Command.SINGLE_STEP]} makes one frame", style=Style.MUTED),
        )
    return ()
