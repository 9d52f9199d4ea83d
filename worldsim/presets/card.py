"""Model cards: the README.md of a preset, also shown on the Hub. Torch-free.

The numbers come from the config, the weights' metadata and `worldsim eval`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from worldsim.models.config import describe_model
from worldsim.presets.config import PresetConfig
from worldsim.presets.score_names import MEMORY_TASKS, metric_name, rollout_name, task_name
from worldsim.worlds.recorded import RecordedWorldConfig

SAMPLE_CLIP, SAMPLE_SHEET = "sample.mp4", "sheet.png"
"""Stored beside the card on the Hub; `play` does not download them."""

_HEADER = """---
license: {license}
library_name: worldsim
tags:
- world-model
- interactive
---"""
_LICENSE = {"doom": "apache-2.0", "memory_maze": "apache-2.0", "recorded": "other"}
_ORIGIN = {
    "doom": "Weights and starts are Apache-2.0. They were trained on images rendered by ViZDoom (MIT) with Freedoom's "
    "textures (BSD-3-Clause).",
    "memory_maze": "Weights and starts are Apache-2.0. They were trained on images of Memory Maze (MIT), rendered by "
    "MuJoCo and dm_control with labmaze's textures (Apache-2.0).",
    "recorded": "Weights and starts come from recordings, whose authors determine the license.",
}
_NOT_SCORED = {
    "doom": "Not scored yet; `worldsim eval` does that.",
    "memory_maze": "Not scored yet; `worldsim eval` does that.",
    "recorded": "Not scored: there is no reference world to compare with.",
}
_MAPPED_COLUMNS = ("psnr_no_map", "psnr_no_scan")
"""Only for models with map and scans."""
_COLUMNS = (
    *("psnr", "ssim", "psnr_repeat", "psnr_mean_image", "psnr_no_state"),
    *(*_MAPPED_COLUMNS, "psnr_autoencoder", "sharpness"),
)
"""Metrics in the results of `worldsim eval` that the card shows."""
_PLAY_LINE = re.compile(r"To play it with worldsim[^\n]*\n\n```sh\nworldsim play \S+\n```")
_SAMPLE = re.compile(r"\n*<!-- sample -->.*?<!-- end: sample -->", re.DOTALL)


def play_instructions(name: str, repo: str | None = None) -> str:
    """The command that plays the preset, from its repository or from its folder."""
    if repo is not None:
        return f"To play it with worldsim:\n\n```sh\nworldsim play {repo}\n```"
    return f"To play it with worldsim, from the folder this file is in:\n\n```sh\nworldsim play ./{name}\n```"


def model_card(
    config: PresetConfig,
    metadata: Mapping[str, str] | None = None,
    scores: Mapping[str, Any] | None = None,
    *,
    log: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The card as Markdown with the Hub's header. `scores`: output of `worldsim eval --json`, if the preset was scored.
    `log`: the lines of a training run's log.jsonl.
    """
    height_px, width_px, _ = config.frame_shape
    facts = [
        ("frame size", f"{width_px}x{height_px}"),
        ("frames come from", describe_model(config.model)),
        ("frame rate", _frame_rate(config)),
        ("world", _world_summary(config)),
        ("inputs", ", ".join((*config.action_spec.buttons, *config.action_spec.axes))),
        *((key.replace("_", " "), value) for key, value in sorted((metadata or {}).items()) if key != "format"),
    ]
    parts = [
        _hub_header(config),
        f"# {config.title}",
        play_instructions(config.name),
        _table(("", ""), facts),
    ]
    parts += [
        _scores_section(scores) if scores else _NOT_SCORED[config.world.kind],
        *([_training_section(log)] if log else []),
    ]
    return "\n\n".join([*parts, _ORIGIN[config.world.kind]]) + "\n"


def card_on_hub(card: str, config: PresetConfig, repo: str, *, sample_frames: int) -> str:
    """`card` as stored in `repo`: with the Hub's header, the line that plays it from there, and its sample, if any."""
    play = play_instructions(config.name, repo)
    card = card if card.startswith("---\n") else f"{_hub_header(config)}\n\n{card}"
    card = _SAMPLE.sub("", card).rstrip("\n")
    card = _PLAY_LINE.sub(lambda _: play, card, count=1) if _PLAY_LINE.search(card) else f"{card}\n\n{play}"
    return f"{card}\n\n{_sample_section(repo, sample_frames)}\n" if sample_frames else f"{card}\n"


