"""The training recipe: the `[training]` table of preset.toml. Torch-free.

`read_training` checks the table against the model and accepts the key names of earlier versions. In key names and
below, a step is one update of the optimizer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from worldsim.core.config import check_ranges, from_mapping
from worldsim.core.errors import ConfigError
from worldsim.models.config import LayersConfig, ModelConfig

Stage = Literal["autoencoder", "map", "dynamics", "decoder"]

logger = logging.getLogger(__name__)


def stages_of(model: ModelConfig) -> tuple[Stage, ...]:
    """The stages that train a preset with this model, in order.

    `dynamics` trains the world model: a sequence model, or the map of a map model. A mapped model needs two stages,
    because its sequence model is trained on a map that no longer changes.
    """
    if model.kind == "mapped":
        return ("autoencoder", "map", "dynamics", "decoder")
    return ("autoencoder", "dynamics", "decoder")


def check_stage(stage: Stage, model: ModelConfig) -> None:
    """Raises: ConfigError for a stage that this kind of model does not have."""
    if stage not in stages_of(model):
        what = "has no map" if model.map is None else "trains its map in stage dynamics"
        raise ConfigError(f"model.kind = {model.kind!r} {what}", hint="--stage dynamics")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where frames come from."""

    num_workers: int = 1
    """Rendering processes. Each keeps at most a few finished episodes, so a slow trainer costs nothing."""
    episode_frames: int = 256
    """Frames of one rendered episode."""
    buffer_episodes: int = 1200
    """Capacity of the replay buffer; the oldest episode is replaced first."""
    min_buffer_episodes: int = 48
    """Episodes in the buffer before training starts."""
    take_ready: bool = False
    """Also take every episode that is finished, at most one per update: more data where many workers render, which then
    depends on how fast they are."""
    replay_ratio: float = 4.0
    """Frames sampled per newly rendered frame once training has started: rendering and encoding cost time too."""
    policy: str = "mixed"
    """Scripted policy that plays (see the world's `policies`)."""
    resize: bool = False
    """Resize recorded frames to the preset's size; otherwise another size is an error."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up, a constant rate, and a linear decay to a twentieth at the end of every session.

    The number of steps in a session given in minutes is known once its decay starts (`training.loop.Schedule`).
    """

    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.0
    """Learning rate of Muon, which then trains the weight matrices of the layers; 0: AdamW for all parameters."""
    warmup_steps: int = 200
    decay_fraction: float = 0.3
    """Fraction of a session over which the learning rate decays."""
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.998
    """Per step; (1 + steps) / (10 + steps) early on, where that is smaller."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a batch is computed. The result does not depend on it, except for rounding."""

    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of matrix products. `auto`: bfloat16 on CUDA. On a CPU bfloat16 pays only with AMX (see `worldsim doctor`)."""
    gradient_accumulation_steps: int = 1
    """Batches per optimizer step; that many processes with one batch each are equivalent."""
    fsdp: bool = False
    """Shard parameters, gradients and optimizer state across processes, for models that do not fit in one."""
    activation_checkpointing: bool = False
    """Recompute layers in the backward pass: a third more compute, activation memory of one layer instead of all."""
    compile: bool = False
    """Compile each layer, which takes a minute or two at the start."""

    def __post_init__(self) -> None:
        if self.gradient_accumulation_steps < 1:
            raise ConfigError(f"gradient_accumulation_steps is {self.gradient_accumulation_steps}", hint="1 or more")


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining:
    batch_frames: int = 24
    spectral_loss_weight: float = 0.0
    """Weight of the patch-spectrum loss: more texture, slightly lower PSNR."""
    freeze_encoder: bool = False
    """Train only the decoder. Latents stay the same, so a world model trained on them stays valid."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    @property
    def sampled_frames(self) -> int:
        """Consecutive frames sampled from an episode."""
        return 1


