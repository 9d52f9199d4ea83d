"""Architectures compared: scores under equal training, published results beside ours, cost, and the README's table.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from worldsim.evaluation.bootstrap import Estimate
from worldsim.evaluation.report.charts import Chart, ChartLine
from worldsim.evaluation.report.results import (
    ComparisonRun,
    Curve,
    PublishedResults,
    PublishedTable,
    Results,
    grouped,
    mean_score,
    score_difference,
)
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
    text_row,
)
from worldsim.models.sequence.architectures import REFERENCE_ARCHITECTURE, VARIANT_SEPARATOR
from worldsim.presets.score_names import metric_name

TITLE = "Architectures under equal training"
NO_RUNS = "No comparison. Train several architectures with the same budget and pass their result files."
NO_COSTS = "No cost measurement. Create one with worldsim cost --json FILE."
REFERENCES = ("autoencoder", "mean_image", "repeat")
"""Scores that do not depend on the model, where a comparison has them among its scores."""
LOWER_IS_BETTER = ("lpips", "fvd", "frechet", "mse", "error", "distance")
"""Parts of the names of metrics for which lower is better; for all others higher is better."""
NOT_SIGNIFICANT = "not significant"


def comparison_sections(runs: Sequence[ComparisonRun], published: PublishedResults) -> list[ReportSection]:
    """One section per experiment, then the published results."""
    if not runs:
        return [ReportSection(title=TITLE, missing=NO_RUNS)]
    experiments = dict.fromkeys(run.experiment for run in runs)
    return [_comparison(experiment, runs) for experiment in experiments] + [published_section(runs, published)]


def _comparison(experiment: str, runs: Sequence[ComparisonRun]) -> ReportSection:
    groups = grouped(runs, experiment)
    all_runs = [run for group in groups.values() for run in group]
    metrics = metrics_of(all_runs)
    lines = [_budget_line(all_runs), *_reference_line(all_runs)]
    missing = sorted({reference_of(name) for name in groups} - set(groups))
    lines += [f"No runs of these baselines, so nothing is compared with them: {', '.join(missing)}."] if missing else []
    tables = [_scores_table(groups, metrics), *_differences_table(groups, metrics), *_steps_table(groups)]
    title = f"{TITLE}: {experiment}" if experiment else TITLE
    return ReportSection(title=title, lines=tuple(lines), tables=tuple(tables), charts=tuple(_distance_charts(groups)))


def metrics_of(runs: Sequence[ComparisonRun]) -> list[str]:
    """Scores of the models, without the references, which are the same for all."""
    return [name for name in dict.fromkeys(name for run in runs for name in run.scores) if name not in REFERENCES]


def _reference_line(runs: Sequence[ComparisonRun]) -> list[str]:
    found = {name: mean_score(runs, name) for name in REFERENCES}
    shown = [f"{metric_name(name)} {format_value(score.value)}" for name, score in found.items() if score]
    return [f"References, the same for all: {', '.join(shown)}."] if shown else []


def _budget_line(runs: Sequence[ComparisonRun]) -> str:
    """Warns if the budgets differ."""
    budgets = sorted({(run.updates, run.frames) for run in runs})
    if len(budgets) == 1:
        return f"Every run: {budgets[0][0]:,} training steps on {budgets[0][1]:,} frames."
    shown = "; ".join(f"{updates:,} training steps on {frames:,} frames" for updates, frames in budgets)
    return f"Training budgets differ: {shown}. Do not attribute differences to architecture alone."


def _scores_table(groups: Mapping[str, Sequence[ComparisonRun]], metrics: Sequence[str]) -> ReportTable:
    rows = []
    for name, runs in groups.items():
        minutes = sum(run.train_s for run in runs) / len(runs) / 60
        about = text_row(name, f"{runs[0].parameters:,}", f"{len(runs)}", f"{minutes:.1f} min")
        rows.append((*about, *(score_cell(mean_score(runs, metric)) for metric in metrics)))
    named = {metric: run.references.get(metric, {}) for runs in groups.values() for run in runs for metric in metrics}
    for reference in dict.fromkeys(name for names in named.values() for name in names):
        values = [named[metric].get(reference) for metric in metrics]
        cells = [score_cell(None if value is None else Estimate(value=value)) for value in values]
        rows.append((*text_row(reference, "", "", ""), *cells))
    return ReportTable(
        title="Scores",
        head=("architecture", "parameters", "training seeds", "training time", *map(metric_name, metrics)),
        rows=tuple(rows),
        caption="Means over training seeds and episodes, with bootstrap 95 % intervals over both in brackets.",
    )


def _differences_table(groups: Mapping[str, Sequence[ComparisonRun]], metrics: Sequence[str]) -> list[ReportTable]:
    """Empty if there is nothing to compare."""
    rows = []
    for name, runs in groups.items():
        baseline = reference_of(name)
        baseline_runs = groups.get(baseline, ())
        if name != baseline and baseline_runs:
            cells = [difference_cell(runs, baseline_runs, metric) for metric in metrics]
            rows.append((*text_row(name, baseline, f"{len(runs)} vs. {len(baseline_runs)}"), *cells))
    table = ReportTable(
        title="Differences from the baseline",
        head=("architecture", "baseline", "training seeds", *map(metric_name, metrics)),
        rows=tuple(rows),
        caption="Architecture minus baseline, with bootstrap 95 % intervals over episodes (resampled in pairs) and "
        "training seeds in brackets; not significant if the interval includes 0. With one training seed per side, the "
        "interval does not include the randomness of training; with two it is included but underestimated. Not "
        "corrected for multiple comparisons.",
    )
    return [table] if rows else []


def _steps_table(groups: Mapping[str, Sequence[ComparisonRun]]) -> list[ReportTable]:
    """Quality by number of denoising steps, means over training seeds. Empty if it was not measured."""
    all_runs = [run for runs in groups.values() for run in runs]
    metrics = list(dict.fromkeys(metric for run in all_runs for metric in run.by_steps))
    steps = sorted({x for run in all_runs for curve in run.by_steps.values() for x, _ in curve})
    rows = []
    for name, runs in groups.items():
        curves = {metric: dict(_mean_curve([run.by_steps.get(metric, ()) for run in runs])) for metric in metrics}
        if any(curves.values()):
            values = [curves[metric].get(x) for metric in metrics for x in steps]
            rows.append(text_row(name, *("" if v is None else f"{v:.2f}" for v in values)))
    table = ReportTable(
        title="Quality by number of denoising steps",
        head=("architecture", *(f"{metric_name(metric)}, {x:g}" for metric in metrics for x in steps)),
        rows=tuple(rows),
        caption="The same weights throughout. Models trained without shortcut objectives may lose quality with fewer "
        "steps.",
    )
    return [table] if rows else []


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean at every x that all non-empty curves have."""
    present = [dict(curve) for curve in curves if curve]
    shared = sorted(set.intersection(*map(set, present))) if present else []
    return tuple((x, sum(curve[x] for curve in present) / len(present)) for x in shared)


