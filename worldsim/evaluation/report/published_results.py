"""The paper's own numbers (`published_results.toml`). Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worldsim.core.config import read_toml

PUBLISHED_RESULTS_FILE = Path(__file__).parent / "published_results.toml"


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """`architecture` by its name here, `label` as the paper has it; one value per metric of the table."""

    architecture: str
    label: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    name: str
    what: str
    task: str
    """What the scores of a comparison begin with: `retrieval` of `retrieval_psnr`."""
    metrics: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    stand_in: str = ""
    """The PSNR here that comes nearest, for comparisons without that task."""


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    name: str
    says: str


@dataclass(frozen=True, kw_only=True)
class PublishedResults:
    source: str
    scale: str
    tables: tuple[PublishedTable, ...]
    figures: tuple[PublishedFigure, ...]


def read_published_results() -> PublishedResults:
    data = read_toml(PUBLISHED_RESULTS_FILE)
    tables = [
        PublishedTable(
            **{key: table[key] for key in ("name", "what", "task")},
            metrics=tuple(table["metrics"]),
            stand_in=table.get("stand_in", ""),
            rows=tuple(PublishedRow(architecture=row[0], label=row[1], values=tuple(row[2:])) for row in table["rows"]),
        )
        for table in data["tables"]
    ]
    figures = tuple(PublishedFigure(**figure) for figure in data["figures"])
    return PublishedResults(source=data["source"], scale=data["scale"], tables=tuple(tables), figures=figures)
