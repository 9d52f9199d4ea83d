"""`worldsim report`: an HTML page of evaluation results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import tyro

from worldsim.cli.arguments import JsonOption, parse_arguments
from worldsim.cli.output import print_result
from worldsim.core.errors import UsageError
from worldsim.core.files import atomic_write
from worldsim.evaluation.report.results import Results, read_results


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    """Build an HTML report from evaluation results, with the commands to reproduce them."""

    results: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE", help_behavior_hint="")]]
    """Results of eval and cost (.json), contact sheets (.png), notes (.md, .txt), or folders of these."""
    out: Path = Path("report.html")
    """HTML file to write."""
    json: JsonOption = None


def run(argv: list[str]) -> int:
    from worldsim.evaluation.report.comparisons import differences
    from worldsim.evaluation.report.html_page import render

    arguments = parse_arguments(ReportArguments, argv, command="report")
    if not arguments.results:
        raise UsageError("no results given", hint="worldsim report assets/results --out report.html")
    results = read_results(arguments.results)
    html = render(results, command=["worldsim", "report", *argv], today=date.today())
    atomic_write(arguments.out, html)
    counts = summary(results)
    text = f"{arguments.out}: {', '.join(f'{n} {kind}' for kind, n in counts.items())}; {len(html) / 1e3:.0f} kB"
    data = {"out": str(arguments.out), **counts, "differences": differences(results.runs)}
    print_result(text, data, arguments.json)
    return 0


def summary(results: Results) -> dict[str, int]:
    """Number of results by kind."""
    return {
        "evaluations": len(results.evaluations),
        "costs": len(results.costs),
        "runs": len(results.runs),
        "sheets": len(results.sheets),
        "notes": len(results.notes),
    }
