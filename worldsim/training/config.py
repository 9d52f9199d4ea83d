"""The training recipe: the `[training]` table of preset.toml. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from worldsim.core.errors import ConfigError
from worldsim.models.config import LayersConfig, ModelConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where frames come from."""

    num_workers: int = 1
    """Processes that render; each keeps at most a few episodes waiting, so a slow trainer costs nothing."""
    episode_frames: int = 256
    """Frames of one rendered episode."""
    pool_episodes: int = 1200
    """Episodes kept in memory to draw from; the oldest goes when a new one comes."""
    start_episodes: int = 48
    """Training begins when this many are there."""
    reuse: float = 4.0
    """Frames drawn for each freshly rendered one, once training has begun: rendering and encoding cost time too."""
    script: str = "mixed"
    """Policy that plays (see the world's `policies`)."""
    resize: bool = False
    """Make recorded pictures the size of the preset; otherwise another size is an error."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW, linear warm-up, constant, and a linear fall to a twentieth over the last part of every leg.

    The updates of a leg of minutes are known when its fall begins (`training.schedule`)."""

    learning_rate: float = 1e-3
    warmup_updates: int = 200
    cooldown_share: float = 0.3
    """Share of a leg's minutes over which the learning rate falls."""
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    ema_decay: float = 0.998
    """Per update; early on (1 + updates) / (10 + updates) where that is smaller."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a batch is computed; what is learned does not depend on it, beyond rounding."""

    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of matrix products. `auto`: bfloat16 on CUDA; on a CPU it pays where `worldsim doctor` says so (AMX)."""
    accumulate: int = 1
    """Batches whose gradients make one update; as many processes with one batch each do the same."""
    shard: bool = False
    """Split parameters, gradients and optimiser state among the processes, for what does not fit into one."""
    forget_activations: bool = False
    """Compute layers again in the backward pass: a third more work, memory for one layer in place of all."""
    compile_layers: bool = False
    """Compile each layer: a minute or two at the start."""

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ConfigError(f"accumulate is {self.accumulate}", hint="1 or more")


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining:
    batch_frames: int = 24
    texture_weight: float = 0.0
    """Weight of the patch-spectrum term: more grain, a little less PSNR."""
    freeze_encoder: bool = False
    """Train the decoder alone: the latents stay what they are, so a dynamics model trained on them stays valid."""
    optimiser: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class DynamicsTraining:
    """Diffusion forcing with long clean prefixes, shortcut forcing, and the model's own frames as context."""

    clip_frames: int = 16
    batch_clips: int = 12
    carry_clips: int = 1
    """Consecutive clips of an episode that are trained one after the other, the state carried between them: memory can
    reach beyond a clip, which is as far as a gradient goes. An update takes one clip; a run ends after whole chains."""
    max_context_level: float = 0.3
    """Most noise on a context frame; 0 turns noise augmentation off."""
    prefix_share: float = 0.5
    """Share of rows with a clean prefix of more than half of the clip."""
    tau_floor: float = 0.5
    """Weight of a frame of pure noise against a clean one; Dreamer 4 has 0.1, one-step play wants more."""
    one_step_share: float = 0.0
    """Share of frames learned in one step from pure noise, against the truth itself (see `sample_flow_steps`)."""
    shortcut_share: float = 0.25
    """Share of rows that learn larger steps from the network's own smaller ones."""
    shortcut_after: int = 300
    """Updates before these begin."""
    rollout_share: float = 0.0
    """Share of updates whose context, after a few true frames, is the model's own rollout."""
    rollout_context: int = 4
    """True frames before such a rollout, at least."""
    pose_weight: float = 0.1
    """Weight of the pose head's loss."""
    pose_target: Literal["absolute", "relative"] = "absolute"
    """Absolute where the map is fixed; relative to the clip's first frame where it is not."""
    pose_origin_units: tuple[float, float] = (0.0, 0.0)
    """The point of the world that is (0, 0) in an absolute pose: for a place memory the middle of the map."""
    pose_scale_units: float = 384.0
    """World units that count as 1 in a pose: for a place memory half of the map's longer side; for a plan so many that
    nobody goes further than 1.5 of them from where a clip or a game begins. Where poses are given: what 1 is there."""
    place_frames: int = 384
    """Frames per update from which the map of a fixed world is learned (model.map.kind = fixed)."""
    plan_clips: int = 3
    """Clips per update from which it is learned to draw a plan and to read it (model.map.kind = spatial)..."""
    plan_frames: int = 88
    """...and their length."""
    plan_taught_updates: int = 300
    """First so many updates draw the walls where they truly are; after that where the model sees them."""
    walk_poses: int = 2048
    """Poses per update that its motion is asked for."""
    walk_ticks: int = 16
    """Longest walk by actions alone; training begins with one tick."""
    walk_growth_updates: int = 200
    """Updates after which walks become a tick longer."""
    walk_only_updates: int = 0
    """First so many updates learn the motion alone: a tenth of the cost of the rest, and all else needs it. With a
    plan, whose motion reads it, as `place_only_updates`."""
    walk_position_noise: float = 0.01
    """Most that a walk's start is off, in scaled units."""
    place_only_updates: int = 0
    """First so many updates learn the map (either) and its motion alone: it is cheap, and the denoiser starts from
    it."""
    optimiser: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.shortcut_share < 1 or not 0 <= self.rollout_share <= 1:
            raise ConfigError("shares are from 0 to 1", hint="see DynamicsTraining")
        if self.clip_frames < 3 or self.batch_clips < 2:
            raise ConfigError("clip_frames >= 3 and batch_clips >= 2 are needed", hint="see DynamicsTraining")
        if self.plan_frames < 24:
            raise ConfigError(f"plan_frames is {self.plan_frames}", hint="24 or more: some are drawn, others recalled")
        if self.carry_clips < 1:
            raise ConfigError(f"carry_clips is {self.carry_clips}", hint="1 carries nothing; 2 or more")

    @property
    def sequence_frames(self) -> int:
        """What is drawn at once: consecutive clips."""
        return self.clip_frames * self.carry_clips

    def sampled_frames(self, model: ModelConfig) -> int:
        """Frames of the longest piece of an episode that is learned from."""
        if model.map is None:
            return self.sequence_frames
        motion_frames = 2 + self.walk_ticks if model.map.pose == "estimated" else 0
        return max(self.sequence_frames, motion_frames, self.plan_frames if model.map.kind == "spatial" else 0)

    def check_fits(self, model: ModelConfig) -> None:
        """Raises: ConfigError for what that model cannot learn by."""
        if self.carry_clips > 1 and isinstance(model, LayersConfig) and not model.supports_tbptt:
            raise ConfigError(
                f"carry_clips = {self.carry_clips} needs causal attention; "
                f"attention.kind = {model.attention.kind!r} sees later frames",
                hint="carry_clips = 1, or attention.kind = 'local'",
            )
        if model.map is None or model.map.kind != "spatial" or model.map.pose != "estimated":
            return
        if self.pose_target != "relative":
            raise ConfigError(
                f"a plan begins at a clip's first frame, and pose_target is {self.pose_target!r}",
                hint="pose_target = 'relative', or model.map.kind = 'fixed'",
            )
        if self.plan_frames < 2 + self.walk_ticks:
            raise ConfigError(
                f"walk_ticks is {self.walk_ticks}, and clips for the plan have {self.plan_frames} frames",
                hint=f"plan_frames = {2 + self.walk_ticks}, or shorter walks",
            )


@dataclass(frozen=True, kw_only=True)
class DecoderTraining:
    """The decoder alone, on what the dynamics predicts one step ahead."""

    clip_frames: int = 12
    batch_clips: int = 4
    texture_weight: float = 1.5
    encoded_stride: int = 3
    """Of every so many frames one is drawn from its own latent as well."""
    optimiser: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=5e-4, warmup_updates=50))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    autoencoder: AutoencoderTraining = field(default_factory=AutoencoderTraining)
    dynamics: DynamicsTraining = field(default_factory=DynamicsTraining)
    decoder: DecoderTraining = field(default_factory=DecoderTraining)
