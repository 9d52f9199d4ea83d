"""The architectures of the paper's tables by name. Torch-free, for the command line.

Parameter counts are matched as in the paper: first by the number of layers, then by the width of the MLP.
Source: LSSVWM, tables 2, 3, S1 and the ablations of section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from worldsim.core.errors import ConfigError, did_you_mean
from worldsim.models.config import (
    AttentionConfig,
    BidirectionalAttentionConfig,
    Blocks,
    ChunkAttentionConfig,
    FullAttentionConfig,
    GatedDeltaNetConfig,
    LayersConfig,
    LocalAttentionConfig,
    LSTMConfig,
    Mamba2Config,
    ModelConfig,
    NoAttentionConfig,
    NoScanConfig,
    ScanConfig,
    SequenceModelConfig,
    SharedDenoiserConfig,
    layer_parameters,
    mlp_parameters,
)

REFERENCE_ARCHITECTURE = "full"
"""The architecture whose parameter count the others are matched to."""
VARIANT_SEPARATOR = "+"
"""Between the name of an architecture and that of a training variant."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A sequence model whose layers denoise, as changes to a configuration.

    `training` are fields of the training recipe, for ablations of training rather than of the network.
    """

    summary: str
    scan: type[ScanConfig] = Mamba2Config
    blocks: Blocks | None = None
    """None: those of the configuration."""
    attention: AttentionConfig | None = None
    """None: local attention with the configuration's window."""
    training: Mapping[str, Any] = field(default_factory=dict)


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "full": Architecture(summary="block-wise scans of mixed sizes and frame-local attention"),
        "block-1": Architecture(summary="as full, every token scanned by itself", blocks=((1, 1),)),
        "mamba2-local": Architecture(
            summary="one scan over the whole frame in every layer, and frame-local attention", blocks=((0, 0),)
        ),
        "mamba2": Architecture(
            summary="one scan over the whole frame in every layer, no attention",
            blocks=((0, 0),),
            attention=NoAttentionConfig(),
        ),
        "causal-window": Architecture(
            summary="attention over the last 20 frames, no scan",
            scan=NoScanConfig,
            attention=LocalAttentionConfig(window_frames=20),
        ),
        "causal-full": Architecture(
            summary="attention over all frames so far, no scan; its state grows with every frame",
            scan=NoScanConfig,
            attention=FullAttentionConfig(),
        ),
        "gated-deltanet": Architecture(summary="as full, by the gated delta rule", scan=GatedDeltaNetConfig),
        "lstm": Architecture(summary="as full, with LSTMs as scans", scan=LSTMConfig),
        "chunk": Architecture(
            summary="as full, attention in chunks of 5 frames: own chunk both ways and the chunk before",
            attention=ChunkAttentionConfig(chunk_frames=5),
        ),
        "bidirectional": Architecture(
            summary="a window of 20 frames denoised as a unit, attention both ways, no scan",
            scan=NoScanConfig,
            attention=BidirectionalAttentionConfig(window_frames=20),
        ),
        "no-clean-prefix": Architecture(
            summary="as full, trained without long clean prefixes: every context frame has noise of its own level",
            training={"clean_prefix_prob": 0.0, "max_context_level": 1.0},
        ),
    }
)


def find_architecture(name: str) -> Architecture:
    """Raises: ConfigError for an unknown name."""
    if name not in ARCHITECTURES:
        raise ConfigError(f"no architecture {name!r}", hint=did_you_mean(name, ARCHITECTURES))
    return ARCHITECTURES[name]


def apply_architecture(config: ModelConfig, name: str) -> SequenceModelConfig:
    """`config` with that architecture, whatever its parameter count. A map is dropped. Raises: ConfigError."""
    architecture = find_architecture(name)
    layers = config if isinstance(config, LayersConfig) else SequenceModelConfig()
    attention = architecture.attention or layers.attention
    return SequenceModelConfig(
        patch=layers.patch,
        width=layers.width,
        num_layers=layers.num_layers,
        num_heads=layers.num_heads,
        mlp_ratio=layers.mlp_ratio,
        scan=_convert_scan(layers.scan, architecture),
        attention=attention if architecture.attention or attention.kind == "local" else LocalAttentionConfig(),
        denoiser=SharedDenoiserConfig(),
        pose=config.pose if isinstance(config, SequenceModelConfig) else "estimated",
    )


def match_parameters(config: ModelConfig, name: str) -> SequenceModelConfig:
    """`apply_architecture`, with the parameter count of the reference architecture at the same configuration.

    Raises: ConfigError, also where no width of the MLP reaches that count.
    """
    reference, matched = apply_architecture(config, REFERENCE_ARCHITECTURE), apply_architecture(config, name)
    budget = reference.num_layers * layer_parameters(reference)
    num_layers = max(1, round(budget / layer_parameters(matched)))
    without_mlp = layer_parameters(matched) - mlp_parameters(matched, matched.mlp_hidden)
    per_unit = mlp_parameters(matched, 1) - mlp_parameters(matched, 0)
    hidden = round((budget / num_layers - without_mlp - mlp_parameters(matched, 0)) / per_unit)
    return replace(matched, num_layers=num_layers, mlp_ratio=hidden / matched.width)


def _convert_scan(scan: ScanConfig, architecture: Architecture) -> ScanConfig:
    """A scan of the architecture's type, with the fields that it shares with `scan`."""
    names = {f.name for f in fields(architecture.scan)} & {f.name for f in fields(scan)} - {"kind"}
    shared = {name: getattr(scan, name) for name in names}
    if architecture.blocks is not None:
        shared["blocks"] = architecture.blocks
    return architecture.scan(**shared)
