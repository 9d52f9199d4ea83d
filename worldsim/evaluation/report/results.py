"""Result files: evaluations, costs, comparison runs, notes and contact sheets; and the results printed in the paper
(`published.toml`). Torch-free.

    *.json        written by `worldsim eval --json` or `worldsim cost --json`, or a comparison run, or a list of these
    *.md, *.txt   notes, such as negative results
    *.png         contact sheets

A comparison run is one architecture trained once: {"kind": "comparison", "architecture", "seed", "updates", "train_s",
"frames", "parameters", "scores": {metric: {"value", "per_seed": [one value per episode]}}}, and optionally
"experiment" (runs of different experiments are never compared), "by_distance": {metric: [[frames, value], ...]},
"by_steps": {metric: [[denoising steps, value], ...]}, "references": {metric: {name: value}} (such as the autoencoder's
ceiling), "command", "notes". Other keys are ignored. A training variant of an architecture is named name+variant, or
name+variant+variant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np

from worldsim.core.config import parse_json, read_toml, short_repr
from worldsim.core.errors import ResultsError
from worldsim.evaluation.bootstrap import Estimate, FloatArray, run_difference, run_mean
from worldsim.evaluation.report.tables import sort_architectures

MAX_RESULT_BYTES = 2**26
NOTE_SUFFIXES = (".md", ".txt")
SHEET_SUFFIXES = (".png",)
RECREATE_HINT = "regenerate the file or omit it"

PUBLISHED_RESULTS_FILE = Path(__file__).parent / "published.toml"

_COST_NUMBERS = {
    "training": ("context_frames", "ms"),
    "generation": ("frame", "ms", "ms_ratio", "state_bytes", "resident_ratio"),
}
_RUN_NUMBERS = ("seed", "updates", "train_s", "frames", "parameters")

Curve: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class RunScore:
    value: float
    per_seed: tuple[float, ...] = ()
    """One value per episode, the same episodes in every run; empty where only the mean was stored."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRun:
    """One architecture, trained once."""

    architecture: str
    seed: int
    updates: int
    train_s: float
    frames: int
    parameters: int
    scores: Mapping[str, RunScore]
    experiment: str = ""
    by_distance: Mapping[str, Curve] = field(default_factory=dict)
    by_steps: Mapping[str, Curve] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Note:
    title: str
    text: str
    is_markdown: bool = False


@dataclass(kw_only=True)
class Results:
    """All contents of a report, in the order they were read."""

    evaluations: list[Mapping[str, Any]] = field(default_factory=list)
    costs: list[Mapping[str, Any]] = field(default_factory=list)
    runs: list[ComparisonRun] = field(default_factory=list)
    origins: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    """(file name, JSON object) of every result: its command, seeds and versions."""
    notes: list[Note] = field(default_factory=list)
    sheets: list[tuple[str, bytes]] = field(default_factory=list)


class PublishedRow(NamedTuple):
    architecture: str
    """Our name of it."""
    label: str
    """The paper's name of it."""
    values: tuple[float, ...]
    """One per metric of the table."""


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    name: str
    what: str
    task: str
    """Prefix of our scores: `retrieval` for `retrieval_psnr`."""
    metrics: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    stand_in: str
    """Our PSNR score that comes closest, for comparisons without that task; may be empty."""


@dataclass(frozen=True, kw_only=True)
class PublishedResults:
    source: str
    scale: str
    tables: tuple[PublishedTable, ...]
    figures: Mapping[str, str]
    """Figure to a summary of its curves."""


def grouped(runs: Iterable[ComparisonRun], experiment: str) -> dict[str, list[ComparisonRun]]:
    """The runs of an experiment by architecture, in the order of the registry."""
    groups: dict[str, list[ComparisonRun]] = {}
    for run in runs:
        if run.experiment == experiment:
            groups.setdefault(run.architecture, []).append(run)
    return {name: groups[name] for name in sort_architectures(groups)}