@dataclass(frozen=True, kw_only=True)
class SequenceTraining:
    """Diffusion forcing with long clean prefixes, shortcut forcing, and self-rollouts as context."""

    clip_frames: int = 16
    batch_clips: int = 12
    tbptt_clips: int = 1
    """Consecutive clips of an episode that are trained one after the other with the state carried over (truncated
    backpropagation through time): memory can reach beyond a clip, gradients cannot. A step takes one clip; a session
    ends only after complete sequences of clips."""
    max_context_level: float = 0.3
    """Maximum noise level of a context frame; 0 turns noise augmentation off."""
    clean_prefix_prob: float = 0.5
    """Probability that a row has a clean prefix longer than half of the clip."""
    min_noise_weight: float = 0.5
    """Loss weight of a frame of pure noise relative to a clean one. Dreamer 4 uses 0.1; one-step play needs more."""
    one_step_fraction: float = 0.0
    """Fraction of frames trained to predict the true frame from pure noise in one step (see `sample_flow_steps`)."""
    shortcut_fraction: float = 0.25
    """Fraction of rows that learn larger steps from the network's own smaller steps."""
    shortcut_start_step: int = 300
    """First step with shortcut rows."""
    self_rollout_prob: float = 0.0
    """Probability that the context of a step, after a few true frames, is the model's own rollout."""
    self_rollout_context_frames: int = 4
    """Minimum number of true frames before such a rollout."""
    pose_loss_weight: float = 0.1
    """Weight of the pose head's loss (model.pose = "estimated")."""
    pose_target: Literal["absolute", "relative"] = "absolute"
    """`absolute` for a fixed world; otherwise `relative` to the first frame of the clip."""
    pose_origin_units: tuple[float, float] = (0.0, 0.0)
    """World position that is (0, 0) in an absolute pose."""
    pose_scale_units: float = 384.0
    """World units that are 1 in a pose."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.shortcut_fraction < 1:
            raise ConfigError(f"shortcut_fraction is {self.shortcut_fraction:g}", hint="from 0 to below 1")
        if not 0 <= self.self_rollout_prob <= 1:
            raise ConfigError(f"self_rollout_prob is {self.self_rollout_prob:g}", hint="from 0 to 1")
        if self.clip_frames < 3 or self.batch_clips < 2:
            raise ConfigError(
                f"clip_frames is {self.clip_frames}, batch_clips is {self.batch_clips}",
                hint="at least 3 frames and 2 clips",
            )
        if self.tbptt_clips < 1:
            raise ConfigError(f"tbptt_clips is {self.tbptt_clips}", hint="1 (no carried state), or more")

    @property
    def sampled_frames(self) -> int:
        """Consecutive frames sampled from an episode: all clips of a sequence."""
        return self.clip_frames * self.tbptt_clips

    def check_fits(self, model: ModelConfig) -> None:
        """Raises: ConfigError for a model that cannot be trained this way."""
        if self.tbptt_clips > 1 and isinstance(model, LayersConfig) and not model.supports_tbptt:
            raise ConfigError(
                f"tbptt_clips = {self.tbptt_clips} needs causal attention; "
                f"attention.kind = {model.attention.kind!r} sees later frames",
                hint="tbptt_clips = 1, or attention.kind = 'local'",
            )


@dataclass(frozen=True, kw_only=True)
class RecallClips:
    """Batches of one form in the recall recipe: clean context frames are written to the state, then targets are
    predicted from it."""

    task: Literal["recall", "ahead", "reverse", "repeat"] = "recall"
    """`recall`: frames of the context and others, each read from the state after the context. The other targets are
    clips that are written too: the frames after the context, the context in reverse order, or part of the context."""
    context_frames: int = 16
    target_frames: int = 16
    stride: int = 0
    """Frames from one to the next; 0: frames of an episode in random order (only recall)."""
    max_context_level: float = 0.3
    """Maximum noise level of written targets. Without a context it is 1: diffusion forcing."""
    generated_prob: float = 0.0
    """Probability that the model's own rollout is written in place of the targets, labeled with `play.context_noise`.
    Where targets are not known from the context, keep it low: there, an own frame that differs is not an error."""
    batch_clips: int = 8
    weight: float = 1.0
    """Probability relative to the other forms of a phase."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            {
                "context_frames": (0, 4096),
                "target_frames": (1, 4096),
                "stride": (0, 256),
                "max_context_level": (0, 1),
                "generated_prob": (0, 1),
                "batch_clips": (1, 4096),
                "weight": (0, 1e6),
            },
        )
        if self.task != "recall" and self.stride == 0:
            raise ConfigError(f"task = {self.task!r} needs consecutive frames", hint="stride = 1")
        if self.task != "ahead" and self.context_frames < 2:
            raise ConfigError(f"context_frames is {self.context_frames}", hint="2 or more")
        most = {"reverse": self.context_frames - 1, "repeat": self.context_frames}.get(self.task, self.target_frames)
        if self.target_frames > most:
            raise ConfigError(
                f"task = {self.task!r} has {self.target_frames} targets in a context of {self.context_frames}",
                hint="fewer target_frames",
            )

    @property
    def span_frames(self) -> int:
        """Frames of an episode that a row reaches over."""
        others = self.target_frames if self.task in ("recall", "ahead") else 0
        if self.task == "recall":
            return max(self.context_frames + others, (self.context_frames - 1) * self.stride + 1 + others)
        return (self.context_frames + others - 1) * self.stride + 1


