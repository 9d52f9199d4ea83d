"""Bundled presets say what their frames come from, and every part that is said to take part has an effect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from worldsim.actions.scripted_actions import script_actions
from worldsim.core.errors import NonFiniteError
from worldsim.engine.simulator import Simulator
from worldsim.models.config import describe_model
from worldsim.models.maps.map_model import MapModel
from worldsim.presets.resolve import bundled_presets
from worldsim.presets.store import Preset, load_preset

NUM_FRAMES = 4


def frames(preset: Preset) -> npt.NDArray[np.uint8]:
    """Under inputs of all kinds; where poses are the inputs, backwards along a start."""
    simulator, spec = Simulator(preset), preset.config.action_spec
    simulator.reset(1)
    if spec.pose_control is None:
        actions = script_actions("explore", spec, 1, NUM_FRAMES)
    else:
        path = preset.starts[1 % len(preset.starts)].actions[::-4][:NUM_FRAMES]
        actions = [spec.decode(vector) for vector in path]
    return np.stack([simulator.step(action).frame for action in actions])


def parts(preset: Preset) -> dict[str, list[nn.Parameter]]:
    """Parameters by the module they are of, down to three levels of names; the decoder is one part."""
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in preset.model.named_parameters():
        found.setdefault(".".join(name.split(".")[:3]), []).append(parameter)
    return {**found, "decoder": list(preset.autoencoder.decoder.parameters())}


def has_effect(preset: Preset, parameters: list[nn.Parameter], expected: npt.NDArray[np.uint8]) -> bool:
    kept = [parameter.clone() for parameter in parameters]
    for index, parameter in enumerate(parameters):
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
        parameter.add_(noise, alpha=float(parameter.abs().mean()) + 0.5)
    try:
        return not np.array_equal(frames(preset), expected)
    except NonFiniteError:
        return True
    finally:
        for parameter, before in zip(parameters, kept, strict=True):
            parameter.copy_(before)


@pytest.mark.parametrize("name", sorted(bundled_presets()))
def test_every_part_of_a_bundled_preset_affects_its_frames(name: str) -> None:
    """A part without effect is dead weight, and a false statement on the card."""
    torch.set_num_threads(1)
    preset = load_preset(name)
    play = replace(preset.config.play, context_frames=8)  # the presets' own take minutes here
    preset = replace(preset, config=replace(preset.config, play=play))
    expected = frames(preset)
    dead = [part for part, parameters in parts(preset).items() if not has_effect(preset, parameters, expected)]
    assert not dead, f"without effect: {dead}"
    assert np.array_equal(frames(preset), expected)


@pytest.mark.parametrize("name", sorted(bundled_presets()))
def test_title_and_card_of_a_map_say_that_nothing_else_takes_part(name: str) -> None:
    preset = load_preset(name)
    if not isinstance(preset.model, MapModel):
        pytest.skip("more than a map")
    assert {type(child).__name__ for child in preset.model.children()} <= {"FixedMapMemory", "SpatialMapMemory"}
    assert "explicit map" in preset.config.title
    text = describe_model(preset.config.model)
    assert text.endswith("(no scan, attention or diffusion)")
    assert text in (preset.folder / "README.md").read_text(encoding="utf-8")
