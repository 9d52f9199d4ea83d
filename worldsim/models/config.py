"""Configuration of the autoencoder and the world model, with limits for every field. Torch-free, for the command line.

A world model is one of three kinds, and its configuration holds no field without meaning for its kind:
    sequence    layers of block-wise scan and local attention carry the memory, and a denoiser generates the frame
    map         an explicit map is the memory, and what it renders at the estimated pose is the frame
    mapped      a sequence model whose denoiser also reads what a map renders

The limits are far above what a computer plays in real time: configurations may come from strangers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from worldsim.core.config import check_ranges, short_repr
from worldsim.core.errors import ConfigError

Blocks: TypeAlias = tuple[tuple[int, int], ...]
"""Scan block (rows, columns) in tokens for each layer, repeated in turn; 0 is the full side of the frame."""
MIXED_BLOCKS: Blocks = ((1, 1), (0, 0))


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Frame <-> latent. The latent grid is the frame divided by `2 ** len(widths)`."""

    latent_channels: int = 16
    """C: channels of one latent cell."""
    widths: tuple[int, ...] = (32, 48, 64)
    """Channels of the convolutions after each halving of the frame, full size first."""
    num_blocks: int = 1
    """Residual blocks at each size, in the encoder and in the decoder."""
    latent_noise: float = 0.05
    """Standard deviation of the noise added to the unit-variance latent in training, in place of a KL term."""

    def __post_init__(self) -> None:
        check_ranges(
            self, {"latent_channels": (1, 1024), "widths": (1, 4096), "num_blocks": (1, 64), "latent_noise": (0, 10)}
        )
        if not 1 <= len(self.widths) <= 8:
            raise ConfigError(f"widths has {len(self.widths)} sizes", hint="1 to 8")

    @property
    def downscale(self) -> int:
        """Side of one latent cell in pixels."""
        return int(2 ** len(self.widths))


@dataclass(frozen=True, kw_only=True)
class LinearScanConfig:
    """What Mamba-2 and Gated DeltaNet share."""

    kind: Literal["mamba2", "gated_deltanet"]
    blocks: Blocks = MIXED_BLOCKS
    state_dim: int = 32
    """S: size of the state per channel."""
    key_groups: int = 1
    """Groups of heads that share keys and queries. 1: all heads do; `num_heads`: each has its own."""
    short_conv: int = 0
    """Tokens of a causal convolution over values, keys and queries, in the order of the scan, followed by a SiLU; 0:
    neither."""
    time_constants: tuple[float, float] = (1.0, 1000.0)
    """Initial time constants of the fastest and the slowest head, in frames; the others are spaced evenly between
    them on a logarithmic scale."""

    def __post_init__(self) -> None:
        _check_blocks(self.blocks)
        check_ranges(self, {"state_dim": (1, 1024), "key_groups": (1, 256), "short_conv": (0, 64)})
        if not 0.1 <= self.time_constants[0] <= self.time_constants[1] <= 1e6:
            raise ConfigError(
                f"time_constants is {self.time_constants}",
                hint="two increasing numbers of frames, for example [1, 1000]",
            )


@dataclass(frozen=True, kw_only=True)
class Mamba2Config(LinearScanConfig):
    """Block-wise Mamba-2."""

    kind: Literal["mamba2"] = "mamba2"
    write_gain: Literal["block", "frame"] = "block"
    """Gain with which a token is written: `block`, its step divided by the tokens of a block, as its decay is; `frame`,
    the undivided step, so that large blocks write as strongly as small ones."""


@dataclass(frozen=True, kw_only=True)
class GatedDeltaNetConfig(LinearScanConfig):
    """Block-wise Gated DeltaNet."""

    kind: Literal["gated_deltanet"] = "gated_deltanet"


@dataclass(frozen=True, kw_only=True)
class LSTMConfig:
    """A block-wise LSTM. Its state size follows from the width."""

    kind: Literal["lstm"] = "lstm"
    blocks: Blocks = MIXED_BLOCKS

    def __post_init__(self) -> None:
        _check_blocks(self.blocks)


@dataclass(frozen=True, kw_only=True)
class NoScanConfig:
    """No scan: the control for memory."""

    kind: Literal["none"] = "none"


