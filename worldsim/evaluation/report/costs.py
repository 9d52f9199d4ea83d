"""Cost measurements as a section: a table and three charts (the paper's Figure 8). Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worldsim.evaluation.report.charts import Chart, ChartLine
from worldsim.evaluation.report.published import PublishedResults
from worldsim.evaluation.report.tables import ReportSection, ReportTable, color_of, sort_architectures, text_row

MISSING = "No cost measurement. Create one with worldsim cost --json FILE."


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
        f"{name}: same network as {costs['same_as']}." for name, costs in architectures.items() if costs.get("same_as")
    ]
    if figure := published.figures.get("Figure 8"):
        lines += [f"Figure 8 of the paper. {figure}"]
    charts = (
        _chart(measured, "training", "context_frames", "ms", "Training: time per step", "frames in a clip", "ms"),
        _chart(
            measured, "generation", "frame", "state_bytes", "Generation: memory of the state", "generated frames", "kB"
        ),
        _chart(measured, "generation", "frame", "ms", "Generation: time per frame", "generated frames", "ms"),
    )
    return ReportSection(
        title=f"Cost on {cost.get('device', 'a device')}, {cost.get('threads', '?')} thread(s)",
        lines=tuple(filter(None, lines)),
        tables=(cost_table(measured),),
        charts=tuple(chart for chart in charts if chart.lines),
    )


def _chart(measured: Mapping[str, Any], part: str, x: str, y: str, title: str, x_label: str, unit: str) -> Chart:
    scale = 1e-3 if unit == "kB" else 1
    lines = tuple(
        ChartLine(
            label=name, color=color_of(name), points=tuple((sample[x], sample[y] * scale) for sample in costs[part])
        )
        for name, costs in measured.items()
        if costs[part]
    )
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
        rows=tuple(text_row(name, *_cells(costs["training"], costs["generation"])) for name, costs in measured.items()),
        caption=f"The first sample is frame {_first_frame(measured)}. Process memory is resident memory at the last "
        "sample relative to the first, without the states kept for timing; differences within the allocator's reserve "
        "mean little.",
    )


def _cells(training: Sequence[Mapping[str, float]], generation: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    train_ms = f"{training[-1]['ms']:.1f} ms" if training else ""
    if not generation:
        return (train_ms, _growth(training), *[""] * 6)
    first, last = generation[0], generation[-1]
    return (
        train_ms,
        _growth(training),
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
