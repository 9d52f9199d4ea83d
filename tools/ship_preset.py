"""Makes a bundled preset from a checkpoint: weights in bfloat16 and a model card with scores.

python tools/ship_preset.py runs/maze/dynamics/last presets/maze
worldsim eval presets/maze --json scores.json
python tools/ship_preset.py presets/maze presets/maze --scores scores.json

--replace-tensors takes parts that were trained separately from another file, such as a fine-tuned decoder:
--replace-tensors autoencoder.=runs/maze/autoencoder/autoencoder.safetensors
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from worldsim.core.errors import PresetError
from worldsim.presets.card import model_card
from worldsim.presets.config import PresetConfig, read_preset_toml
from worldsim.presets.store import Preset, load_preset, save_preset


def ship(
    source: Path,
    target: Path,
    scores_path: Path | None = None,
    dtype: torch.dtype = torch.bfloat16,
    replacements: Sequence[tuple[str, Path]] = (),
) -> Preset:
    """Returns: the preset as loaded back from `target`.

    With scores and a target that is the source, only the card is written, so that the scored weights stay as they are.
    Title and play settings, which may be edited after training, come from the target's preset.toml if there is one.
    Raises: PresetError if the scores belong to other weights.
    """
    preset = load_preset(source)
    if scores_path is None or source.resolve() != target.resolve():
        for prefix, path in replacements:
            _replace_tensors(preset, prefix, path)
        config = _edited(preset.config, target / "preset.toml")
        save_preset(target, config, preset.autoencoder, preset.model, preset.starts, preset.metadata, dtype=dtype)
    shipped = load_preset(target)
    scores = None
    if scores_path is not None:
        scores = json.loads(scores_path.read_text(encoding="utf-8"))
        if not shipped.generates_frames_of(scores["preset_sha256"]):
            raise PresetError(
                f"{scores_path} was measured on other weights", hint=f"worldsim eval {target} --json FILE"
            )
    (target / "README.md").write_text(model_card(shipped.config, shipped.metadata, scores), encoding="utf-8")
    return shipped


def _replace_tensors(preset: Preset, prefix: str, path: Path) -> None:
    """Replaces the tensors whose names start with `prefix` by those of a safetensors file, with or without the prefix.

    Raises: PresetError if one is missing or has another shape.
    """
    stored = load_file(path)
    for part, module in (("autoencoder.", preset.autoencoder), ("model.", preset.model)):
        for name, tensor in module.state_dict().items():
            if not (part + name).startswith(prefix):
                continue
            new = stored.get(part + name, stored.get((part + name).removeprefix(prefix)))
            if new is None or new.shape != tensor.shape:
                raise PresetError(
                    f"{path} has no {part + name} of shape {tuple(tensor.shape)}", hint="check --replace-tensors"
                )
            tensor.copy_(new)


def _edited(config: PresetConfig, toml: Path) -> PresetConfig:
    if not toml.exists():
        return config
    edited, _ = read_preset_toml(toml)
    return replace(config, title=edited.title, play=edited.play)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="make a bundled preset from a checkpoint")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--scores", type=Path, help="JSON of worldsim eval TARGET")
    parser.add_argument("--replace-tensors", action="append", default=[], metavar="PREFIX=FILE", help="from a file")
    parser.add_argument("--float32", action="store_true", help="store the weights at full precision")
    arguments = parser.parse_args(argv)
    dtype = torch.float32 if arguments.float32 else torch.bfloat16
    parts = (replacement.partition("=") for replacement in arguments.replace_tensors)
    replacements = [(prefix, Path(path)) for prefix, _, path in parts]
    shipped = ship(arguments.source, arguments.target, arguments.scores, dtype, replacements)
    size_mb = (shipped.folder / "model.safetensors").stat().st_size / 1e6
    print(f"{shipped.folder}: {size_mb:.1f} MB, sha256 {shipped.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
