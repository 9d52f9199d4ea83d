"""Architectures that were trained alike: scores, what differs from the reference, the paper's tables. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from worldsim.evaluation.report.charts import Chart, ChartLine
from worldsim.evaluation.report.published_results import PublishedResults, PublishedTable
from worldsim.evaluation.report.results import ComparisonRun, Curve
from worldsim.evaluation.report.scores import ReportScore, display_names
from worldsim.evaluation.report.significance import Estimate, difference, is_better, mean
from worldsim.evaluation.report.tables import (
    ReportSection,
    ReportTable,
    TableCell,
    color_of,
    format_signed,
    format_value,
    reference_of,
    score_cell,
    sort_architectures,
)

MISSING = "No comparison was given: runs of several architectures, trained alike."
REFERENCES = ("autoencoder", "mean_image", "repeat")
"""Scores that do not depend on the model, should a comparison hold them beside the others."""
NOT_SIGNIFICANT = "not significant"


def comparison_sections(runs: Sequence[ComparisonRun], published: PublishedResults) -> list[ReportSection]:
    """One per experiment: scores, differences, quality by steps and by distance; then the paper's tables."""
    if not runs:
        return [ReportSection(title="Architectures, trained alike", missing=MISSING)]
    experiments = dict.fromkeys(run.experiment for run in runs)
    return [_comparison(experiment, runs) for experiment in experiments] + [_published_section(runs, published)]


def grouped(runs: Iterable[ComparisonRun], experiment: str) -> dict[str, list[ComparisonRun]]:
    """Runs by architecture, in the order of the registry."""
    groups: dict[str, list[ComparisonRun]] = {}
    for run in runs:
        if run.experiment == experiment:
            groups.setdefault(run.architecture, []).append(run)
    return {name: groups[name] for name in sort_architectures(groups)}


def _comparison(experiment: str, runs: Sequence[ComparisonRun]) -> ReportSection:
    groups = grouped(runs, experiment)
    all_runs = [run for group in groups.values() for run in group]
    metrics = metrics_of(all_runs)
    lines = [_budget_line(all_runs), *_reference_line(all_runs)]
    missing = {reference_of(name) for name in groups} - set(groups)
    lines += [f"No run of {name} is among these: nothing to hold the others against." for name in sorted(missing)]
    tables = [_scores_table(groups, metrics), *_differences_table(groups, metrics), *_steps_table(groups)]
    title = f"Architectures, trained alike: {experiment}" if experiment else "Architectures, trained alike"
    return ReportSection(title=title, lines=tuple(lines), tables=tuple(tables), charts=tuple(_quality_charts(groups)))


def metrics_of(runs: Sequence[ComparisonRun]) -> list[str]:
    """Scores of the models; what is the same for all is not among them."""
    return [name for name in dict.fromkeys(name for run in runs for name in run.scores) if name not in REFERENCES]


def _reference_line(runs: Sequence[ComparisonRun]) -> list[str]:
    found = {name: mean(runs, name) for name in REFERENCES}
    shown = [f"{display_names([name])[0]} {format_value(score.value)}" for name, score in found.items() if score]
    return [f"The same for all: {', '.join(shown)}."] if shown else []


def _budget_line(runs: Sequence[ComparisonRun]) -> str:
    """Says so where the runs were not trained alike."""
    budgets = sorted({(run.updates, run.frames) for run in runs})
    if len(budgets) == 1:
        return f"Every run: {budgets[0][0]:,} updates on {budgets[0][1]:,} frames."
    shown = "; ".join(f"{updates:,} updates on {frames:,} frames" for updates, frames in budgets)
    return f"Not the same budget for all: {shown}. What is compared below differs in more than its architecture."