@dataclass(frozen=True, kw_only=True)
class RecallPhase:
    """A phase of the recall recipe."""

    until: int = 1_000_000
    """First step after the phase. The last phase has no end."""
    mix: tuple[RecallClips, ...] = (RecallClips(),)
    seen_fraction: float = 0.5
    """Fraction of recall targets that are frames of the context."""
    new_view_weight: float = 0.3
    """Loss weight of frames that are not in the context; those of the context have 1."""
    one_step_fraction: float = 1.0
    """Fraction of frames predicted from pure noise in one step (see `sample_flow_steps`)."""
    forget_map_prob: float = 0.0
    """Probability that a mapped model forgets its map after the context, so that its scans keep remembering."""
    forget_scan_prob: float = 0.0
    """The same for its scans."""

    def __post_init__(self) -> None:
        fractions = ("seen_fraction", "one_step_fraction", "forget_map_prob", "forget_scan_prob")
        check_ranges(self, {"new_view_weight": (0, 100), **dict.fromkeys(fractions, (0, 1))})
        if not self.mix or sum(clips.weight for clips in self.mix) <= 0:
            raise ConfigError("a phase needs batches with a weight", hint="mix = [{ context_frames = 16 }]")


@dataclass(frozen=True, kw_only=True)
class RecallTraining:
    """Memory from random views to consecutive frames (see `recipes.recall`)."""

    episode_frames: int = 192
    """Consecutive frames from which the frames of a row are chosen."""
    phases: tuple[RecallPhase, ...] = (RecallPhase(),)
    quarter_turns: bool = True
    """Turn the poses of every row by a random multiple of 90 degrees about the center of the world."""
    min_noise_weight: float = 1.0
    """Loss weight of a frame of pure noise relative to a clean one."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        ends = [phase.until for phase in self.phases]
        if not ends or ends != sorted(set(ends)):
            raise ConfigError(f"phases end at steps {ends}", hint="one phase or more, in increasing order of `until`")
        span = max(clips.span_frames for phase in self.phases for clips in phase.mix)
        if span > self.episode_frames:
            raise ConfigError(
                f"a row reaches over {span} frames, and episode_frames is {self.episode_frames}",
                hint=f"episode_frames = {span}",
            )

    @property
    def sampled_frames(self) -> int:
        """Consecutive frames sampled from an episode."""
        return self.episode_frames

    def with_batch_size(self, size: int) -> RecallTraining:
        """With batches of `size` clips in every phase."""
        phases = (
            replace(phase, mix=tuple(replace(clips, batch_clips=size) for clips in phase.mix)) for phase in self.phases
        )
        return replace(self, phases=tuple(phases))

    def phase(self, step: int) -> RecallPhase:
        """The phase of a step."""
        return next((phase for phase in self.phases if step < phase.until), self.phases[-1])


@dataclass(frozen=True, kw_only=True)
class _MapTraining:
    """The motion model, which predicts the next pose from pose and action, and the scale of poses."""

    motion_max_ticks: int = 16
    """Longest trajectory predicted from actions only; training starts with one tick."""
    motion_curriculum_steps: int = 200
    """Steps until trajectories get one tick longer."""
    motion_position_noise: float = 0.01
    """Maximum error of a trajectory's start, in scaled units."""
    pose_origin_units: tuple[float, float] = (0.0, 0.0)
    """World position that is (0, 0) in an absolute pose; for a fixed map, its center."""
    pose_scale_units: float = 384.0
    """World units that are 1 in a pose. Fixed map: half of its longer side. Spatial map: large enough that no episode
    leads further than 1.5 from its first frame; with given poses, the inputs' own scale."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    @property
    def motion_frames(self) -> int:
        """Two poses give the first speed; each tick adds one."""
        return 2 + self.motion_max_ticks

    def motion_ticks(self, step: int) -> int:
        """Length of trajectories at that step."""
        return min(self.motion_max_ticks, 1 + step // self.motion_curriculum_steps)


@dataclass(frozen=True, kw_only=True)
class FixedMapTraining(_MapTraining):
    """A map in the weights: rendering, pose estimation and motion, each with its own loss."""

    kind: Literal["fixed"] = "fixed"
    batch_frames: int = 384
    """Frames per step for rendering and pose estimation."""
    max_noise_level: float = 0.3
    """Maximum noise level of latents from which poses are estimated."""
    motion_batch_poses: int = 2048
    """Poses per step that the motion model predicts."""
    motion_warmup_steps: int = 0
    """First steps, which train only the motion model: a tenth of the cost, and everything else depends on it."""

    @property
    def sampled_frames(self) -> int:
        """Consecutive frames sampled from an episode, at most."""
        return self.motion_frames

    @property
    def frames_per_batch(self) -> int:
        return self.batch_frames

    @property
    def steady_step(self) -> int:
        """First step that costs what all later ones cost."""
        return max(self.motion_warmup_steps, self.motion_max_ticks * self.motion_curriculum_steps)


@dataclass(frozen=True, kw_only=True)
class SpatialMapTraining(_MapTraining):
    """A map in the state: part of a clip is written to it, and other frames are read from it."""

    kind: Literal["spatial"] = "spatial"
    batch_clips: int = 3
    clip_frames: int = 88
    teacher_forcing_steps: int = 300
    """First steps, which write walls at their true depth; later ones write them at the predicted depth."""

    def __post_init__(self) -> None:
        if self.clip_frames < 24:
            raise ConfigError(
                f"clip_frames is {self.clip_frames}",
                hint="at least 24: part of the clip is written to the map, part read from it",
            )
        if self.clip_frames < self.motion_frames:
            raise ConfigError(
                f"motion_max_ticks is {self.motion_max_ticks}, and clips have {self.clip_frames} frames",
                hint=f"clip_frames = {self.motion_frames}, or shorter trajectories",
            )

    @property
    def sampled_frames(self) -> int:
        """Consecutive frames sampled from an episode."""
        return self.clip_frames

    @property
    def frames_per_batch(self) -> int:
        return self.batch_clips * self.clip_frames

    @property
    def steady_step(self) -> int:
        """First step that costs what all later ones cost."""
        return max(self.teacher_forcing_steps, self.motion_max_ticks * self.motion_curriculum_steps)


MapTraining: TypeAlias = FixedMapTraining | SpatialMapTraining


@dataclass(frozen=True, kw_only=True)
class DecoderTraining:
    """Only the decoder, on one-step predictions of the world model."""

    clip_frames: int = 12
    batch_clips: int = 4
    spectral_loss_weight: float = 1.5
    encoded_frame_stride: int = 3
    """Every n-th frame is also decoded from its encoded latent."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=5e-4, warmup_steps=50))

    @property
    def sampled_frames(self) -> int:
        """Consecutive frames sampled from an episode."""
        return self.clip_frames


