"""Evaluated presets as sections: a table per task, and quality by distance. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from worldsim.evaluation.report.charts import Chart, ChartLine
from worldsim.evaluation.report.scores import DISPLAY_NAMES, LabelledRow, ReportScore, display_names, score_tables
from worldsim.evaluation.report.tables import ReportSection, ReportTable, TableCell, score_cell

MISSING = "No evaluation was given: worldsim eval PRESET --json FILE makes one."

LabelledScores: TypeAlias = tuple[str, Mapping[str, ReportScore]]


def evaluation_sections(evaluations: Sequence[Mapping[str, Any]]) -> list[ReportSection]:
    """One per evaluated preset."""
    if not evaluations:
        return [ReportSection(title="Presets against their true worlds", missing=MISSING)]
    return [_evaluation(evaluation) for evaluation in evaluations]


def _evaluation(evaluation: Mapping[str, Any]) -> ReportSection:
    title = f"Preset {evaluation.get('preset')}"
    tasks = score_tables(evaluation)
    if not tasks:
        return ReportSection(title=title, missing="This evaluation holds no scores.")
    compared = {task: rows for task, rows in tasks.items() if all("psnr" in scores for _, _, scores in rows)}
    others = {task: rows for task, rows in tasks.items() if task not in compared}
    together = [
        (", ".join(filter(None, (task, label))), scores) for task in compared for label, _, scores in tasks[task]
    ]
    tables = (
        [_table("Frames against the truth", together, all_columns=False), *_other_scores(together)] if together else []
    )
    tables += [_table(task, [(label, scores) for label, _, scores in rows]) for task, rows in others.items()]
    return ReportSection(
        title=title,
        lines=_about(evaluation),
        tables=tuple(tables),
        charts=tuple(chart for task, rows in tasks.items() for chart in _distance_charts(task, rows)),
    )


def _about(evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    seeds, steps, context = (evaluation.get(key) for key in ("seeds", "steps", "context_frames"))
    parts = [
        f"{len(seeds)} held-out walks" if isinstance(seeds, list) else "",
        f"{steps} denoising step(s) per frame" if steps else "",
        f"{context} true frames before the first generated one" if context else "",
    ]
    explained = (
        "PSNR in dB; in brackets the 95 % interval. The autoencoder's column is the ceiling: the truth through the "
        "autoencoder. The last seen frame and the mean image are what a model without memory, and fog, would score."
    )
    left_out = evaluation.get("left_out")
    reasons = left_out.items() if isinstance(left_out, Mapping) else ()
    return (
        *filter(None, ["; ".join(filter(None, parts))]),
        explained,
        *(f"{str(task).replace('_', ' ')}: left out, {reason}" for task, reason in reasons),
    )


def _table(title: str, rows: Sequence[LabelledScores], *, all_columns: bool = True) -> ReportTable:
    """Columns in the order of HEADINGS, then, where it is to be the whole, those that are not among them."""
    found = dict.fromkeys(metric for _, scores in rows for metric in scores)
    metrics = [metric for metric in DISPLAY_NAMES if metric in found]
    metrics += [metric for metric in found if all_columns and metric not in DISPLAY_NAMES]
    body = tuple(
        (TableCell(text=label), *(score_cell(scores.get(metric)) for metric in metrics)) for label, scores in rows
    )
    return ReportTable(title=title, head=("", *display_names(metrics)), rows=body)


def _other_scores(rows: Sequence[LabelledScores]) -> list[ReportTable]:
    """What only some of these tasks have: a line each, for as columns they would be mostly empty."""
    body = tuple(
        (TableCell(text=label), TableCell(text=display_names([metric])[0]), score_cell(score))
        for label, scores in rows
        for metric, score in scores.items()
        if metric not in DISPLAY_NAMES
    )
    return (
        [ReportTable(title="Further figures of these tasks", head=("", "figure", "value"), rows=body)] if body else []
    )


def _distance_charts(task: str, rows: Sequence[LabelledRow]) -> list[Chart]:
    """PSNR and SSIM with their references where a task was scored at three distances or more."""
    at = [(distance, scores) for _, distance, scores in rows if distance is not None]
    charts = []
    for name in ("psnr", "ssim"):
        metrics = dict.fromkeys(m for _, scores in at for m in scores if m == name or m.startswith(f"{name}_"))
        lines = [_distance_line(at, metric, color) for color, metric in enumerate(metrics) if "window" not in metric]
        lines = [line for line in lines if len(line.points) > 2]
        if any(not line.is_reference for line in lines):
            charts.append(
                Chart(
                    title=f"{task}: {display_names([name])[0]} by distance",
                    x_label="generated frames since the last true one",
                    y_label=display_names([name])[0],
                    lines=tuple(lines),
                    is_log_x=True,
                )
            )
    return charts


def _distance_line(at: Sequence[tuple[float, Mapping[str, ReportScore]]], metric: str, color: int) -> ChartLine:
    scored = [(distance, scores[metric]) for distance, scores in at if metric in scores]
    has_band = all(score.low is not None for _, score in scored)
    return ChartLine(
        label=display_names([metric])[0],
        points=tuple((distance, score.value) for distance, score in scored),
        band=tuple((score.low or 0.0, score.high or 0.0) for _, score in scored) if has_band else (),
        color=color,
        is_reference="_" in metric,
    )
