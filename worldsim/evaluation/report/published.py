"""Results printed in the paper (`published.toml`), beside ours. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from worldsim.core.config import read_toml
from worldsim.evaluation.report.results import ComparisonRun, grouped, mean_score
from worldsim.evaluation.report.tables import ReportSection, ReportTable, TableCell, format_value, score_cell
from worldsim.presets.score_names import metric_name

PUBLISHED_RESULTS_FILE = Path(__file__).parent / "published.toml"


class PublishedRow(NamedTuple):
    architecture: str
    """Our name of it."""
    label: str
    """The paper's name of it."""
    values: tuple[float, ...]
    """One per metric of the table."""


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    name: str
    what: str
    task: str
    """Prefix of our scores: `retrieval` for `retrieval_psnr`."""
    metrics: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    stand_in: str
    """Our PSNR score that comes closest, for comparisons without that task; may be empty."""


@dataclass(frozen=True, kw_only=True)
class PublishedResults:
    source: str
    scale: str
    tables: tuple[PublishedTable, ...]
    figures: Mapping[str, str]
    """Figure to a summary of its curves."""


def read_published_results() -> PublishedResults:
    data = read_toml(PUBLISHED_RESULTS_FILE)
    tables = [
        PublishedTable(
            **{key: table[key] for key in ("name", "what", "task")},
            metrics=tuple(table["metrics"]),
            stand_in=table.get("stand_in", ""),
            rows=tuple(PublishedRow(row[0], row[1], tuple(row[2:])) for row in table["rows"]),
        )
        for table in data["tables"]
    ]
    return PublishedResults(
        source=data["source"], scale=data["scale"], tables=tuple(tables), figures=dict(data["figures"])
    )


def published_section(runs: Sequence[ComparisonRun], published: PublishedResults) -> ReportSection:
    experiments = list(dict.fromkeys(run.experiment for run in runs))
    tables = [
        _table(table, grouped(runs, experiment), experiment) for table in published.tables for experiment in experiments
    ]
    return ReportSection(
        title="Published results beside ours",
        lines=(
            f"{published.source}. Scale of the paper: {published.scale}",
            *(f"{name}. {text}" for name, text in published.figures.items()),
        ),
        tables=tuple(tables),
    )


def _table(table: PublishedTable, groups: Mapping[str, Sequence[ComparisonRun]], experiment: str) -> ReportTable:
    names = {metric: _matching_score(table, metric, groups) for metric in table.metrics}
    head = [f"{metric}, {where}" for metric, name in names.items() for where in ("paper", _column_label(name, table))]
    rows = []
    for row in table.rows:
        cells = [TableCell(text=row.label), TableCell(text=row.architecture)]
        for name, value in zip(names.values(), row.values, strict=True):
            ours = mean_score(groups.get(row.architecture, ()), name)
            cells += [
                TableCell(text=format_value(value)),
                score_cell(ours) if ours else TableCell(text="not measured", tone="unknown"),
            ]
        rows.append(tuple(cells))
    title = f"{table.name}: {table.what}" + (f" (ours: {experiment})" if experiment else "")
    return ReportTable(title=title, head=("paper", "ours", *head), rows=tuple(rows))


def _matching_score(table: PublishedTable, metric: str, groups: Mapping[str, Sequence[ComparisonRun]]) -> str:
    name = f"{table.task}_{metric.lower()}"
    is_scored = any(name in run.scores for runs in groups.values() for run in runs)
    return name if is_scored or metric != "PSNR" or not table.stand_in else table.stand_in


def _column_label(name: str, table: PublishedTable) -> str:
    return f"ours ({metric_name(name)})" if name == table.stand_in else "ours"