def _scores_table(groups: Mapping[str, Sequence[ComparisonRun]], metrics: Sequence[str]) -> ReportTable:
    rows = []
    for name, runs in groups.items():
        cells = [
            TableCell(text=name),
            TableCell(text=f"{runs[0].parameters:,}"),
            TableCell(text=f"{len(runs)}"),
            TableCell(text=f"{sum(run.train_s for run in runs) / len(runs) / 60:.1f} min"),
            *(score_cell(mean(runs, metric)) for metric in metrics),
        ]
        rows.append(tuple(cells))
    named = {metric: run.references.get(metric, {}) for runs in groups.values() for run in runs for metric in metrics}
    for reference in dict.fromkeys(name for names in named.values() for name in names):
        cells = [_reference_cell(named[metric].get(reference)) for metric in metrics]
        rows.append((TableCell(text=reference), TableCell(text=""), TableCell(text=""), TableCell(text=""), *cells))
    return ReportTable(
        title="Scores",
        head=("architecture", "parameters", "training seeds", "training", *display_names(metrics)),
        rows=tuple(rows),
        caption="Means over training seeds and walks; in brackets the 95 % interval of a bootstrap over both.",
    )


def _differences_table(groups: Mapping[str, Sequence[ComparisonRun]], metrics: Sequence[str]) -> list[ReportTable]:
    """None where there is nothing to compare."""
    rows = []
    for name, runs in groups.items():
        against = reference_of(name)
        reference = groups.get(against, ())
        if name != against and reference:
            cells = [difference_cell(runs, reference, metric) for metric in metrics]
            seeds = f"{len(runs)} against {len(reference)}"
            rows.append((TableCell(text=name), TableCell(text=against), TableCell(text=seeds), *cells))
    table = ReportTable(
        title="Differences",
        head=("architecture", "minus", "training seeds", *display_names(metrics)),
        rows=tuple(rows),
        caption="In brackets the 95 % interval of a bootstrap over walks (drawn "
        "in pairs) and training seeds. Not significant: the interval includes 0. With one training seed a side, chance "
        "in training is not in the interval; with two it is there, but understated. No correction for the number of "
        "comparisons.",
    )
    return [table] if rows else []


def _steps_table(groups: Mapping[str, Sequence[ComparisonRun]]) -> list[ReportTable]:
    """Quality against the sampler's steps, means over training seeds. None where it was not measured."""
    all_runs = [run for runs in groups.values() for run in runs]
    metrics = list(dict.fromkeys(metric for run in all_runs for metric in run.by_steps))
    steps = sorted({x for run in all_runs for curve in run.by_steps.values() for x, _ in curve})
    rows = []
    for name, runs in groups.items():
        curves = {metric: dict(_mean_curve([run.by_steps.get(metric, ()) for run in runs])) for metric in metrics}
        if any(curves.values()):
            values = [curves[metric].get(x) for metric in metrics for x in steps]
            rows.append((TableCell(text=name), *(TableCell(text="" if v is None else f"{v:.2f}") for v in values)))
    table = ReportTable(
        title="Quality against steps of the sampler",
        head=("architecture", *(f"{title}, {x:g}" for title in display_names(metrics) for x in steps)),
        rows=tuple(rows),
        caption="The same weights throughout. One trained without shortcuts may lose by fewer steps.",
    )
    return [table] if rows else []


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean at every place that all of them have; those without any do not count."""
    there = [dict(curve) for curve in curves if curve]
    shared = sorted(set.intersection(*map(set, there))) if there else []
    return tuple((x, sum(curve[x] for curve in there) / len(there)) for x in shared)


def difference_cell(runs: Sequence[ComparisonRun], reference: Sequence[ComparisonRun], metric: str) -> TableCell:
    """The difference, its interval, and what it says."""
    found = difference(runs, reference, metric)
    if found is None:
        return TableCell(text="not scored", tone="unknown")
    said = verdict(metric, found)
    if found.low is None or found.high is None:
        return TableCell(text=f"{format_signed(found.value)} ({said})")
    shown = f"{format_signed(found.value)} [{format_signed(found.low)}, {format_signed(found.high)}] {said}"
    return TableCell(text=shown, tone=said if found.is_significant else "")


def verdict(metric: str, found: Estimate) -> str:
    """better, worse, not significant, or that nobody can tell."""
    if found.low is None:
        return "no walks kept"
    if not found.is_significant:
        return NOT_SIGNIFICANT
    return "better" if is_better(metric, found.value) else "worse"


def differences(runs: Sequence[ComparisonRun]) -> list[dict[str, Any]]:
    """As the differences' tables, for machines."""
    found = []
    for experiment in dict.fromkeys(run.experiment for run in runs):
        groups = grouped(runs, experiment)
        for name, group in groups.items():
            against = reference_of(name)
            reference = groups.get(against, [])
            for metric in metrics_of(group):
                estimate = difference(group, reference, metric) if name != against else None
                if estimate is not None:
                    about = {"experiment": experiment, "architecture": name, "reference": against, "metric": metric}
                    seeds = {"seeds": len(group), "reference_seeds": len(reference)}
                    found.append({**about, **seeds, **asdict(estimate), "verdict": verdict(metric, estimate)})
    return found


