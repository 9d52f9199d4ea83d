"""Sizes of the autoencoder and the world model, and their limits. Torch-free, for the command line.

A limit is far above what a computer plays in real time: it is there for configs that come from a stranger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from worldsim.core.config import check_ranges, short_repr
from worldsim.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Frame <-> latent. The latent grid is the frame divided by `2 ** len(widths)`."""

    latent_channels: int = 16
    """C: channels of one latent cell."""
    widths: tuple[int, ...] = (32, 48, 64)
    """Channels of the convolutions at each halving of the picture, full size first."""
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
        """How many pixels one latent cell is wide."""
        return int(2 ** len(self.widths))


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """Action-conditioned latent video model.

    `form` is one of the two of the design: `trunk` (history trunk read by a small denoiser, every frame trains in
    exactly the play-time regime) or `single` (one network; a clean stream writes the state, a noisy stream reads it).
    """

    form: Literal["trunk", "single"] = "trunk"
    patch: int = 2
    """Latent cells per token along each side, in the scanned layers."""
    width: int = 192
    """D of the scanned layers."""
    num_layers: int = 4
    blocks: tuple[tuple[int, int], ...] = ((1, 1), (0, 0))
    """Scan block (rows, columns) in tokens per layer, repeated in turn; (0, 0) is the whole frame."""
    num_heads: int = 4
    """K: heads of the scan and of the attention; `width` is divided among them."""
    state_dim: int = 32
    """S: size of the scan's state per channel."""
    window_frames: int = 4
    """Frames that local attention sees, its own among them."""
    attention: Literal["window", "full", "chunk", "joint", "none"] = "window"
    """`window`: a frame and those before it, `window_frames` in all. `full`: a frame and all before it; its state grows
    with every frame. `single` only: `chunk`, chunks of `window_frames`, seen both ways within, and the chunk before;
    `joint`, all of a window of `window_frames`, which is denoised whole."""
    mixer: Literal["mamba2", "gated_deltanet", "lstm", "none"] = "mamba2"
    """What scans the blocks. `none` leaves the scan out: the control for memory."""
    mlp_ratio: float = 3.0
    """Hidden width of the MLP over `width`."""
    denoiser_width: int = 128
    """Channels of the denoiser (`trunk` only)."""
    denoiser_blocks: int = 4
    """Blocks (convolution + attention) of the denoiser (`trunk` only)."""
    num_past: int = 2
    """Clean past latents the denoiser sees (`trunk` only)."""
    pose: Literal["none", "head", "place", "plan", "given"] = "head"
    """`head`: a training-only head reads the true pose off the trunk, an extra loss that teaches path integration.
    `place` (`trunk` only): the state carries an estimate of the pose, the weights a map; for fixed worlds.
    `plan` (`trunk` only): the state carries both; for mazes never seen before. `given`: as `plan`, where poses are the
    inputs (`world.inputs`)."""
    place_width: int = 1024
    """Hidden width of either map."""
    place_view_deg: float = 90.0
    """The camera's horizontal field of view, from which either map is seen."""

    def __post_init__(self) -> None:
        check_ranges(self, _LIMITS)
        if self.width % self.num_heads:
            raise ConfigError(f"width {self.width} is not a multiple of num_heads {self.num_heads}", hint="make it one")
        if (self.width // self.num_heads) % 6:
            raise ConfigError(
                f"head size {self.width // self.num_heads} is not a multiple of 6",
                hint="RoPE turns three axes in pairs",
            )
        if self.denoiser_width % (self.denoiser_width // 16) or self.denoiser_width % max(1, self.denoiser_width // 32):
            raise ConfigError(
                f"denoiser_width {self.denoiser_width} does not divide into heads and groups",
                hint="a multiple of 32, or 16",
            )
        if self.has_map and self.form != "trunk":
            raise ConfigError(f"pose = {self.pose!r} needs form = 'trunk'", hint="pose = 'head', or form = 'trunk'")
        self._check_attention()
        if not 1 <= len(self.blocks) <= 128 or min(map(min, self.blocks)) < 0:
            raise ConfigError(f"blocks is {short_repr(self.blocks)}", hint="for example [[1, 1], [0, 0]]")

    def _check_attention(self) -> None:
        if self.attention not in ("chunk", "joint"):
            return
        if self.form != "single":
            raise ConfigError(f"attention = {self.attention!r} needs form = 'single'", hint="form = 'single'")
        if self.attention == "chunk" and self.mixer == "lstm":
            raise ConfigError("attention = 'chunk' has no mixer = 'lstm'", hint="mixer = 'mamba2'")
        if self.attention == "joint" and (self.mixer != "none" or self.window_frames % 2):
            raise ConfigError(
                "attention = 'joint' takes an even window_frames and no scan", hint="mixer = 'none', window_frames = 20"
            )

    @property
    def has_map(self) -> bool:
        """Whether something is recalled of the place for every frame, from a map in the weights or in the state."""
        return self.pose == "place" or self.has_spatial_map

    @property
    def has_spatial_map(self) -> bool:
        """Whether that map is in the state."""
        return self.pose in ("plan", "given")

    @property
    def frames_per_block(self) -> int:
        """Frames of which each sees the others, also those after it."""
        return self.window_frames if self.attention in ("chunk", "joint") else 1

    @property
    def supports_tbptt(self) -> bool:
        """Whether a clip can be trained from the state that the clip before it left: no frame sees later ones."""
        return self.attention not in ("chunk", "joint")

    @property
    def has_constant_state(self) -> bool:
        """Whether the state has the same size after any number of frames."""
        return self.attention != "full"

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the MLP."""
        return int(self.width * self.mlp_ratio + 1e-6)

    @property
    def num_sublayers(self) -> int:
        """Of a layer: scan and attention where there are any, and the MLP."""
        return 1 + (self.mixer != "none") + (self.attention != "none")


def layer_parameters(config: WorldModelConfig) -> int:
    """Parameters of one of the scanned layers."""
    width, heads = config.width, config.num_heads
    mamba2 = width * (3 * width + 2 * config.state_dim + heads) + width + 3 * heads
    hidden = width // 2
    scan = {
        "mamba2": mamba2,
        "gated_deltanet": mamba2 + width * heads,
        "lstm": 4 * hidden * (width + hidden + 2) + hidden * width,
        "none": 0,
    }[config.mixer]
    attention = 0 if config.attention == "none" else 4 * width**2 + 2 * (width // heads)
    modulation = 3 * config.num_sublayers * width * (width + 1)
    return modulation + scan + attention + mlp_parameters(config, config.mlp_hidden)


def mlp_parameters(config: WorldModelConfig, hidden: int) -> int:
    """Parameters of a layer's MLP of that hidden width."""
    return (2 * config.width + 1) * hidden + config.width


_LIMITS = {
    "patch": (1, 16),
    "width": (6, 8192),
    "num_layers": (1, 128),
    "num_heads": (1, 256),
    "state_dim": (1, 1024),
    "window_frames": (1, 256),
    "mlp_ratio": (0.25, 16),
    "denoiser_width": (16, 4096),
    "denoiser_blocks": (0, 128),
    "num_past": (1, 64),
    "place_width": (4, 8192),
    "place_view_deg": (1, 170),
}