ScanConfig: TypeAlias = Mamba2Config | GatedDeltaNetConfig | LSTMConfig | NoScanConfig


@dataclass(frozen=True, kw_only=True)
class LocalAttentionConfig:
    """A frame attends to itself and to the frames just before it."""

    kind: Literal["local"] = "local"
    window_frames: int = 4
    """Frames a token attends to, its own included."""

    def __post_init__(self) -> None:
        check_ranges(self, {"window_frames": (1, 256)})


@dataclass(frozen=True, kw_only=True)
class FullAttentionConfig:
    """A frame attends to itself and to all frames before it. The state grows with every frame."""

    kind: Literal["full"] = "full"


@dataclass(frozen=True, kw_only=True)
class ChunkAttentionConfig:
    """Frames attend bidirectionally within their chunk, and to the chunk before it."""

    kind: Literal["chunk"] = "chunk"
    chunk_frames: int = 5

    def __post_init__(self) -> None:
        check_ranges(self, {"chunk_frames": (1, 256)})


@dataclass(frozen=True, kw_only=True)
class BidirectionalAttentionConfig:
    """Frames attend to all frames of a window that is denoised as a unit."""

    kind: Literal["bidirectional"] = "bidirectional"
    window_frames: int = 20
    """Half of them context, half of them denoised in training."""

    def __post_init__(self) -> None:
        check_ranges(self, {"window_frames": (2, 256)})
        if self.window_frames % 2:
            raise ConfigError(f"window_frames is {self.window_frames}", hint="an even number")


@dataclass(frozen=True, kw_only=True)
class NoAttentionConfig:
    """No attention between frames."""

    kind: Literal["none"] = "none"


AttentionConfig: TypeAlias = (
    LocalAttentionConfig | FullAttentionConfig | ChunkAttentionConfig | BidirectionalAttentionConfig | NoAttentionConfig
)