def _quality_charts(groups: Mapping[str, Sequence[ComparisonRun]]) -> list[Chart]:
    """Figure 7: the mean over training seeds at every distance that all of them have."""
    metrics = dict.fromkeys(metric for runs in groups.values() for run in runs for metric in run.by_distance)
    charts = []
    for metric in metrics:
        lines = []
        for name, runs in groups.items():
            points = _mean_curve([run.by_distance.get(metric, ()) for run in runs])
            if points:
                lines.append(ChartLine(label=name, points=points, color=color_of(name)))
        if lines:
            charts.append(
                Chart(
                    title=f"{display_names([metric])[0]} by distance (the paper's Figure 7)",
                    x_label="frames between the generated frame and the one it shows again",
                    y_label=display_names([metric])[0],
                    lines=tuple(lines),
                )
            )
    return charts


def _published_section(runs: Sequence[ComparisonRun], published: PublishedResults) -> ReportSection:
    experiments = list(dict.fromkeys(run.experiment for run in runs))
    tables = [
        _published_table(table, grouped(runs, experiment), experiment)
        for table in published.tables
        for experiment in experiments
    ]
    return ReportSection(
        title="The paper's numbers beside these",
        lines=(
            f"{published.source}. Scale there: {published.scale}",
            *(f"{f.name}. {f.says}" for f in published.figures),
        ),
        tables=tuple(tables),
    )


def _published_table(
    table: PublishedTable, groups: Mapping[str, Sequence[ComparisonRun]], experiment: str
) -> ReportTable:
    names = {metric: _matching_score(table, metric, groups) for metric in table.metrics}
    head = [f"{metric}, {where}" for metric, name in names.items() for where in ("paper", _column_label(name, table))]
    rows = []
    for row in table.rows:
        cells = [TableCell(text=row.label), TableCell(text=row.architecture)]
        for name, value in zip(names.values(), row.values, strict=True):
            ours = mean(groups.get(row.architecture, ()), name)
            cells += [
                TableCell(text=format_value(value)),
                score_cell(ours) if ours else TableCell(text="not measured", tone="unknown"),
            ]
        rows.append(tuple(cells))
    title = f"{table.name}: {table.what}" + (f" (here: {experiment})" if experiment else "")
    return ReportTable(title=title, head=("paper", "here", *head), rows=tuple(rows))


def _matching_score(table: PublishedTable, metric: str, groups: Mapping[str, Sequence[ComparisonRun]]) -> str:
    name = f"{table.task}_{metric.lower()}"
    is_there = any(name in run.scores for runs in groups.values() for run in runs)
    return name if is_there or metric != "PSNR" or not table.stand_in else table.stand_in


def _column_label(name: str, table: PublishedTable) -> str:
    return f"here ({display_names([name])[0]})" if name == table.stand_in else "here"


def _reference_cell(value: float | None) -> TableCell:
    return score_cell(None if value is None else ReportScore(value=value))