def _sample_section(repo: str, num_frames: int) -> str:
    return (
        f"<!-- sample -->\n![Frames of the sample, in order]({SAMPLE_SHEET})\n\n"
        f"[{SAMPLE_CLIP}]({SAMPLE_CLIP}) is the output of `worldsim rollout {repo} --frames {num_frames}`; "
        "above are frames of it. The actions come from a script; every frame is generated.\n<!-- end: sample -->"
    )


def _hub_header(config: PresetConfig) -> str:
    return _HEADER.format(license=_LICENSE[config.world.kind])


def _frame_rate(config: PresetConfig) -> str:
    steps = "" if config.model.kind == "map" else f", {_denoising_steps(config.play.num_steps)} each"
    return f"{config.play.ticks_per_s:g} frames per second{steps}"


def _denoising_steps(num: int) -> str:
    return f"{num} denoising step{'' if num == 1 else 's'}"


def _world_summary(config: PresetConfig) -> str:
    if isinstance(config.world, RecordedWorldConfig):
        return "recorded: learned from recordings only"
    maps = ", ".join(map(str, config.world.maps))
    return f"{config.world.kind}, {f'maps {maps}' if maps else 'a new maze for every seed'}"


def _scores_section(scores: Mapping[str, Any]) -> str:
    named = [(task_name("one_step"), scores.get("one_step"))]
    named += [(rollout_name(row["horizon"]), row) for row in scores.get("rollout", ())]
    named += [
        (f"{task_name(task)}, {scores[task]['frames']} frames", scores[task])
        for task in (*MEMORY_TASKS, "idle")
        if task in scores
    ]
    drift = scores.get("drift", ())
    named += [
        (f"{task_name('drift')}, frames {row['distance'] - row['frames'] + 1} to {row['distance']}", row)
        for row in drift
    ]
    shown = [(name, row) for name, row in named if row]
    columns = [key for key in _COLUMNS if key not in _MAPPED_COLUMNS or any(row.get(key) for _, row in shown)]
    rows = [(name, *(_format_score(row, key) for key in columns)) for name, row in shown]
    seeds = scores["seeds"]
    command = f"`{scores['command']}`: " if "command" in scores else ""
    how = (
        f"{command}{len(seeds)} held-out seeds from {min(seeds)}, {_denoising_steps(scores['steps'])} per frame. PSNR "
        "is in dB; the columns after SSIM are baselines, and the autoencoder is the ceiling. rollout@k is the k-th "
        "generated frame. Sharpness is gradient energy relative to the true frames: below 1 is blurrier."
    )
    return "\n\n".join([_table(("task", *map(metric_name, columns)), rows), how, *_score_sentences(scores)])


def _score_sentences(scores: Mapping[str, Any]) -> Iterator[str]:
    """Results that do not fit the table: action fidelity, idle stability, drift."""
    if "fidelity" in scores:
        generated, true, chance = (
            _format_score(scores["fidelity"], key) for key in ("accuracy", "accuracy_true", "chance")
        )
        yield (
            f"Action fidelity: an inverse-dynamics probe predicts the inputs from generated frames "
            f"with a balanced accuracy of {generated}, from true frames with {true}; chance is {chance}."
        )
    if "idle" in scores:
        change, change_true = (_format_score(scores["idle"], key) for key in ("change", "change_true"))
        yield f"Without input, consecutive frames differ by {change} levels of 255, true ones by {change_true}."
    if scores.get("drift"):
        first, last = scores["drift"][0], scores["drift"][-1]
        yield (
            f"Over {last['distance']} frames ({len(last['seeds'])} episodes) the error of the mean color goes from "
            f"{_format_score(first, 'colour')} to {_format_score(last, 'colour')} levels of 255; at the end the "
            f"variance of the latents is {_format_score(last, 'variance')} times that of the true frames."
        )


def _training_section(log: Sequence[Mapping[str, Any]]) -> str:
    """The first and the last row that has a loss, and how far training went."""
    rows = [row for row in log if "loss" in row]
    keys = [k for k in ("update", "frames", "minutes", "loss", "frames_per_s") if any(k in row for row in rows)]
    ends = [("first", rows[0]), ("last", rows[-1])] if rows else []
    lines = [(name, *(f"{row[key]:.6g}" if key in row else "" for key in keys)) for name, row in ends]
    head = ("training log", *(key.replace("_", " ") for key in keys))
    return _table(head, lines) + f"\n\n{len(log)} rows of log."


def _format_score(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    digits = 3 if key in ("ssim", "sharpness") else 1 if key.startswith("psnr") else 2
    return "" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))