RecipeConfig: TypeAlias = (
    AutoencoderTraining | FixedMapTraining | SpatialMapTraining | RecallTraining | SequenceTraining | DecoderTraining
)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    autoencoder: AutoencoderTraining = field(default_factory=AutoencoderTraining)
    map: FixedMapTraining | SpatialMapTraining = field(default_factory=FixedMapTraining)
    """For models with a map. `kind` is that of the map and need not be repeated."""
    sequence: SequenceTraining = field(default_factory=SequenceTraining)
    """For models with scans or attention."""
    recall: RecallTraining | None = None
    """In place of `sequence`, for models whose layers denoise and whose inputs are poses."""
    decoder: DecoderTraining = field(default_factory=DecoderTraining)

    def recipe(self, stage: Stage, model: ModelConfig) -> RecipeConfig:
        """The table that configures a stage. Raises: ConfigError for a stage that the model does not have."""
        config: RecipeConfig = getattr(self, self._table_name(stage, model))
        return config

    def with_batch_size(self, stage: Stage, model: ModelConfig, size: int) -> TrainingConfig:
        """With batches of `size` clips, or frames where a stage samples frames. Raises: ConfigError."""
        config = self.recipe(stage, model)
        if isinstance(config, RecallTraining):
            return replace(self, recall=config.with_batch_size(size))
        changes: dict[str, Any] = {"batch_clips" if hasattr(config, "batch_clips") else "batch_frames": size}
        changed: dict[str, Any] = {self._table_name(stage, model): replace(config, **changes)}
        return replace(self, **changed)

    def _table_name(self, stage: Stage, model: ModelConfig) -> str:
        check_stage(stage, model)
        if stage == "dynamics":
            return "map" if model.kind == "map" else "sequence" if self.recall is None else "recall"
        return stage


