"""Line charts as SVG, colored by the page's style sheet, so that they work in light, dark and print.

Own code rather than matplotlib: its SVG has fixed colors, and it would be a large dependency for a few lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 12, 44
"""Margins around the plot area."""
NUM_COLORS = 12


@dataclass(frozen=True, kw_only=True)
class ChartLine:
    label: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float], ...] = ()
    """(lowest, highest) value at each point; may be empty."""
    color: int = 0
    is_reference: bool = False
    """Whether the line is dashed."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    title: str
    x_label: str
    y_label: str
    lines: tuple[ChartLine, ...] = field(repr=False)
    is_log_x: bool = False
    is_log_y: bool = False

    @property
    def svg(self) -> Markup:
        values_x = [x for line in self.lines for x, _ in line.points]
        values_y = [y for line in self.lines for _, y in line.points]
        values_y += [y for line in self.lines for pair in line.band for y in pair]
        x = _Axis.over(values_x, self.is_log_x, LEFT, WIDTH - RIGHT)
        y = _Axis.over(values_y, self.is_log_y, HEIGHT - BOTTOM, TOP)
        parts = [
            Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, self.title),
            *(_tick(x.at(v), TOP, x.at(v), HEIGHT - BOTTOM, HEIGHT - BOTTOM + 16, "middle", v) for v in x.ticks),
            *(_tick(LEFT, y.at(v), WIDTH - RIGHT, y.at(v), y.at(v) + 4, "end", v) for v in y.ticks),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle", self.x_label),
            Markup('<g transform="rotate(-90)">{}</g>').format(
                _text(-(TOP + HEIGHT - BOTTOM) / 2, 14, "middle", self.y_label)
            ),
            *(_line(line, x, y) for line in self.lines),
            Markup("</svg>"),
        ]
        return Markup("\n").join(parts)


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Maps values to pixels, linearly or logarithmically."""

    low: float
    high: float
    is_log: bool
    begin: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], is_log: bool, begin: float, end: float) -> _Axis:
        low, high = min(values), max(values)
        is_log = is_log and low > 0
        if is_log:
            return cls(low=low / 1.1, high=high * 1.1, is_log=True, begin=begin, end=end)
        margin = 0.05 * (high - low) or 0.5
        return cls(low=low - margin, high=high + margin, is_log=False, begin=begin, end=end)

    def at(self, value: float) -> float:
        low, high, value = (math.log(v) if self.is_log else v for v in (self.low, self.high, value))
        return round(self.begin + (self.end - self.begin) * (value - low) / (high - low), 1)

    @property
    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten; only the powers on a long logarithmic axis."""
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            digits = (1,) if len(powers) > 4 else (1, 2, 5)
            values = [digit * 10.0**power for power in powers for digit in digits]
        else:
            rough = (self.high - self.low) / 5
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
            values = [step * n for n in range(math.floor(self.low / step), math.ceil(self.high / step) + 1)]
        return [value for value in values if self.low <= value <= self.high]


def _tick(x1: float, y1: float, x2: float, y2: float, text_y: float, anchor: str, value: float) -> Markup:
    line = Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(x1, y1, x2, y2)
    return line + _text(x1 - 6 * (anchor == "end"), text_y, anchor, f"{value:,.6g}")


def _text(x: float, y: float, anchor: str, text: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _line(line: ChartLine, x: _Axis, y: _Axis) -> Markup:
    color = f"c{line.color % NUM_COLORS}"
    parts = []
    if line.band:
        edge = [(px, high) for (px, _), (_, high) in zip(line.points, line.band, strict=True)]
        edge += [(px, low) for (px, _), (low, _) in reversed(list(zip(line.points, line.band, strict=True)))]
        parts.append(Markup('<polygon class="band {}" points="{}"/>').format(color, _pixels(edge, x, y)))
    dashes = " reference" if line.is_reference else ""
    parts.append(Markup('<polyline class="line {}{}" points="{}"/>').format(color, dashes, _pixels(line.points, x, y)))
    for px, py in line.points:
        dot = Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"><title>{}</title></circle>')
        parts.append(dot.format(color, x.at(px), y.at(py), f"{line.label}: {py:,.4g} at {px:,g}"))
    return escape("\n").join(parts)


def _pixels(points: Sequence[tuple[float, float]], x: _Axis, y: _Axis) -> str:
    return " ".join(f"{x.at(px)},{y.at(py)}" for px, py in points)
