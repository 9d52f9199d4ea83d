"""Building blocks of a report: sections, tables, cells, number formats, and the order of architectures. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worldsim.evaluation.bootstrap import Estimate
from worldsim.evaluation.report.charts import Chart
from worldsim.models.sequence.architectures import ARCHITECTURES, REFERENCE_ARCHITECTURE, VARIANT_SEPARATOR


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """`tone` is a CSS class: better, worse, unknown or empty."""

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
    """`missing` is shown in place of results that were not given."""

    title: str
    lines: tuple[str, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    charts: tuple[Chart, ...] = ()
    missing: str = ""


def text_row(*texts: str) -> tuple[TableCell, ...]:
    return tuple(TableCell(text=text) for text in texts)


def sort_architectures(names: Iterable[str]) -> list[str]:
    """In the order of the registry; training variants follow their architecture."""
    order = list(ARCHITECTURES)

    def rank(name: str) -> tuple[int, str]:
        base = name.partition(VARIANT_SEPARATOR)[0]
        return (order.index(base) if base in order else len(order), name)

    return sorted(names, key=rank)


def reference_of(name: str) -> str:
    """The baseline of a run: `full`, or for a training variant the same name without its last variant."""
    return name.rpartition(VARIANT_SEPARATOR)[0] or REFERENCE_ARCHITECTURE


def color_of(architecture: str) -> int:
    """Color index, the same in every chart."""
    order = list(ARCHITECTURES)
    return order.index(architecture) if architecture in order else len(order)


def score_cell(score: Estimate | None) -> TableCell:
    if score is None:
        return TableCell(text="")
    text = format_value(score.value)
    if score.low is not None and score.high is not None:
        text += f" [{format_value(score.low)}, {format_value(score.high)}]"
    return TableCell(text=text)


def format_value(value: float) -> str:
    """About three digits; integers, which are counts, in full."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def format_signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'}{format_value(abs(value))}"
