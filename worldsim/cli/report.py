"""`worldsim report`: kept results as one HTML page."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import tyro

from worldsim.cli.arguments import JsonOption, parse_arguments
from worldsim.cli.output import STDOUT, write_json
from worldsim.core.errors import UsageError
from worldsim.evaluation.report.results import Results, read_results

HELP = "make one HTML page of kept results: tables, curves, contact sheets, and how to make them again"


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    results: tyro.conf.Positional[tuple[Annotated[Path, tyro.conf.arg(metavar="FILE")], ...]]
    """JSON of eval, cost and comparisons, PNG sheets, notes (.md, .txt), or folders of these."""
    out: Path = Path("report.html")
    """The page."""
    json: JsonOption = None


def run(argv: list[str]) -> int:
    from worldsim.evaluation.report.comparisons import differences
    from worldsim.evaluation.report.html_page import render, write_page

    arguments = parse_arguments(ReportArguments, argv, command="report", help=HELP)
    if not arguments.results:
        raise UsageError("no results were given", hint="worldsim report assets/results --out report.html")
    results = read_results(arguments.results)
    html = render(results, command=["worldsim", "report", *argv], today=date.today())
    write_page(arguments.out, html)
    counts = summary(results)
    if arguments.json is not None:
        write_json(arguments.json, {"out": str(arguments.out), **counts, "differences": differences(results.runs)})
    said = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    print(
        f"{arguments.out}: {said}; {len(html) / 1e3:.0f} kB",
        file=sys.stderr if arguments.json == STDOUT else sys.stdout,
    )
    return 0


def summary(results: Results) -> dict[str, int]:
    """How much of each kind went into the page."""
    return {
        "evaluations": len(results.evaluations),
        "costs": len(results.costs),
        "runs": len(results.runs),
        "sheets": len(results.sheets),
        "notes": len(results.notes),
    }