def read_training(table: Mapping[str, Any], model: ModelConfig) -> TrainingConfig:
    """The `[training]` table of a preset with this model.

    Key names of earlier versions are accepted, with a warning that states the present ones.

    Raises: ConfigError, also for tables without meaning for the model.
    """
    table = migrate_training(table, model)
    if model.map is None and "map" in table:
        raise ConfigError(f"training.map: model.kind = {model.kind!r} has no map", hint="remove [training.map]")
    if model.kind == "map" and "sequence" in table:
        raise ConfigError(
            "training.sequence: model.kind = 'map' has no sequence model", hint="remove [training.sequence]"
        )
    if "recall" in table:
        if model.kind == "map" or model.denoiser.kind != "shared" or not model.supports_tbptt:
            raise ConfigError(
                "training.recall: needs a sequence model whose layers denoise, with causal attention",
                hint="model.denoiser.kind = 'shared', or [training.sequence]",
            )
        if "sequence" in table:
            raise ConfigError("training.recall replaces training.sequence", hint="remove one of them")
    kind = "fixed" if model.map is None else model.map.kind
    own_map = table.get("map", {})
    if isinstance(own_map, Mapping):
        if own_map.get("kind", kind) != kind:
            raise ConfigError(
                f"training.map.kind is {own_map['kind']!r}, model.map.kind is {kind!r}", hint="remove the former"
            )
        table = {**table, "map": {"kind": kind, **own_map}}
    return from_mapping(TrainingConfig, table, where="training")


