"""The scores in the JSON of an evaluation, whatever tasks it has. Torch-free.

Owns: how a score is recognised, and its heading. A new task needs no change here: a mapping with numbers in it is a
row, and those of a list are the rows of one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

NOT_SCORES = frozenset({"world", "config", "model", "versions", "seeds", "seconds", "left_out"})
GROUPS = frozenset({"regions"})
"""Names that say nothing beside those of their members."""
DISTANCES = ("horizon", "distance", "frame")
"""What tells one row of a list from the next."""
DISPLAY_NAMES = {
    "psnr": "PSNR",
    "psnr_autoencoder": "autoencoder (ceiling)",
    "psnr_repeat": "last seen frame",
    "psnr_mean_image": "mean image",
    "psnr_no_state": "state cleared",
    "psnr_copy": "frame a turn ago",
    "psnr_best_match": "best match",
    "ssim": "SSIM",
    "ssim_autoencoder": "SSIM, autoencoder",
    "sharpness": "sharpness",
    "sharpness_autoencoder": "sharpness, autoencoder",
    "psnr_window": "PSNR since the row above",
    "lpips": "LPIPS",
    "fvd": "FVD",
    "second_turn": "second turn, PSNR",
    "next_new": "next frame, new places, PSNR",
    "next_seen": "next frame, seen places, PSNR",
    "autoencoder": "autoencoder (ceiling)",
    "mean_image": "mean image",
    "repeat": "last seen frame",
}
_ACRONYMS = {word: word.upper() for word in ("psnr", "ssim", "lpips", "fvd")}
TITLES = {
    "one_step": "next frame, true past",
    "retrieval": "way back",
    "spin": "second turn",
    "rollout": "roll-out",
    "comparison": "distributions of frames",
}

LabelledRow: TypeAlias = "tuple[str, float | None, dict[str, ReportScore]]"


@dataclass(frozen=True, kw_only=True)
class ReportScore:
    value: float
    low: float | None = None
    high: float | None = None


def display_names(metrics: Sequence[str]) -> tuple[str, ...]:
    """In words: `retrieval_psnr` is "retrieval PSNR"."""
    return tuple(
        DISPLAY_NAMES.get(metric) or " ".join(_ACRONYMS.get(w, w) for w in metric.split("_")) for metric in metrics
    )


def score_tables(evaluation: Mapping[str, Any]) -> dict[str, list[LabelledRow]]:
    """Task to its rows: (label, distance where it has one, scores)."""
    tasks = evaluation.get("tasks")
    found = {**evaluation, **(tasks if isinstance(tasks, Mapping) else {})}
    tables = {}
    for task, value in found.items():
        if task not in NOT_SCORES and task != "tasks" and isinstance(value, (Mapping, list)):
            rows = list(_rows("", None, value))
            if rows:
                tables[TITLES.get(task, task.replace("_", " "))] = rows
    return tables


def _rows(label: str, distance: float | None, value: Any) -> Iterator[LabelledRow]:
    if isinstance(value, list):
        for item in value:
            name = next((name for name in DISTANCES if isinstance(item, Mapping) and _is_number(item.get(name))), None)
            if name is not None:
                at = float(item[name])
                rest = {key: part for key, part in item.items() if key != name}
                yield from _rows(_joined(label, f"frame {at:g}"), at, rest)
        return
    scores = _scores(value)
    if scores:
        yield label, distance, scores
    for key, part in value.items():
        if isinstance(part, (Mapping, list)) and key not in NOT_SCORES and not _is_score(part):
            name = "" if key in GROUPS else str(key).replace("_", " ")
            yield from _rows(_joined(label, name), distance, part)


def _scores(value: Mapping[str, Any]) -> dict[str, ReportScore]:
    """Its numbers; NAME_low and NAME_high are the interval of NAME."""
    scores = {}
    for name, part in value.items():
        if _is_score(part):
            scores[name] = ReportScore(value=part["value"], low=part.get("low"), high=part.get("high"))
        elif _is_number(part) and name not in DISTANCES and not name.endswith(("_low", "_high")):
            low, high = value.get(f"{name}_low"), value.get(f"{name}_high")
            is_interval = _is_number(low) and _is_number(high)
            scores[name] = ReportScore(value=part, low=low, high=high) if is_interval else ReportScore(value=part)
    return scores


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _is_score(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_number(value.get("value"))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
