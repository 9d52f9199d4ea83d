"""The report as one HTML file: no scripts, no external files, light and dark, for screen and print. Torch-free."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

import worldsim
from worldsim.evaluation.report.charts import NUM_COLORS
from worldsim.evaluation.report.comparisons import comparison_sections, cost_sections
from worldsim.evaluation.report.evaluations import evaluation_sections
from worldsim.evaluation.report.results import Results, read_published_results
from worldsim.evaluation.report.tables import ReportSection, ReportTable, text_row

TEMPLATE_FILE = Path(__file__).parent / "page.html.jinja"
NO_SHEETS = "No contact sheet. Create one with worldsim eval PRESET --contact-sheet FILE."
NO_NOTES = "No notes. Add a .md or .txt file to the results, or notes to a result file."
ABOUT = ("device", "threads", "worldsim", "torch", "python", "preset_sha256", "elapsed_s")
"""Keys of a result that are shown with its command and seeds."""


def render(results: Results, *, command: Sequence[str], today: date) -> str:
    """The page as HTML. All text from files is escaped: results may be untrusted."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE_FILE.read_text(encoding="utf-8")).render(
        sections=sections(results),
        sheets=[(name, base64.b64encode(content).decode()) for name, content in results.sheets],
        notes=[(note.title, _markdown(note.text) if note.is_markdown else note.text) for note in results.notes],
        no_sheets=NO_SHEETS,
        no_notes=NO_NOTES,
        origins=origins_table(results),
        command=shlex.join(command),
        num_colors=NUM_COLORS,
        today=today.isoformat(),
        version=worldsim.__version__,
    )


def _markdown(text: str) -> Markup:
    """Tables and headings, without raw HTML; no images and links, which would refer outside the page."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])
    return Markup(parser.render(text))


def sections(results: Results) -> list[ReportSection]:
    """In the order of the page."""
    published = read_published_results()
    return [
        *comparison_sections(results.runs, published),
        *evaluation_sections(results.evaluations),
        *cost_sections(results.costs, published),
    ]


def origins_table(results: Results) -> ReportTable:
    """The command, seeds and versions that reproduce each file."""
    rows = tuple(text_row(name, *_origin(about)) for name, about in results.origins)
    return ReportTable(title="Origin of each result", head=("file", "command", "seeds", "environment"), rows=rows)


def _origin(about: Mapping[str, Any]) -> tuple[str, str, str]:
    seeds = about.get("seeds", about.get("seed"))
    if isinstance(seeds, list) and len(seeds) > 2:
        seeds = f"{seeds[0]} to {seeds[-1]}"
    versions = about.get("versions")
    about = {**about, **(versions if isinstance(versions, Mapping) else {})}
    known = [f"{key.replace('_', ' ')} {str(about[key])[:16]}" for key in ABOUT if about.get(key) is not None]
    return str(about.get("command", "unknown")), "" if seeds is None else str(seeds), ", ".join(known)
