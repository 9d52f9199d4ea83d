"""The card of a preset: its README.md, which the Hub shows too. Torch-free.

Owns: the words. Does not own: the figures, which come from the config, the weights' metadata and `worldsim eval`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worldsim.presets.config import PresetConfig

_HEADER = """---
license: apache-2.0
library_name: worldsim
tags:
- world-model
- interactive
---"""
_ORIGIN = (
    "Weights and starts are Apache-2.0. They were made from pictures drawn by ViZDoom (MIT) with Freedoom's textures "
    "(BSD-3-Clause)."
)
_NOT_SCORED = "Not scored yet; `worldsim eval` does that."
_COLUMNS = {
    "PSNR": "psnr",
    "SSIM": "ssim",
    "last frame repeated": "psnr_repeat",
    "mean image": "psnr_mean_image",
    "state zeroed": "psnr_no_state",
    "autoencoder": "psnr_autoencoder",
    "sharpness": "sharpness",
}
"""Column to key in the results of `worldsim eval`."""


def model_card(
    config: PresetConfig, metadata: Mapping[str, str] | None = None, scores: Mapping[str, Any] | None = None
) -> str:
    """Markdown with the Hub's header. `scores`: what `worldsim eval --json` wrote; without them the card says so."""
    height_px, width_px, _ = config.frame_shape
    maps = ", ".join(map(str, config.world.maps))
    facts = [
        ("picture", f"{width_px}x{height_px}"),
        ("pace", f"{config.play.ticks_per_s:g} frames per second of {config.play.num_steps} denoising step(s)"),
        ("world", f"{config.world.kind}, {f'maps {maps}' if maps else 'a new maze for every seed'}"),
        ("inputs", ", ".join((*config.action_spec.buttons, *config.action_spec.axes))),
        *((key.replace("_", " "), value) for key, value in sorted((metadata or {}).items()) if key != "format"),
    ]
    play = f"To play it with worldsim, from the folder this file is in:\n\n```sh\nworldsim play ./{config.name}\n```"
    parts = [_HEADER, f"# {config.title}", play, _table(("", ""), facts), _scores(scores) if scores else _NOT_SCORED]
    return "\n\n".join([*parts, _ORIGIN]) + "\n"


def _scores(scores: Mapping[str, Any]) -> str:
    named = [("next frame", scores.get("one_step"))]
    named += [(f"frame {row['horizon']} of a rollout", row) for row in scores.get("rollout", ())]
    named += [
        (f"{name}, {scores[name]['frames']} frames", scores[name]) for name in ("retrieval", "spin") if name in scores
    ]
    rows = [(name, *(_figure(row, key) for key in _COLUMNS.values())) for name, row in named if row]
    seeds = scores["seeds"]
    how = (
        f"{len(seeds)} held-out seeds from {min(seeds)}, {scores['steps']} step(s). PSNR in dB, beside the references; "
        "the autoencoder's is the ceiling. Sharpness is gradient energy over the truth's: 1 is right, less is fog."
    )
    return _table(("", *_COLUMNS), rows) + "\n\n" + how


def _figure(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return "" if value is None else f"{value:.3f}" if key in ("ssim", "sharpness") else f"{value:.1f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))
