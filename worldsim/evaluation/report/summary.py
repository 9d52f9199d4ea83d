"""The few numbers that the README shows of kept results. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worldsim.evaluation.report.comparisons import difference_cell, grouped, metrics_of
from worldsim.evaluation.report.results import ComparisonRun, Results
from worldsim.evaluation.report.scores import display_names
from worldsim.evaluation.report.significance import mean
from worldsim.evaluation.report.tables import ReportTable, TableCell, score_cell, sort_architectures
from worldsim.models.sequence.architectures import REFERENCE_ARCHITECTURE, VARIANT_SEPARATOR


def main_table(results: Results) -> ReportTable:
    """One row per architecture: the first score of the longest experiment, and the first cost measurement.

    What was trained another way is left to the report.
    """
    longest = max(results.runs, key=lambda run: run.updates, default=None)
    runs = grouped(results.runs, longest.experiment) if longest else {}
    runs = {name: group for name, group in runs.items() if VARIANT_SEPARATOR not in name}
    costs: dict[str, Any] = dict(results.costs[0]["architectures"]) if results.costs else {}
    metric = next(iter(metrics_of([run for group in runs.values() for run in group])), None)
    rows = []
    for name in sort_architectures({*runs, *(name for name in costs if not costs[name].get("same_as"))}):
        scores = _scores(name, runs.get(name, []), runs.get(REFERENCE_ARCHITECTURE, []), metric) if metric else ()
        rows.append((TableCell(text=f"`{name}`"), *scores, *(_cost(costs.get(name)) if costs else ())))
    head = ["architecture"]
    head += [display_names([metric])[0], f"minus `{REFERENCE_ARCHITECTURE}`"] if metric else []
    head += _cost_heads(costs) if costs else []
    return ReportTable(title="", head=tuple(head), rows=tuple(rows))


def _scores(
    name: str, runs: Sequence[ComparisonRun], reference: Sequence[ComparisonRun], metric: str
) -> tuple[TableCell, TableCell]:
    if name == REFERENCE_ARCHITECTURE or not runs or not reference:
        return score_cell(mean(runs, metric)), TableCell(text="")
    return score_cell(mean(runs, metric)), difference_cell(runs, reference, metric)


def _cost_heads(costs: Mapping[str, Any]) -> list[str]:
    frames = [cost["generation"][0]["frame"] for cost in costs.values() if cost["generation"]]
    clips = [sample["context_frames"] for cost in costs.values() for sample in cost["training"]]
    early = f"over frame {min(frames)}" if frames else ""
    training = f"training on {max(clips)} frames over {min(clips)}" if clips else "training"
    return [training, "last frame", f"its time {early}", "state", f"its size {early}"]


def _cost(costs: Any) -> tuple[TableCell, ...]:
    if not costs or not costs["generation"]:
        return (TableCell(text=""),) * 5
    training, first, last = costs["training"], costs["generation"][0], costs["generation"][-1]
    return (
        TableCell(text=f"x {training[-1]['ms'] / training[0]['ms']:.1f}" if training else ""),
        TableCell(text=f"{last['frame']:,}"),
        TableCell(text=f"x {last['ms_ratio']:.2f}"),
        TableCell(text=f"{last['state_bytes'] / 1e3:,.0f} kB"),
        TableCell(text=f"x {last['state_bytes'] / first['state_bytes']:.2f}"),
    )
