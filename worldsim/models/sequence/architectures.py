"""The models of the paper's tables as values of one config: name -> what differs. Torch-free, for the command line.

Owns: which fields make which model, and how their sizes are matched. Does not own: what the fields mean (`config`).
Source: LSSVWM, tables 2, 3, S1 and the ablations of section 5. Sizes are matched as there, by the number of layers, and
what that leaves by the width of the MLP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from worldsim.core.errors import ConfigError, did_you_mean
from worldsim.models.config import WorldModelConfig, layer_parameters, mlp_parameters

REFERENCE_ARCHITECTURE = "full"
"""Whose number of parameters the others are given."""
VARIANT_SEPARATOR = "+"
"""Between the name of an architecture and the way in which it was trained, where that is not the usual one."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """`model` are fields of WorldModelConfig; `training` are fields of DynamicsTraining, for what is an ablation of
    training and not of the network."""

    summary: str
    model: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)


_SCAN = {"form": "single", "mixer": "mamba2", "attention": "window"}

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "full": Architecture(summary="block-wise scans of mixed sizes and frame-local attention", model=_SCAN),
        "block-1": Architecture(summary="as full, every token scanned by itself", model={**_SCAN, "blocks": ((1, 1),)}),
        "mamba2-local": Architecture(
            summary="one scan over the whole frame in every layer, and frame-local attention",
            model={**_SCAN, "blocks": ((0, 0),)},
        ),
        "mamba2": Architecture(
            summary="one scan over the whole frame in every layer, no attention",
            model={**_SCAN, "blocks": ((0, 0),), "attention": "none"},
        ),
        "causal-window": Architecture(
            summary="attention over the last 20 frames, no scan",
            model={"form": "single", "mixer": "none", "attention": "window", "window_frames": 20},
        ),
        "causal-full": Architecture(
            summary="attention over all frames so far, no scan; its state grows with every frame",
            model={"form": "single", "mixer": "none", "attention": "full"},
        ),
        "gated-deltanet": Architecture(
            summary="as full, by the gated delta rule", model={**_SCAN, "mixer": "gated_deltanet"}
        ),
        "lstm": Architecture(summary="as full, with LSTMs as scans", model={**_SCAN, "mixer": "lstm"}),
        "chunk": Architecture(
            summary="as full, attention in chunks of 5 frames: own chunk both ways and the chunk before",
            model={**_SCAN, "attention": "chunk", "window_frames": 5},
        ),
        "bidirectional": Architecture(
            summary="a window of 20 frames denoised whole, attention both ways, no scan",
            model={"form": "single", "mixer": "none", "attention": "joint", "window_frames": 20},
        ),
        "no-clean-prefix": Architecture(
            summary="as full, trained without long clean prefixes: every context frame has noise of its own level",
            model=_SCAN,
            training={"prefix_share": 0.0, "max_context_level": 1.0},
        ),
    }
)


def find_architecture(name: str) -> Architecture:
    """Raises: ConfigError for a name that is not there."""
    if name not in ARCHITECTURES:
        raise ConfigError(f"no architecture {name!r}", hint=did_you_mean(name, ARCHITECTURES))
    return ARCHITECTURES[name]


def apply_architecture(config: WorldModelConfig, name: str) -> WorldModelConfig:
    """`config` as that architecture, whatever size comes out. Raises: ConfigError."""
    # A map is the trunk form's own, and none of the paper's models has one.
    pose = "head" if config.has_map else config.pose
    return replace(config, pose=pose, **find_architecture(name).model)


def match_parameters(config: WorldModelConfig, name: str) -> WorldModelConfig:
    """As `apply_architecture`, with as many parameters as `full` of the same config: layers first, then the width of
    the MLP.

    Raises: ConfigError, also where no width of the MLP does it.
    """
    reference, made = apply_architecture(config, REFERENCE_ARCHITECTURE), apply_architecture(config, name)
    budget = reference.num_layers * layer_parameters(reference)
    num_layers = max(1, round(budget / layer_parameters(made)))
    without_mlp = layer_parameters(made) - mlp_parameters(made, made.mlp_hidden)
    per_unit = mlp_parameters(made, 1) - mlp_parameters(made, 0)
    hidden = round((budget / num_layers - without_mlp - mlp_parameters(made, 0)) / per_unit)
    return replace(made, num_layers=num_layers, mlp_ratio=hidden / made.width)
