"""The paper's own numbers (`published_results.toml`). Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worldsim.core.config import read_toml

PAPER_FILE = Path(__file__).parent / "published_results.toml"


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """`architecture` by its name here, `label` as the paper has it; one value per metric of the table."""

    architecture: str
    label: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    name: str
    what: str
    task: str
    """What the scores of a comparison begin with: `retrieval` of `retrieval_psnr`."""
    metrics: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    stand_in: str = ""
    """The PSNR here that comes nearest, for comparisons without that task."""


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    name: str
    says: str


@dataclass(frozen=True, kw_only=True)
class Paper:
    source: str
    scale: str
    tables: tuple[PaperTable, ...]
    figures: tuple[PaperFigure, ...]


def read_paper() -> Paper:
    data = read_toml(PAPER_FILE)
    tables = [
        PaperTable(
            **{key: table[key] for key in ("name", "what", "task")},
            metrics=tuple(table["metrics"]),
            stand_in=table.get("stand_in", ""),
            rows=tuple(PaperRow(architecture=row[0], label=row[1], values=tuple(row[2:])) for row in table["rows"]),
        )
        for table in data["tables"]
    ]
    figures = tuple(PaperFigure(**figure) for figure in data["figures"])
    return Paper(source=data["source"], scale=data["scale"], tables=tuple(tables), figures=figures)