def difference_cell(runs: Sequence[ComparisonRun], baseline: Sequence[ComparisonRun], metric: str) -> TableCell:
    """The difference, its interval and the verdict."""
    found = score_difference(runs, baseline, metric)
    if found is None:
        return TableCell(text="not scored", tone="unknown")
    text = verdict(metric, found)
    if found.low is None or found.high is None:
        return TableCell(text=f"{format_signed(found.value)} ({text})")
    shown = f"{format_signed(found.value)} [{format_signed(found.low)}, {format_signed(found.high)}] {text}"
    return TableCell(text=shown, tone=text if found.is_significant else "")


def verdict(metric: str, found: Estimate) -> str:
    """better, worse, not significant, or why it is unknown."""
    if found.low is None:
        return "no per-episode scores"
    if not found.is_significant:
        return NOT_SIGNIFICANT
    return "better" if is_better(metric, found.value) else "worse"


def is_better(metric: str, difference: float) -> bool:
    """Whether a score that is higher by `difference` is the better one."""
    is_lower_better = any(part in metric.lower() for part in LOWER_IS_BETTER)
    return difference < 0 if is_lower_better else difference > 0


def differences(runs: Sequence[ComparisonRun]) -> list[dict[str, Any]]:
    """The tables of differences as JSON."""
    found = []
    for experiment in dict.fromkeys(run.experiment for run in runs):
        groups = grouped(runs, experiment)
        for name, group in groups.items():
            baseline = reference_of(name)
            baseline_runs = groups.get(baseline, [])
            for metric in metrics_of(group):
                estimate = score_difference(group, baseline_runs, metric) if name != baseline else None
                if estimate is not None:
                    about = {"experiment": experiment, "architecture": name, "reference": baseline, "metric": metric}
                    seeds = {"seeds": len(group), "reference_seeds": len(baseline_runs)}
                    found.append({**about, **seeds, **asdict(estimate), "verdict": verdict(metric, estimate)})
    return found


