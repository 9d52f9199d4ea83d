"""What is said on top of the picture, as rows of text. A pure model: no window, no fonts, no pygame.

Owns: the words and which panels there are. Does not own: how text looks (`app.text_renderer`) or where time goes
(`app.metrics`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from textwrap import wrap

from worldsim.actions.bindings import BINDINGS, Binding, Command, key_of
from worldsim.app.metrics import Rates
from worldsim.core.errors import WorldsimError
from worldsim.engine.messages import WorkerCounters
from worldsim.engine.session import SessionState

MESSAGE_COLUMNS = 64
"""Letters in a line of an error message."""
LINE_COLUMNS = 84
"""Letters in a line of a panel, at most."""
_NAMED = (Command.RESET, Command.ESCAPE, Command.PAUSE, Command.SINGLE_STEP, Command.REWIND, Command.LOAD)


class Anchor(Enum):
    """Where in the window a panel sits."""

    CENTRE = "centre"
    TOP_LEFT = "top left"
    TOP_RIGHT = "top right"
    LOW_RIGHT = "low right"
    BOTTOM = "bottom"


class Tone(Enum):
    PLAIN = "plain"
    QUIET = "quiet"
    STRONG = "strong"
    BAD = "bad"


class StatusLevel(Enum):
    """How much is said of the status, in the order in which its key goes through."""

    LINE = "line"
    DETAIL = "detail"
    PERFORMANCE = "performance"
    OFF = "off"


@dataclass(frozen=True)
class Picture:
    """A small picture beside a line: RGB bytes, row by row."""

    width_px: int
    height_px: int
    pixels: bytes = field(repr=False)
    num_lines: int = 3
    """Its height, in lines of text."""


@dataclass(frozen=True)
class Row:
    """One line. With `right`, a table row of two columns. With `picture`, higher, and the picture stands before it."""

    left: str
    right: str = ""
    tone: Tone = Tone.PLAIN
    picture: Picture | None = None
    left_tone: Tone | None = None
    """Of the left column; without it, that of a table's keys, or `tone` where there is no right one."""
    below: tuple[str, ...] = ()
    """Quiet lines under it; not with `right`."""
    is_focus: bool = False
    """In a menu: the one that Enter is for."""


