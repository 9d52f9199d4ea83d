"""`worldsim report`: kept results as one HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import tyro

from worldsim.cli.arguments import parse_arguments
from worldsim.core.errors import UsageError
from worldsim.evaluation.page.results import Results, read_results

HELP = "make one HTML page of kept results: tables, curves, contact sheets, and how to make them again"


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    results: tyro.conf.Positional[tuple[Annotated[Path, tyro.conf.arg(metavar="FILE")], ...]]
    """JSON of eval, cost and comparisons, PNG sheets, notes (.md, .txt), or folders of these."""
    out: Path = Path("report.html")
    """The page."""


def run(argv: list[str]) -> int:
    from worldsim.evaluation.page.page import render, write_page

    arguments = parse_arguments(ReportArguments, argv, command="report", help=HELP)
    if not arguments.results:
        raise UsageError("no results were given", hint="worldsim report assets/results --out report.html")
    results = read_results(arguments.results)
    html = render(results, command=["worldsim", "report", *argv], today=date.today())
    write_page(arguments.out, html)
    print(f"{arguments.out}: {summary(results)}; {len(html) / 1e3:.0f} kB")
    return 0


def summary(results: Results) -> str:
    """What went into the page, by kind."""
    counts = {
        "evaluation(s)": len(results.evaluations),
        "cost measurement(s)": len(results.costs),
        "comparison run(s)": len(results.runs),
        "sheet(s)": len(results.sheets),
        "note(s)": len(results.notes),
    }
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