def _distance_charts(groups: Mapping[str, Sequence[ComparisonRun]]) -> list[Chart]:
    """The paper's Figure 7: the mean over training seeds at every distance that all of them have."""
    metrics = dict.fromkeys(metric for runs in groups.values() for run in runs for metric in run.by_distance)
    charts = []
    for metric in metrics:
        curves = {name: _mean_curve([run.by_distance.get(metric, ()) for run in runs]) for name, runs in groups.items()}
        lines = [ChartLine(label=name, points=curve, color=color_of(name)) for name, curve in curves.items() if curve]
        if lines:
            charts.append(
                Chart(
                    title=f"{metric_name(metric)} by distance (the paper's Figure 7)",
                    x_label="frames between the generated frame and the one it shows again",
                    y_label=metric_name(metric),
                    lines=tuple(lines),
                )
            )
    return charts


def published_section(runs: Sequence[ComparisonRun], published: PublishedResults) -> ReportSection:
    experiments = dict.fromkeys(run.experiment for run in runs)
    tables = [_published_table(table, runs, experiment) for table in published.tables for experiment in experiments]
    return ReportSection(
        title="Published results beside ours",
        lines=(
            f"{published.source}. Scale of the paper: {published.scale}",
            *(f"{name}. {text}" for name, text in published.figures.items()),
        ),
        tables=tuple(tables),
    )


def _published_table(table: PublishedTable, runs: Sequence[ComparisonRun], experiment: str) -> ReportTable:
    groups = grouped(runs, experiment)
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


def cost_sections(costs: Sequence[Mapping[str, Any]], published: PublishedResults) -> list[ReportSection]:
    if not costs:
        return [ReportSection(title="Cost", missing=NO_COSTS)]
    return [_cost(cost, published) for cost in costs]


def _cost(cost: Mapping[str, Any], published: PublishedResults) -> ReportSection:
    architectures: Mapping[str, Any] = cost["architectures"]
    measured = {n: architectures[n] for n in sort_architectures(architectures) if not architectures[n].get("same_as")}
    lines = [str(cost.get("note", ""))]
    lines += [f"{name}: {costs['stopped']}." for name, costs in measured.items() if costs.get("stopped")]
    lines += [
        f"{name}: same network as {costs['same_as']}." for name, costs in architectures.items() if costs.get("same_as")
    ]
    if figure := published.figures.get("Figure 8"):
        lines += [f"Figure 8 of the paper. {figure}"]
    charts = (
        _cost_chart(measured, "training", "context_frames", "ms", "Training: time per step", "ms"),
        _cost_chart(measured, "generation", "frame", "state_bytes", "Generation: memory of the state", "kB"),
        _cost_chart(measured, "generation", "frame", "ms", "Generation: time per frame", "ms"),
    )
    return ReportSection(
        title=f"Cost on {cost.get('device', 'a device')}, CPU threads: {cost.get('threads', '?')}",
        lines=tuple(filter(None, lines)),
        tables=(cost_table(measured),),
        charts=tuple(chart for chart in charts if chart.lines),
    )


def _cost_chart(measured: Mapping[str, Any], part: str, x: str, y: str, title: str, unit: str) -> Chart:
    scale = 1e-3 if unit == "kB" else 1
    points = {name: tuple((s[x], s[y] * scale) for s in costs[part]) for name, costs in measured.items()}
    lines = tuple(ChartLine(label=n, points=found, color=color_of(n)) for n, found in points.items() if found)
    x_label = "frames in a clip" if part == "training" else "generated frames"
    return Chart(title=title, x_label=x_label, y_label=unit, lines=lines, is_log_x=True, is_log_y=True)


