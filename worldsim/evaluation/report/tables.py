"""What sections of a report are made of: cells, tables, and numbers as they are written. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worldsim.evaluation.report.charts import Chart
from worldsim.evaluation.report.scores import ReportScore
from worldsim.evaluation.report.significance import Estimate
from worldsim.models.sequence.architectures import ARCHITECTURES, REFERENCE_ARCHITECTURE, VARIANT_SEPARATOR


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """`tone`: better, worse, unknown, or nothing to say."""

    text: str
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """`missing`: the line that stands here in place of what was not given."""

    title: str
    lines: tuple[str, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    charts: tuple[Chart, ...] = ()
    missing: str = ""


def sort_architectures(names: Iterable[str]) -> list[str]:
    """In the order of the registry; one that was trained another way follows its own."""
    order = list(ARCHITECTURES)

    def place(name: str) -> tuple[int, str]:
        own = name.partition(VARIANT_SEPARATOR)[0]
        return (order.index(own) if own in order else len(order), name)

    return sorted(names, key=place)


def reference_of(name: str) -> str:
    """What a run is held against: `full`; where it was trained another way, the same without the last of its ways."""
    return name.rpartition(VARIANT_SEPARATOR)[0] or REFERENCE_ARCHITECTURE


def color_of(architecture: str) -> int:
    """The same in every chart."""
    order = list(ARCHITECTURES)
    return order.index(architecture) if architecture in order else len(order)


def score_cell(score: ReportScore | Estimate | None) -> TableCell:
    if score is None:
        return TableCell(text="")
    shown = format_value(score.value)
    if score.low is not None and score.high is not None:
        shown += f" [{format_value(score.low)}, {format_value(score.high)}]"
    return TableCell(text=shown)


def format_value(value: float) -> str:
    """Three digits or so; whole numbers, which count something, as they are."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def format_signed(value: float) -> str:
    """Of a difference."""
    return f"{'-' if value < 0 else '+'}{format_value(abs(value))}"