_TABLE_RENAMES = {
    "data": {
        "pool_episodes": "buffer_episodes",
        "start_episodes": "min_buffer_episodes",
        "reuse": "replay_ratio",
        "script": "policy",
    },
    "compute": {
        "accumulate": "gradient_accumulation_steps",
        "shard": "fsdp",
        "forget_activations": "activation_checkpointing",
        "compile_layers": "compile",
    },
    "autoencoder": {"texture_weight": "spectral_loss_weight", "optimiser": "optimizer"},
    "decoder": {
        "texture_weight": "spectral_loss_weight",
        "encoded_stride": "encoded_frame_stride",
        "optimiser": "optimizer",
    },
}
_OPTIMIZER_RENAMES = {
    "warmup_updates": "warmup_steps",
    "cooldown_share": "decay_fraction",
    "gradient_clip": "max_gradient_norm",
}
_SCALE_KEYS = {"pose_origin_units": "pose_origin_units", "pose_scale_units": "pose_scale_units"}
_SEQUENCE_RENAMES = {
    **{key: key for key in ("clip_frames", "batch_clips", "max_context_level", "pose_target")},
    **_SCALE_KEYS,
    "carry_clips": "tbptt_clips",
    "prefix_share": "clean_prefix_prob",
    "tau_floor": "min_noise_weight",
    "one_step_share": "one_step_fraction",
    "shortcut_share": "shortcut_fraction",
    "shortcut_after": "shortcut_start_step",
    "rollout_share": "self_rollout_prob",
    "rollout_context": "self_rollout_context_frames",
    "pose_weight": "pose_loss_weight",
    "optimiser": "optimizer",
}
_MOTION_RENAMES = {
    "walk_ticks": "motion_max_ticks",
    "walk_growth_updates": "motion_curriculum_steps",
    "walk_position_noise": "motion_position_noise",
    "optimiser": "optimizer",
    **_SCALE_KEYS,
}
_MAP_RENAMES = {
    "fixed": {
        **_MOTION_RENAMES,
        "place_frames": "batch_frames",
        "max_context_level": "max_noise_level",
        "walk_poses": "motion_batch_poses",
        "walk_only_updates": "motion_warmup_steps",
    },
    "spatial": {
        **_MOTION_RENAMES,
        "plan_clips": "batch_clips",
        "plan_frames": "clip_frames",
        "plan_taught_updates": "teacher_forcing_steps",
    },
}
_MAP_KEYS = {key for renames in _MAP_RENAMES.values() for key in renames} | {"place_only_updates"}
"""Keys of the former `[training.dynamics]` that trained maps. `place_only_updates` is now a stage."""


def migrate_training(table: Mapping[str, Any], model: ModelConfig) -> dict[str, Any]:
    """The table with present key names. Unknown keys stay, to be reported with the nearest present one.

    `[training.dynamics]` trained sequence models and maps at once: its keys go to the tables that the model has.
    """
    migrated: dict[str, Any] = {}
    for name, value in table.items():
        if name == "dynamics" and isinstance(value, Mapping):
            if model.kind != "map":
                migrated["sequence"] = _pick(value, _SEQUENCE_RENAMES, dropped=_MAP_KEYS - set(_SEQUENCE_RENAMES))
            if model.map is not None:
                dropped = (set(_SEQUENCE_RENAMES) | _MAP_KEYS) - set(_MAP_RENAMES[model.map.kind])
                migrated["map"] = _pick(value, _MAP_RENAMES[model.map.kind], dropped=dropped)
        else:
            migrated[name] = _pick(value, _TABLE_RENAMES.get(name, {}), dropped=set())
    if migrated != dict(table):
        logger.warning("[training] uses keys of an earlier version; the present ones are: %s", _key_lines(migrated))
    return migrated


def _pick(value: Any, renames: Mapping[str, str], *, dropped: set[str]) -> Any:
    if not isinstance(value, Mapping):
        return value
    renamed = {renames.get(key, key): item for key, item in value.items() if key not in dropped}
    optimizer = renamed.get("optimizer")
    if isinstance(optimizer, Mapping):
        renamed["optimizer"] = {_OPTIMIZER_RENAMES.get(key, key): item for key, item in optimizer.items()}
    return renamed


def _key_lines(table: Mapping[str, Any]) -> str:
    """For example "data: replay_ratio; map: batch_frames, optimizer"."""
    return "; ".join(f"{name}: {', '.join(value)}" for name, value in table.items() if isinstance(value, Mapping))