def cost_table(measured: Mapping[str, Any]) -> ReportTable:
    """The last sample of each architecture, relative to the first."""
    ratio = "ratio to the first sample"
    return ReportTable(
        title="From the first sample to the last",
        head=(
            *("architecture", "training step, longest clip", "ratio to the shortest"),
            *("last frame", "time per frame", ratio, "state", ratio, "process memory"),
        ),
        rows=tuple(text_row(name, *_cost_cells(costs)) for name, costs in measured.items()),
        caption=f"The first sample is frame {_first_frame(measured)}. Process memory is resident memory at the last "
        "sample relative to the first, without the states kept for timing; differences within the allocator's reserve "
        "mean little.",
    )


def _cost_cells(costs: Mapping[str, Any]) -> tuple[str, ...]:
    training, generation = costs["training"], costs["generation"]
    trained = (f"{training[-1]['ms']:.1f} ms" if training else "", _growth(training))
    if not generation:
        return (*trained, *[""] * 6)
    first, last = generation[0], generation[-1]
    return (
        *trained,
        f"{last['frame']:,}",
        f"{last['ms']:.2f} ms",
        f"x {last['ms_ratio']:.2f}",
        f"{last['state_bytes'] / 1e3:,.0f} kB",
        f"x {last['state_bytes'] / first['state_bytes']:.2f}",
        f"x {last['resident_ratio']:.3f}",
    )


def _first_frame(measured: Mapping[str, Any]) -> str:
    return " or ".join(
        f"{n:,}" for n in sorted({s["frame"] for costs in measured.values() for s in costs["generation"][:1]})
    )


def _growth(training: Sequence[Mapping[str, float]]) -> str:
    if len(training) < 2:
        return ""
    first, last = training[0], training[-1]
    times_longer = last["context_frames"] / first["context_frames"]
    return f"x {last['ms'] / first['ms']:.1f} for a clip x {times_longer:g}"


def main_table(results: Results) -> ReportTable:
    """For the README: one row per architecture with its main score and cost.

    The first score of the experiment with most training steps, and the first cost measurement. Training variants are
    left to the report.
    """
    longest = max(results.runs, key=lambda run: run.updates, default=None)
    runs = grouped(results.runs, longest.experiment) if longest else {}
    runs = {name: group for name, group in runs.items() if VARIANT_SEPARATOR not in name}
    costs: dict[str, Any] = dict(results.costs[0]["architectures"]) if results.costs else {}
    metric = next(iter(metrics_of([run for group in runs.values() for run in group])), None)
    rows = []
    for name in sort_architectures({*runs, *(name for name in costs if not costs[name].get("same_as"))}):
        scores = _main_scores(name, runs.get(name, []), runs.get(REFERENCE_ARCHITECTURE, []), metric) if metric else ()
        rows.append((TableCell(text=f"`{name}`"), *scores, *(_main_costs(costs.get(name)) if costs else ())))
    head = ["architecture"]
    head += [metric_name(metric), f"minus `{REFERENCE_ARCHITECTURE}`"] if metric else []
    head += _main_cost_heads(costs) if costs else []
    return ReportTable(title="", head=tuple(head), rows=tuple(rows))


def _main_scores(
    name: str, runs: Sequence[ComparisonRun], baseline: Sequence[ComparisonRun], metric: str
) -> tuple[TableCell, TableCell]:
    has_difference = name != REFERENCE_ARCHITECTURE and runs and baseline
    difference = difference_cell(runs, baseline, metric) if has_difference else TableCell(text="")
    return score_cell(mean_score(runs, metric)), difference


def _main_cost_heads(costs: Mapping[str, Any]) -> list[str]:
    frames = [cost["generation"][0]["frame"] for cost in costs.values() if cost["generation"]]
    clips = [sample["context_frames"] for cost in costs.values() for sample in cost["training"]]
    early = f" relative to frame {min(frames)}" if frames else ""
    training = f"training step, {max(clips)} frames relative to {min(clips)}" if clips else "training step"
    return [training, "last frame", f"time per frame{early}", "state", f"state{early}"]


def _main_costs(costs: Any) -> tuple[TableCell, ...]:
    if not costs or not costs["generation"]:
        return text_row(*[""] * 5)
    training = costs["training"]
    _, _, last_frame, _, *ratios, _ = _cost_cells(costs)
    return text_row(f"x {training[-1]['ms'] / training[0]['ms']:.1f}" if training else "", last_frame, *ratios)