@dataclass(frozen=True, kw_only=True)
class SeparateDenoiserConfig:
    """A small network that denoises, conditioned on the layers' output. A denoising step costs only this network."""

    kind: Literal["separate"] = "separate"
    width: int = 128
    """Channels."""
    num_blocks: int = 4
    """Blocks of convolution and attention."""
    num_past: int = 2
    """Clean past latents it reads beside the noisy one."""

    def __post_init__(self) -> None:
        check_ranges(self, {"width": (16, 4096), "num_blocks": (0, 128), "num_past": (1, 64)})
        if self.width % (self.width // 16) or self.width % max(1, self.width // 32):
            raise ConfigError(
                f"width {self.width} does not divide into heads and groups", hint="a multiple of 32, or 16"
            )


@dataclass(frozen=True, kw_only=True)
class SharedDenoiserConfig:
    """The layers denoise too: a clean stream writes their state, a noisy stream reads it."""

    kind: Literal["shared"] = "shared"
    action_in_tokens: bool = False
    """Add the embedding of the action to the tokens too, not only to the condition of adaLN, so that a pose can be a
    key from the first layer on."""


@dataclass(frozen=True, kw_only=True)
class LayersConfig:
    """Layers of scan, attention and MLP over the tokens of a frame: what sequence and mapped models share."""

    kind: Literal["sequence", "mapped"]
    patch: int = 2
    """Latent cells per token along each side."""
    width: int = 192
    """D: channels of a token."""
    num_layers: int = 4
    num_heads: int = 4
    """K: heads of the scan and of the attention; `width` is divided among them."""
    mlp_ratio: float = 3.0
    """Hidden width of the MLP over `width`."""
    modulation_std: float = 0.0
    """Initial standard deviation of the adaLN projections' weights. At 0, actions and poses have no effect on a layer
    until training has made these weights grow."""
    pose_octaves: int = 0
    """For inputs that are poses: the number of octaves of x and y that are given as sines and cosines, with those of 2
    and 4 times the heading. 0: inputs as they are."""
    scan: ScanConfig = field(default_factory=Mamba2Config)
    attention: AttentionConfig = field(default_factory=LocalAttentionConfig)

    def __post_init__(self) -> None:
        check_ranges(
            self,
            {
                "patch": (1, 16),
                "width": (6, 8192),
                "num_layers": (1, 128),
                "num_heads": (1, 256),
                "mlp_ratio": (0.25, 16),
                "modulation_std": (0, 1),
                "pose_octaves": (0, 16),
            },
        )
        if self.width % self.num_heads:
            raise ConfigError(
                f"width {self.width} is not a multiple of num_heads {self.num_heads}",
                hint=f"width = {self.num_heads * max(6, self.width // self.num_heads // 6 * 6)}, or other num_heads",
            )
        if self.attention.kind != "none" and (self.width // self.num_heads) % 6:
            raise ConfigError(
                f"head size {self.width // self.num_heads} is not a multiple of 6",
                hint="RoPE rotates three axes in pairs of channels",
            )
        if isinstance(self.scan, LinearScanConfig):
            self._check_scan(self.scan)
        if self.attention.kind == "chunk" and self.scan.kind == "lstm":
            raise ConfigError("attention.kind = 'chunk' cannot be combined with scan.kind = 'lstm'", hint="'mamba2'")
        if self.attention.kind == "bidirectional" and self.scan.kind != "none":
            raise ConfigError("attention.kind = 'bidirectional' allows no scan", hint="scan.kind = 'none'")

    def _check_scan(self, scan: LinearScanConfig) -> None:
        if self.num_heads % scan.key_groups:
            raise ConfigError(
                f"num_heads {self.num_heads} is not a multiple of scan.key_groups {scan.key_groups}",
                hint=f"scan.key_groups = {self.num_heads}, or 1",
            )
        if scan.short_conv and self.attention.kind == "chunk":
            raise ConfigError("scan.short_conv cannot be combined with attention.kind = 'chunk'", hint="short_conv = 0")

    @property
    def frames_per_block(self) -> int:
        """Frames that attend to each other bidirectionally; 1 where attention is causal."""
        if isinstance(self.attention, ChunkAttentionConfig):
            return self.attention.chunk_frames
        return self.attention.window_frames if isinstance(self.attention, BidirectionalAttentionConfig) else 1

    @property
    def supports_tbptt(self) -> bool:
        """Whether training can start a clip from the state after the clip before it: attention has to be causal."""
        return self.attention.kind not in ("chunk", "bidirectional")

    @property
    def has_constant_state(self) -> bool:
        """Whether the state has the same size after any number of frames."""
        return self.attention.kind != "full"

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the MLP."""
        return int(self.width * self.mlp_ratio + 1e-6)

    @property
    def num_sublayers(self) -> int:
        """Sublayers of a layer: scan and attention where present, and the MLP."""
        return 1 + (self.scan.kind != "none") + (self.attention.kind != "none")

    @property
    def scan_blocks(self) -> Blocks:
        """The scan's blocks; the full frame for layers without a scan."""
        return ((0, 0),) if isinstance(self.scan, NoScanConfig) else self.scan.blocks


@dataclass(frozen=True, kw_only=True)
class FixedMapConfig:
    """A map of one fixed world, held in the weights. The pose is estimated from frames and actions."""

    kind: Literal["fixed"] = "fixed"
    width: int = 1024
    """Hidden width of the map's networks."""
    view_deg: float = 90.0
    """The camera's horizontal field of view."""
    solid_walls: bool = False
    """Walls of the map stop the predicted pose. The motion model learns to stop at walls as well, but a key held down
    can push it through."""

    def __post_init__(self) -> None:
        check_ranges(self, _MAP_LIMITS)

    @property
    def pose(self) -> Literal["estimated"]:
        return "estimated"


@dataclass(frozen=True, kw_only=True)
class SpatialMapConfig:
    """A map of a world never seen before, built in the state from the frames of the session."""

    kind: Literal["spatial"] = "spatial"
    width: int = 192
    """Hidden width of the map's networks."""
    view_deg: float = 90.0
    """The camera's horizontal field of view."""
    pose: Literal["estimated", "given"] = "estimated"
    """`estimated`: from actions and frames. `given`: the inputs are poses (`world.inputs = "pose"`)."""
    solid_walls: bool = False
    """Walls of the map stop the predicted pose (see `FixedMapConfig`); where poses are given, the camera that the keys
    move."""

    def __post_init__(self) -> None:
        check_ranges(self, _MAP_LIMITS)


MapConfig: TypeAlias = FixedMapConfig | SpatialMapConfig
_MAP_LIMITS = {"width": (4, 8192), "view_deg": (1, 170)}


@dataclass(frozen=True, kw_only=True)
class SequenceModelConfig(LayersConfig):
    """Scans and local attention carry the memory; a denoiser generates the frame."""

    kind: Literal["sequence"] = "sequence"
    denoiser: SeparateDenoiserConfig | SharedDenoiserConfig = field(default_factory=SeparateDenoiserConfig)
    pose: Literal["estimated", "none"] = "estimated"
    """`estimated`: a head predicts the true pose in training; this auxiliary loss teaches path integration. Play never
    uses it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention.kind in ("chunk", "bidirectional") and self.denoiser.kind != "shared":
            raise ConfigError(
                f"attention.kind = {self.attention.kind!r} needs denoiser.kind = 'shared'",
                hint="denoiser.kind = 'shared'",
            )

    @property
    def map(self) -> None:
        """A sequence model has no map."""
        return


@dataclass(frozen=True, kw_only=True)
class MapModelConfig:
    """An explicit map only: no scan, no attention, no denoiser. What the map renders is the frame."""

    kind: Literal["map"] = "map"
    map: MapConfig = field(default_factory=FixedMapConfig)

    @property
    def frames_per_block(self) -> int:
        return 1

    @property
    def supports_tbptt(self) -> bool:
        return True

    @property
    def has_constant_state(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class MappedModelConfig(LayersConfig):
    """A sequence model whose denoiser also reads what the map renders."""

    kind: Literal["mapped"] = "mapped"
    map: MapConfig = field(default_factory=FixedMapConfig)
    denoiser: SeparateDenoiserConfig | SharedDenoiserConfig = field(default_factory=SeparateDenoiserConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention.kind in ("chunk", "bidirectional"):
            raise ConfigError(
                f"attention.kind = {self.attention.kind!r} cannot be combined with a map",
                hint="kind = 'sequence', or attention.kind = 'local'",
            )


ModelConfig: TypeAlias = SequenceModelConfig | MapModelConfig | MappedModelConfig


def describe_model(config: ModelConfig) -> str:
    """What generates the frames, as a phrase for people."""
    parts = []
    if config.map is not None:
        parts.append("explicit map in the weights" if config.map.kind == "fixed" else "explicit map built during play")
    if isinstance(config, MapModelConfig):
        return f"{parts[0]} (no scan, attention or diffusion)"
    if config.scan.kind != "none":
        parts.append(f"{config.scan.kind} scan")
    if config.attention.kind != "none":
        parts.append(f"{config.attention.kind} attention")
    return ", ".join([*parts, "denoiser"])


def layer_parameters(config: LayersConfig) -> int:
    """Number of parameters of one layer."""
    width, heads = config.width, config.num_heads
    attention = 0 if config.attention.kind == "none" else 4 * width**2 + 2 * (width // heads)
    modulation = 3 * config.num_sublayers * width * (width + 1)
    return modulation + _scan_parameters(config) + attention + mlp_parameters(config, config.mlp_hidden)


def _scan_parameters(config: LayersConfig) -> int:
    width, heads, scan = config.width, config.num_heads, config.scan
    if isinstance(scan, NoScanConfig):
        return 0
    if isinstance(scan, LSTMConfig):
        hidden = width // 2
        return 4 * hidden * (width + hidden + 2) + hidden * width
    xbc = width + 2 * scan.key_groups * scan.state_dim
    conv = xbc * (scan.short_conv + 1) if scan.short_conv else 0
    mamba2 = width * (2 * width + xbc + heads) + width + 3 * heads + conv
    return mamba2 + (width * heads if isinstance(scan, GatedDeltaNetConfig) else 0)


def mlp_parameters(config: LayersConfig, hidden: int) -> int:
    """Number of parameters of a layer's MLP with `hidden` hidden units."""
    return (2 * config.width + 1) * hidden + config.width


def _check_blocks(blocks: Blocks) -> None:
    if not 1 <= len(blocks) <= 128 or min(map(min, blocks)) < 0:
        raise ConfigError(f"blocks is {short_repr(blocks)}", hint="for example [[1, 1], [0, 0]]")
