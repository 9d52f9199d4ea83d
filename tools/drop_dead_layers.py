"""Rewrites a preset whose denoiser adds nothing to its map as a preset of kind `map`.

python tools/drop_dead_layers.py presets/maze [--results assets/results/maze.json]

A mapped model shows what its map renders plus what its denoiser adds. Where the denoiser's output weights are zero,
only its output bias is added, and scans, attention and denoiser change no frame: they are dropped, and the bias is kept
as `latent_bias_C`. The frames stay equal bit for bit, which is checked here before anything is written. The hash of the
old files is kept in the weights' metadata, so that sessions, saves and scores of the old files remain valid.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from worldsim.actions.scripted_actions import script_actions
from worldsim.core.errors import PresetError
from worldsim.core.types import Action
from worldsim.engine.simulator import Simulator
from worldsim.models.config import MapModelConfig
from worldsim.models.mapped import MappedTrunkModel
from worldsim.models.maps.map_model import MapModel
from worldsim.presets.card import model_card
from worldsim.presets.config import read_preset_toml
from worldsim.presets.store import EQUIVALENT_SHA256, Preset, load_preset, save_preset

NUM_FRAMES = 200


def drop_dead_layers(preset: Preset) -> Preset:
    """The preset with its map only. Raises: PresetError where the dropped layers have an effect."""
    model = preset.model
    if not isinstance(model, MappedTrunkModel):
        raise PresetError(f"{preset.config.name} is no mapped model", hint="only mapped models have layers to drop")
    output = model.denoiser.to_latent
    assert output.bias is not None
    if bool(output.weight.any()):
        raise PresetError(f"the denoiser of {preset.config.name} changes its frames", hint="it is not dead weight")
    config = MapModelConfig(map=model.config.map)
    map_model = MapModel(config, model.latent_shape, model.action_size, model.map)
    map_model.latent_bias_C.copy_(output.bias)
    return replace(preset, config=replace(preset.config, model=config), model=map_model.eval().requires_grad_(False))


def check_equal_frames(before: Preset, after: Preset, num_frames: int) -> None:
    """Raises: PresetError at the first frame that differs."""
    simulators = [Simulator(preset) for preset in (before, after)]
    for seed in range(2):
        for simulator in simulators:
            simulator.reset(seed)
        for index, action in enumerate(_actions(before, seed, num_frames)):
            expected, found = (simulator.step(action).frame for simulator in simulators)
            if not np.array_equal(expected, found):
                raise PresetError(f"frame {index + 1} of seed {seed} differs", hint="nothing was written")


def _actions(preset: Preset, seed: int, num_frames: int) -> list[Action]:
    """A scripted policy; where the inputs are poses, those of a start, there and back again."""
    spec = preset.config.action_spec
    if spec.pose_control is None:
        return script_actions("explore", spec, seed, num_frames)
    path = [spec.decode(vector) for vector in preset.starts[seed % len(preset.starts)].actions]
    return list(islice(cycle([*reversed(path), *path]), num_frames))


def rewrite(folder: Path, results: Path | None = None, num_frames: int = NUM_FRAMES) -> Preset:
    """Returns: the preset as it was loaded back. Side effects: the folder's config, weights and card."""
    before = load_preset(folder)
    after = drop_dead_layers(before)
    recipe = folder / "preset.toml"
    title = read_preset_toml(recipe)[0].title if recipe.exists() else after.config.title
    check_equal_frames(before, after, num_frames)
    known = filter(None, before.metadata.get(EQUIVALENT_SHA256, "").split(","))
    save_preset(
        folder,
        replace(after.config, title=title),
        after.autoencoder,
        after.model,
        after.starts,
        before.metadata,
        dtype=torch.bfloat16,
        equivalent_sha256=(*known, before.sha256),
    )
    written = load_preset(folder)
    check_equal_frames(before, written, num_frames)
    scores = None if results is None else json.loads(results.read_text(encoding="utf-8"))
    (folder / "README.md").write_text(model_card(written.config, written.metadata, scores), encoding="utf-8")
    return written


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="rewrite a preset whose denoiser adds nothing as a map only")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, help="what worldsim eval --json wrote, for the card")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    written = rewrite(arguments.folder, arguments.results)
    parameters = sum(tensor.numel() for tensor in written.model.state_dict().values())
    print(f"{arguments.folder}: {parameters / 1e6:.3f} million parameters, sha256 {written.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