def mean_score(runs: Sequence[ComparisonRun], metric: str) -> Estimate | None:
    """Mean over the runs that have the metric; None if none has."""
    scored = [run.scores[metric] for run in runs if metric in run.scores]
    return run_mean(float(np.mean([score.value for score in scored])), _values(scored)) if scored else None


def score_difference(runs: Sequence[ComparisonRun], baseline: Sequence[ComparisonRun], metric: str) -> Estimate | None:
    """Mean of `runs` minus mean of `baseline`; None if either side lacks the metric."""
    a, b = ([run.scores[metric] for run in side if metric in run.scores] for side in (runs, baseline))
    if not a or not b:
        return None
    mean_a, mean_b = (float(np.mean([score.value for score in side])) for side in (a, b))
    return run_difference(mean_a - mean_b, _values(a), _values(b))


def _values(scores: Sequence[RunScore]) -> FloatArray | None:
    """Shapes: [S, N]; None without per-episode scores, or if their numbers differ."""
    rows = [score.per_seed for score in scores]
    if not rows[0] or len({len(row) for row in rows}) > 1:
        return None
    return np.array(rows, dtype=np.float64)


def read_published_results() -> PublishedResults:
    data = read_toml(PUBLISHED_RESULTS_FILE)
    tables = [
        PublishedTable(
            **{key: table[key] for key in ("name", "what", "task")},
            metrics=tuple(table["metrics"]),
            stand_in=table.get("stand_in", ""),
            rows=tuple(PublishedRow(row[0], row[1], tuple(row[2:])) for row in table["rows"]),
        )
        for table in data["tables"]
    ]
    return PublishedResults(
        source=data["source"], scale=data["scale"], tables=tuple(tables), figures=dict(data["figures"])
    )


def read_results(paths: Iterable[Path]) -> Results:
    """Searches folders recursively for files of known suffixes, in the order of names. Raises: ResultsError."""
    results = Results()
    for path in paths:
        for file in _files(path):
            _read_file(file, results)
    return results


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    known = (".json", *NOTE_SUFFIXES, *SHEET_SUFFIXES)
    found = sorted(file for file in path.rglob("*") if file.suffix in known)
    if not found:
        raise ResultsError(f"{path} contains no results", hint="create some with worldsim eval or cost: --json FILE")
    return found


def _read_file(path: Path, results: Results) -> None:
    content = _content(path)
    if path.suffix in SHEET_SUFFIXES:
        if not content.startswith(b"\x89PNG\r\n"):
            raise ResultsError(f"{path} is not a PNG image", hint="create the contact sheet again")
        results.sheets.append((path.stem, content))
        return
    try:
        text = content.decode()
        if path.suffix in NOTE_SUFFIXES:
            results.notes.append(Note(title=path.stem, text=text, is_markdown=path.suffix == ".md"))
            return
        data = parse_json(text)
    except ValueError as error:
        hint = "the file may be truncated; regenerate or omit it"
        raise ResultsError(f"{path} is damaged: {error}", hint=hint) from None
    for item in data if isinstance(data, list) else [data]:
        _read_item(path, item, results)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_RESULT_BYTES + 1)
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be read: {error.strerror}", hint="pass result files or folders of them"
        ) from None
    if len(content) > MAX_RESULT_BYTES:
        raise ResultsError(f"{path} is larger than {MAX_RESULT_BYTES} bytes", hint="results are far smaller")
    return content


def _read_item(path: Path, item: Any, results: Results) -> None:
    if not isinstance(item, Mapping):
        raise ResultsError(f"{path} contains {short_repr(item)}, not results", hint="a JSON object or a list of them")
    kind = item.get("kind", "evaluation" if "preset" in item else None)
    if kind == "comparison":
        results.runs.append(_run(path, item))
    elif kind == "cost":
        _check_cost(path, item)
        results.costs.append(item)
    elif kind == "evaluation":
        results.evaluations.append(item)
    else:
        raise ResultsError(f"{path} has unknown kind {short_repr(kind)}", hint="evaluation, cost or comparison")
    results.origins.append((path.name, item))
    notes = item.get("notes", [])
    for note in [notes] if isinstance(notes, str) else notes:
        results.notes.append(Note(title=path.stem, text=str(note)))