@dataclass(frozen=True, kw_only=True)
class Cap:
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

    anchor: Anchor
    rows: tuple[Row, ...]
    caps: tuple[Cap, ...] = ()
    is_live: bool = False
    """Whether it changes all the time: then it is drawn quickly rather than finely."""

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Asked for at every drawing."""
        return hash((self.anchor, self.rows, self.caps))


@dataclass(frozen=True, kw_only=True)
class View:
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
    rates: Rates = field(default_factory=Rates)
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
    figures: tuple[Row, ...] = ()
    """What is said of performance; empty unless that level was asked for."""
    side: tuple[Row, ...] = ()
    """The list that was asked for: branches or slots."""
    menu: Panel | None = None
    """The open menu; the middle of the window is its own."""
    bindings: tuple[Binding, ...] = BINDINGS
    """For texts that name keys."""


def panels(view: View) -> tuple[Panel, ...]:
    """What to draw, from the back to the front."""
    found: list[Panel] = []
    if view.state in (SessionState.PLAYING, SessionState.PAUSED, SessionState.REWINDING):
        told = [row for line in (*view.time_lines, view.recording) for row in wrapped(line)]
        lines = [Row(line, tone=Tone.STRONG) for line in told]
        lines += [Row(status_line(view))] if view.status is not StatusLevel.OFF else []
        if lines:
            found.append(Panel(Anchor.BOTTOM, tuple(lines)))
        if view.status is StatusLevel.DETAIL:
            found.append(Panel(Anchor.TOP_LEFT, detail_rows(view)))
        if view.figures:
            found.append(Panel(Anchor.TOP_LEFT, view.figures, is_live=True))
        if view.side:
            found.append(Panel(Anchor.TOP_RIGHT, view.side))
    if view.menu is not None:
        found.append(view.menu)
    elif view.is_help_shown:
        found.append(Panel(Anchor.CENTRE, help_panel_rows(view)))
    else:
        message = message_rows(view)
        if message:
            found.append(Panel(Anchor.CENTRE, message))
    return tuple(found)


def wrapped(line: str) -> list[str]:
    """One long line would make all of its panel small. Paths stay whole."""
    return wrap(line, LINE_COLUMNS, break_on_hyphens=False, break_long_words=False)


def status_line(view: View) -> str:
    """Generated and shown frames per second, ms per frame, denoising steps, prefetch hits."""
    rates, counters = view.rates, view.counters
    parts = [
        f"{rates.made_per_s:.1f} made/s",
        f"{rates.shown_per_s:.1f} shown/s",
        f"{rates.ms_per_frame:.1f} ms/frame",
    ]
    if counters.num_steps:
        asked = counters.hits + counters.misses
        parts.append(f"{counters.num_steps} step{'s' if counters.num_steps > 1 else ''}")
        parts.append(f"prefetch {counters.hits / asked:.0%}" if asked else "prefetch -")
    else:
        parts.append("the true world")
    return "   ".join([*parts, f"{key_of(Command.HELP, bindings=view.bindings)} help"])


def detail_rows(view: View) -> tuple[Row, ...]:
    counters, times = view.counters, view.counters.times
    of_a_model = (
        Row("denoise", f"{times.ms_denoise:.1f} ms"),
        Row("commit", f"{times.ms_commit:.1f} ms"),
        Row("decode", f"{times.ms_decode:.1f} ms"),
        Row("prefetch", f"{counters.hits} hits, {counters.misses} misses, {counters.ahead} ahead"),
        Row("frames made", f"{counters.made}, {counters.dropped} in vain"),
    )
    return (
        Row(view.title, tone=Tone.STRONG),
        Row("frame", f"{view.frame_index}   seed {view.seed}"),
        Row("tick to frame", f"{view.rates.ms_tick.p50:.1f} ms, 95%: {view.rates.ms_tick.p95:.1f} ms"),
        *(of_a_model if counters.num_steps else ()),
        Row("drawn by", view.renderer),
    )


def help_panel_rows(view: View) -> tuple[Row, ...]:
    rows = [Row(keys, what) for keys, what in view.help_rows]
    return (Row(view.title or "worldsim", tone=Tone.STRONG), *rows)


def message_rows(view: View) -> tuple[Row, ...]:
    """What is said in the middle of the window; nothing while the world is played."""
    keys = {command: key_of(command, bindings=view.bindings) for command in _NAMED}
    if view.state is SessionState.FAILED and view.error is not None:
        message = [Row(line) for line in wrap(view.error.message, MESSAGE_COLUMNS)]
        hint = [Row(line, tone=Tone.QUIET) for line in wrap(view.error.hint, MESSAGE_COLUMNS)]
        what = "The world has stopped" if view.is_loaded else "The world could not be loaded"
        ways = [Row(f"{keys[Command.RESET]} starts afresh, {keys[Command.ESCAPE]} opens the menu")]
        if view.can_go_back:
            ways.insert(0, Row(f"{keys[Command.REWIND]} goes back in time, {keys[Command.LOAD]} loads"))
        return (Row(what, tone=Tone.BAD), *message, *hint, *ways)
    if view.state is SessionState.LOADING:
        elapsed = f" ({view.stage_s:.0f} s)" if view.stage_s >= 1 else ""
        return (Row(view.title or "worldsim", tone=Tone.STRONG), Row(f"{view.stage} ...{elapsed}"))
    if view.state is SessionState.PAUSED:
        return (
            Row("Paused", tone=Tone.STRONG),
            Row(f"{keys[Command.PAUSE]} goes on, {keys[Command.SINGLE_STEP]} makes one frame", tone=Tone.QUIET),
        )
    return ()
