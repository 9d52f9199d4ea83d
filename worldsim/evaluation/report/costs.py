"""What architectures cost, as a section: a table and three charts (the paper's Figure 8). Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worldsim.evaluation.report.charts import Chart, ChartLine
from worldsim.evaluation.report.published_results import PublishedResults
from worldsim.evaluation.report.tables import ReportSection, ReportTable, TableCell, color_of, sort_architectures

MISSING = "No cost was given: worldsim cost --json FILE makes one."


def cost_sections(costs: Sequence[Mapping[str, Any]], published: PublishedResults) -> list[ReportSection]:
    if not costs:
        return [ReportSection(title="Cost", missing=MISSING)]
    return [_cost(cost, published) for cost in costs]


def _cost(cost: Mapping[str, Any], published: PublishedResults) -> ReportSection:
    architectures: Mapping[str, Any] = cost["architectures"]
    measured = {n: architectures[n] for n in sort_architectures(architectures) if not architectures[n].get("same_as")}
    lines = [str(cost.get("note", ""))]
    lines += [f"{name}: {costs['stopped']}." for name, costs in measured.items() if costs.get("stopped")]
    lines += [
        f"{name}: the network of {costs['same_as']}, and its cost."
        for name, costs in architectures.items()
        if costs.get("same_as")
    ]
    lines += [f"{f.name} of the paper. {f.says}" for f in published.figures if f.name == "Figure 8"]
    return ReportSection(
        title=f"Cost on {cost.get('device', 'a device')}, {cost.get('threads', '?')} thread(s)",
        lines=tuple(filter(None, lines)),
        tables=(cost_table(measured),),
        charts=tuple(
            chart
            for chart in (
                _cost_chart(measured, "training", "context_frames", "ms", 1, _TRAINING),
                _cost_chart(measured, "generation", "frame", "state_bytes", 1e-3, _MEMORY),
                _cost_chart(measured, "generation", "frame", "ms", 1, _TIME),
            )
            if chart.lines
        ),
    )


_TRAINING = ("Training: time per iteration", "frames of context in a clip", "ms")
_MEMORY = ("Generation: memory that must be kept", "generated frames", "kB of state")
_TIME = ("Generation: time per frame", "generated frames", "ms")


def _cost_chart(
    measured: Mapping[str, Any], part: str, x: str, y: str, scale: float, words: tuple[str, str, str]
) -> Chart:
    lines = tuple(
        ChartLine(
            label=name, color=color_of(name), points=tuple((sample[x], sample[y] * scale) for sample in costs[part])
        )
        for name, costs in measured.items()
        if costs[part]
    )
    return Chart(title=words[0], x_label=words[1], y_label=words[2], lines=lines, is_log_x=True, is_log_y=True)


def cost_table(measured: Mapping[str, Any]) -> ReportTable:
    """First and last sample of each architecture, and what became of it in between."""
    rows = []
    for name, costs in measured.items():
        training, generation = costs["training"], costs["generation"]
        rows.append(
            (
                TableCell(text=name),
                TableCell(text=f"{training[-1]['ms']:.1f} ms" if training else ""),
                TableCell(text=_growth(training)),
                TableCell(text=f"{generation[-1]['frame']:,}" if generation else ""),
                TableCell(text=f"{generation[-1]['ms']:.2f} ms" if generation else ""),
                TableCell(text=f"x {generation[-1]['ms_ratio']:.2f}" if generation else ""),
                TableCell(text=f"{generation[-1]['state_bytes'] / 1e3:,.0f} kB" if generation else ""),
                TableCell(
                    text=f"x {generation[-1]['state_bytes'] / generation[0]['state_bytes']:.2f}" if generation else ""
                ),
                TableCell(text=f"x {generation[-1]['resident_ratio']:.3f}" if generation else ""),
            )
        )
    heads = ("iteration, longest clip", "over the shortest", "last frame", "its time", "over the first sample's")
    return ReportTable(
        title="From the first sample to the last",
        head=("architecture", *heads, "state", "over the first sample's", "process memory"),
        rows=tuple(rows),
        caption=f"The first sample is frame {_first_frame(measured)}. Process memory is what the system counts, late "
        "over early, less the states kept for the timing: within what the allocator has in reserve it says little.",
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
