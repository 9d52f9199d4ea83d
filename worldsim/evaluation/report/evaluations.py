"""Sections of evaluated presets: a table of all tasks, and quality by distance. Torch-free.

A new task needs no change here: in the JSON of an evaluation, every mapping with numbers is a row, and the mappings of
a list are the rows of one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from worldsim.evaluation.bootstrap import Estimate
from worldsim.evaluation.config import TASKS
from worldsim.evaluation.report.charts import Chart, ChartLine
from worldsim.evaluation.report.results import is_number
from worldsim.evaluation.report.tables import ReportSection, ReportTable, TableCell, score_cell, text_row
from worldsim.presets.score_names import METRIC_NAMES, metric_name, rollout_name, task_name

MISSING = "No evaluation. Create one with worldsim eval PRESET --json FILE."
NOT_SCORES = frozenset({"world", "config", "model", "versions", "seeds", "seconds", "left_out"})
GROUPS = frozenset({"regions"})
"""Keys that are left out of labels: those of their members say enough."""
TITLES = {"comparison": "frame distributions"}
DISTANCES = ("horizon", "distance", "frame")
"""Keys that tell the rows of a list apart."""
METRICS_EXPLAINED = (
    "PSNR (dB) and SSIM compare each generated frame with the true one; 95 % intervals in brackets. The autoencoder "
    "(true frames encoded and decoded) is the ceiling. Repeating the last frame is the score of a model without "
    "memory, the mean image that of a blurry average. Sharpness is gradient energy relative to the true frames: 1 is "
    "as sharp as they are, less is blurrier, more is noisier."
)

MetricScores: TypeAlias = Mapping[str, Estimate]
LabelledRow: TypeAlias = tuple[str, "float | None", "dict[str, Estimate]"]
"""Label, distance where it has one, scores."""


def evaluation_sections(evaluations: Sequence[Mapping[str, Any]]) -> list[ReportSection]:
    """The tasks explained, then one section per evaluated preset."""
    if not evaluations:
        return [ReportSection(title="Presets against ground truth", missing=MISSING)]
    tasks = tuple(text_row(task_name(task), text) for task, text in TASKS.items())
    table = ReportTable(title="Tasks", head=("task", "what is measured"), rows=tasks)
    explained = ReportSection(title="Tasks and metrics", lines=(METRICS_EXPLAINED,), tables=(table,))
    return [explained, *(_evaluation(evaluation) for evaluation in evaluations)]


def score_tables(evaluation: Mapping[str, Any]) -> dict[str, list[LabelledRow]]:
    """Display name of a task to its rows."""
    tasks = evaluation.get("tasks")
    found = {**evaluation, **(tasks if isinstance(tasks, Mapping) else {})}
    tables = {}
    for task, value in found.items():
        is_task = task not in NOT_SCORES and task != "tasks" and isinstance(value, (Mapping, list))
        if is_task and (rows := list(_rows("", None, value))):
            tables[TITLES.get(task) or task_name(task)] = rows
    return tables


def _rows(label: str, distance: float | None, value: Any) -> Iterator[LabelledRow]:
    if isinstance(value, list):
        for item in value:
            name = next((name for name in DISTANCES if isinstance(item, Mapping) and is_number(item.get(name))), None)
            if name is not None:
                at = float(item[name])
                rest = {key: part for key, part in item.items() if key != name}
                yield from _rows(_joined(label, f"frame {at:g}"), at, rest)
        return
    scores = _scores(value)
    if scores:
        yield label, distance, scores
    for key, part in value.items():
        if isinstance(part, (Mapping, list)) and key not in NOT_SCORES and not _is_score(part):
            name = "" if key in GROUPS else task_name(str(key))
            yield from _rows(_joined(label, name), distance, part)


def _scores(value: Mapping[str, Any]) -> dict[str, Estimate]:
    """Its numbers; NAME_low and NAME_high are the interval of NAME."""
    scores = {}
    for name, part in value.items():
        if _is_score(part):
            scores[name] = Estimate(value=part["value"], low=part.get("low"), high=part.get("high"))
        elif is_number(part) and name not in DISTANCES and not name.endswith(("_low", "_high")):
            low, high = value.get(f"{name}_low"), value.get(f"{name}_high")
            has_interval = is_number(low) and is_number(high)
            scores[name] = Estimate(value=part, low=low, high=high) if has_interval else Estimate(value=part)
    return scores


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _is_score(value: Any) -> bool:
    return isinstance(value, Mapping) and is_number(value.get("value"))


def _evaluation(evaluation: Mapping[str, Any]) -> ReportSection:
    title = f"Preset {evaluation.get('preset')}"
    tasks = score_tables(evaluation)
    if not tasks:
        return ReportSection(title=title, missing="This evaluation contains no scores.")
    compared = {task: rows for task, rows in tasks.items() if all("psnr" in scores for _, _, scores in rows)}
    others = {task: rows for task, rows in tasks.items() if task not in compared}
    together = [
        (_row_name(task, label, distance), scores)
        for task, rows in compared.items()
        for label, distance, scores in rows
    ]
    tables = (
        [_table("Generated frames against ground truth", together, all_columns=False), *_other_scores(together)]
        if together
        else []
    )
    tables += [_table(task, [(label, scores) for label, _, scores in rows]) for task, rows in others.items()]
    return ReportSection(
        title=title,
        lines=_about(evaluation),
        tables=tuple(tables),
        charts=tuple(chart for task, rows in tasks.items() for chart in _distance_charts(task, rows)),
    )


def _row_name(task: str, label: str, distance: float | None) -> str:
    if task == task_name("rollout") and distance is not None:
        return rollout_name(distance)
    return _joined(task, label)


def _about(evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    seeds, steps, context = (evaluation.get(key) for key in ("seeds", "steps", "context_frames"))
    parts = [
        f"{len(seeds)} held-out episodes" if isinstance(seeds, list) else "",
        f"{steps} denoising step{'' if steps == 1 else 's'} per frame" if steps else "",
        f"{context} true frames of context before the first generated one" if context else "",
    ]
    left_out = evaluation.get("left_out")
    reasons = left_out.items() if isinstance(left_out, Mapping) else ()
    return (
        *filter(None, ["; ".join(filter(None, parts))]),
        *(f"{task_name(str(task))} was skipped: {reason}" for task, reason in reasons),
    )


def _table(title: str, rows: Sequence[tuple[str, MetricScores]], *, all_columns: bool = True) -> ReportTable:
    """Columns in the order of METRIC_NAMES, then with `all_columns` those that are not among them."""
    found = dict.fromkeys(metric for _, scores in rows for metric in scores)
    metrics = [metric for metric in METRIC_NAMES if metric in found]
    metrics += [metric for metric in found if all_columns and metric not in METRIC_NAMES]
    body = tuple(
        (TableCell(text=label), *(score_cell(scores.get(metric)) for metric in metrics)) for label, scores in rows
    )
    return ReportTable(title=title, head=("", *map(metric_name, metrics)), rows=body)


def _other_scores(rows: Sequence[tuple[str, MetricScores]]) -> list[ReportTable]:
    """Scores that only some tasks have, one per line: as columns they would be mostly empty."""
    body = tuple(
        (TableCell(text=label), TableCell(text=metric_name(metric)), score_cell(score))
        for label, scores in rows
        for metric, score in scores.items()
        if metric not in METRIC_NAMES
    )
    return [ReportTable(title="Other scores of these tasks", head=("", "score", "value"), rows=body)] if body else []


def _distance_charts(task: str, rows: Sequence[LabelledRow]) -> list[Chart]:
    """PSNR and SSIM with their references, where a task was scored at three or more distances."""
    at = [(distance, scores) for _, distance, scores in rows if distance is not None]
    charts = []
    for name in ("psnr", "ssim"):
        metrics = dict.fromkeys(m for _, scores in at for m in scores if m == name or m.startswith(f"{name}_"))
        lines = [_distance_line(at, metric, color) for color, metric in enumerate(metrics) if "window" not in metric]
        lines = [line for line in lines if len(line.points) > 2]
        if any(not line.is_reference for line in lines):
            charts.append(
                Chart(
                    title=f"{task}: {metric_name(name)} by distance",
                    x_label="generated frames since the last true frame",
                    y_label=metric_name(name),
                    lines=tuple(lines),
                    is_log_x=True,
                )
            )
    return charts


def _distance_line(at: Sequence[tuple[float, MetricScores]], metric: str, color: int) -> ChartLine:
    scored = [(distance, scores[metric]) for distance, scores in at if metric in scores]
    has_band = all(score.low is not None for _, score in scored)
    return ChartLine(
        label=metric_name(metric),
        points=tuple((distance, score.value) for distance, score in scored),
        band=tuple((score.low or 0.0, score.high or 0.0) for _, score in scored) if has_band else (),
        color=color,
        is_reference="_" in metric,
    )