def _run(path: Path, item: Mapping[str, Any]) -> ComparisonRun:
    name = item.get("architecture")
    if not isinstance(name, str):
        raise ResultsError(f"{path}: 'architecture' is {short_repr(name)}, not a name", hint=RECREATE_HINT)
    numbers = {key: _number(path, item, key) for key in _RUN_NUMBERS}
    scores = {}
    for metric, score in _mapping(path, item, "scores").items():
        if not isinstance(score, Mapping):
            raise ResultsError(
                f"{path}: score {short_repr(metric)} is {short_repr(score)}", hint='expected {"value", "per_seed"}'
            )
        if score.get("value") is not None:  # NaN is written as null: such a run has no such score
            per_seed = [value for value in score.get("per_seed", ()) if is_number(value)]
            scores[metric] = RunScore(value=_number(path, score, "value"), per_seed=tuple(map(float, per_seed)))
    return ComparisonRun(
        architecture=name,
        seed=int(numbers["seed"]),
        updates=int(numbers["updates"]),
        train_s=numbers["train_s"],
        frames=int(numbers["frames"]),
        parameters=int(numbers["parameters"]),
        scores=scores,
        experiment=str(item.get("experiment", "")),
        by_distance=_curves(path, item, "by_distance"),
        by_steps=_curves(path, item, "by_steps"),
        references=_references(path, item),
    )


def _curves(path: Path, item: Mapping[str, Any], key: str) -> dict[str, Curve]:
    curves = item.get(key, {})
    is_valid = isinstance(curves, Mapping) and all(
        isinstance(pair, Sequence) and len(pair) == 2 and is_number(pair[0])
        for pairs in curves.values()
        for pair in (pairs if isinstance(pairs, Sequence) else [None])
    )
    if not is_valid:
        raise ResultsError(f"{path}: {key} is {short_repr(curves)}", hint="expected {metric: [[number, value], ...]}")
    return {metric: tuple((float(x), float(y)) for x, y in pairs if is_number(y)) for metric, pairs in curves.items()}


def _references(path: Path, item: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    references = item.get("references", {})
    if not isinstance(references, Mapping) or not all(isinstance(value, Mapping) for value in references.values()):
        raise ResultsError(f"{path}: references is {short_repr(references)}", hint="expected {metric: {name: value}}")
    return {
        metric: {name: float(value) for name, value in named.items() if is_number(value)}
        for metric, named in references.items()
    }


def _check_cost(path: Path, item: Mapping[str, Any]) -> None:
    for name, costs in _mapping(path, item, "architectures").items():
        if not isinstance(costs, Mapping):
            raise ResultsError(f"{path}: the costs of {short_repr(name)} are {short_repr(costs)}", hint=RECREATE_HINT)
        for key, numbers in _COST_NUMBERS.items():
            samples = costs.get(key)
            if not isinstance(samples, list):
                raise ResultsError(f"{path}: {name} has no {key!r}", hint=RECREATE_HINT)
            for sample in samples:
                for number in numbers:
                    _number(path, sample, number)


def _number(path: Path, item: Any, key: str) -> float:
    value = item.get(key) if isinstance(item, Mapping) else None
    if not is_number(value):
        raise ResultsError(f"{path}: {key!r} is {short_repr(value)}, not a number", hint=RECREATE_HINT)
    return float(value)


def _mapping(path: Path, item: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = item.get(key)
    if not isinstance(value, Mapping):
        raise ResultsError(f"{path}: {key!r} is {short_repr(value)}, not an object", hint=RECREATE_HINT)
    return value


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
