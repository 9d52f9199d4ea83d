"""Runs a training stage: reads preset.toml, builds its recipe, and trains into a run folder.

The run folder has one folder per stage, with checkpoints and, for world models and decoders, the playable preset
`last`. The loop is `loop`, the losses are in `recipes`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file

from worldsim.core.config import read_toml, with_assignments
from worldsim.core.errors import ConfigError, PresetNotFoundError
from worldsim.core.types import PLANAR_POSE_AXES
from worldsim.models.autoencoder import Autoencoder
from worldsim.models.build import build_world_model
from worldsim.models.mapped import MappedModel
from worldsim.models.maps.map_model import MapModel
from worldsim.models.sequence.architectures import find_architecture, match_parameters
from worldsim.models.sequence.two_stream import TwoStreamModel
from worldsim.models.world_model import WorldModel
from worldsim.presets.config import PresetConfig, read_preset_toml
from worldsim.presets.resolve import WEIGHTS_FILE as PRESET_WEIGHTS_FILE
from worldsim.presets.store import load_preset, load_weights
from worldsim.training.checkpoint import check_fits
from worldsim.training.config import (
    FixedMapTraining,
    RecallTraining,
    SequenceTraining,
    SpatialMapTraining,
    Stage,
    TrainingConfig,
    read_training,
)
from worldsim.training.data import OpenedSource, TrainingData, resolve_world_share
from worldsim.training.distributed import DistributedContext
from worldsim.training.loop import LogCallback, Recipe, Trainer
from worldsim.training.recipes.autoencoder import WEIGHTS_FILE, AutoencoderRecipe, DecoderRecipe
from worldsim.training.recipes.map import MapRecipe, scale_map_poses
from worldsim.training.recipes.probes import PROBE_CONTEXT, PresetWriter, WorldModelProbe
from worldsim.training.recipes.recall import RecallRecipe
from worldsim.training.recipes.sequence import SequenceRecipe
from worldsim.training.recordings import DataSource, open_source, recorded_world_values
from worldsim.training.replay_buffer import ReplayBuffer, encode_frames, store_frames
from worldsim.training.workers import Episode, WeightedStream

MAP_WEIGHTS = "model.map."
"""Prefix of a map's tensors in a preset's weights."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """All stages of one preset in one folder."""

    preset: PresetConfig
    training: TrainingConfig
    folder: Path
    distributed: DistributedContext
    """The processes that train together; each rank has its own TrainingRun, on its own device."""
    init: tuple[Path, ...] = ()
    """Presets whose weights a new run starts with; where several fit, the last one's."""
    data: tuple[OpenedSource, ...] = ()
    """Recordings to train on."""
    world_share: float = 1.0
    """Fraction of the frames that come from the reference world."""

    @classmethod
    def open(
        cls,
        preset_toml: Path,
        *,
        folder: Path | None,
        distributed: DistributedContext,
        init: Sequence[Path] = (),
        data: Sequence[DataSource] = (),
        world_share: float | None = None,
        architecture: str | None = None,
        overrides: Sequence[str] = (),
    ) -> TrainingRun:
        """`init`: the autoencoder is taken from the first. `world_share` of None: 1 without data, 0 with data.
        `architecture` replaces the file's model, see `models.sequence.architectures`. `overrides` replace values of the
        `[training]` table, see `with_assignments`.

        Raises: ConfigError for errors in the file, RecordingError for missing or damaged data, UsageError for an
        invalid share.
        """
        share = resolve_world_share(world_share, has_data=bool(data))
        is_recorded = _is_recorded(preset_toml)
        if is_recorded and not data:
            raise ConfigError(
                f"the world of {preset_toml} can only be trained from recordings", hint="add --data recordings/mine"
            )
        opened = tuple(OpenedSource(source=source, sessions=open_source(source)) for source in data)
        preset, table = read_preset_toml(
            preset_toml, recorded_world_values(opened[0].sessions[0]) if is_recorded else None
        )
        training = read_training(with_assignments(table, overrides), preset.model)
        if architecture is not None:
            preset, training = _with_architecture(preset, training, architecture)
        return cls(
            preset=preset,
            training=training,
            folder=folder or Path("runs") / preset.name,
            distributed=distributed,
            init=tuple(init),
            data=opened,
            world_share=share,
        )

    @property
    def device(self) -> str:
        return self.distributed.device

    def train(
        self,
        stage: Stage,
        minutes: float,
        updates: int | None = None,
        *,
        cooldown_updates: int | None = None,
        from_start: bool = False,
        on_log: LogCallback,
        on_fill: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[str, Trainer]:
        """Trains one session. Returns: why it ended, and the trainer with its counters.

        `on_fill(done, total)` is called for each episode of the first fill of the replay buffer. `from_start`: the
        minutes include that fill and everything else before the first update.

        Raises: ConfigError for a stage that the model does not have.
        """
        started_s = time.monotonic()
        config = self.training.recipe(stage, self.preset.model)
        torch.manual_seed(self.training.seed)
        run_folder = self.folder / stage
        run_folder.mkdir(parents=True, exist_ok=True)
        data = self.training_data(stage)
        if stage in ("map", "dynamics"):
            data.check_pose()
        probes = data.probes()
        with data.sources(rank=self.distributed.rank) as sources:
            recipe, replay_buffer = self._build(stage, data, sources, probes)
            trainer = Trainer(
                recipe,
                config.optimizer,
                run_folder,
                on_log=on_log,
                data=replay_buffer,
                seed=self.training.seed,
                compute=self.training.compute,
                distributed=self.distributed,
            )
            trainer.resume()
            replay_buffer.fill(on_fill)
            left = minutes - (time.monotonic() - started_s) / 60 if from_start else minutes
            return trainer.run(left, updates=updates, cooldown_updates=cooldown_updates), trainer

    def training_data(self, stage: Stage) -> TrainingData:
        """Raises: ConfigError, RecordingError for data that does not fit."""
        config = self.training.recipe(stage, self.preset.model)
        sampled_frames = config.sampled_frames
        episode_frames = self.training.data.episode_frames
        if sampled_frames > episode_frames:
            raise ConfigError(
                f"training samples clips of {sampled_frames} frames, but training.data.episode_frames is "
                f"{episode_frames}",
                hint=f"episode_frames = {sampled_frames} or more, or shorter clips",
            )
        has_probe = stage in ("map", "dynamics")
        probe_frames = max(PROBE_CONTEXT + 1, self.preset.play.context_frames) if has_probe else 0
        min_frames = max(sampled_frames, probe_frames)
        return TrainingData(self.preset, self.training, self.data, world_share=self.world_share, min_frames=min_frames)

    def _build(
        self, stage: Stage, data: TrainingData, sources: list[WeightedStream], probes: list[Episode]
    ) -> tuple[Recipe, ReplayBuffer]:
        if stage == "autoencoder":
            return self._build_autoencoder(sources, probes)
        if stage == "decoder":
            return self._build_decoder(sources, probes)
        return self._build_world_model(stage, data, sources, probes)

    def _build_autoencoder(self, sources: list[WeightedStream], probes: list[Episode]) -> tuple[Recipe, ReplayBuffer]:
        replay_buffer = ReplayBuffer(sources, store_frames, self.training.data)
        network = Autoencoder(self.preset.autoencoder).to(self.device)
        if self.init:
            network.load_state_dict(self._load_autoencoder(self.init[0]).state_dict())
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        config = self.training.autoencoder
        return AutoencoderRecipe(network, config, replay_buffer, probes[0], device=self.device), replay_buffer

    def _build_world_model(
        self, stage: Stage, data: TrainingData, sources: list[WeightedStream], probes: list[Episode]
    ) -> tuple[Recipe, ReplayBuffer]:
        device = self.device
        autoencoder = self._trained_autoencoder().to(device)
        replay_buffer = ReplayBuffer(sources, partial(encode_frames, autoencoder, device=device), self.training.data)
        has_poses = self.preset.action_spec.axes[:4] == PLANAR_POSE_AXES
        if stage == "dynamics" and self.training.recall is not None and not has_poses:
            raise ConfigError("training.recall needs poses as inputs", hint="world.inputs = 'pose'")
        model = build_world_model(self.preset.model, self.preset.latent_shape, self.preset.action_spec.size)
        for folder in self.init:
            init_from_preset(model, folder)
        writer = PresetWriter(config=self.preset, starts=data.starts(), metadata=data.provenance())
        probe = WorldModelProbe(probes, autoencoder, writer, device=device)
        if stage == "dynamics" and isinstance(model, MappedModel):
            self._load_trained_map(model)
        noise = self.preset.play.context_noise
        recipe = world_model_recipe(
            stage, self.training, model, replay_buffer, probe, context_noise=noise, device=device
        )
        return recipe, replay_buffer

    def _build_decoder(self, sources: list[WeightedStream], probes: list[Episode]) -> tuple[Recipe, ReplayBuffer]:
        folder = self.folder / "dynamics" / "last"
        if not folder.exists():
            raise PresetNotFoundError(
                f"no trained world model at {folder}", hint="run the same command with --stage dynamics first"
            )
        trained = load_preset(folder, device=self.device)
        replay_buffer = ReplayBuffer(sources, store_frames, self.training.data)
        recipe = DecoderRecipe(
            trained.autoencoder,
            trained.model,
            self.training.decoder,
            replay_buffer,
            probes,
            device=self.device,
            writer=PresetWriter(config=trained.config, starts=trained.starts, metadata=trained.metadata),
        )
        return recipe, replay_buffer

    def _load_trained_map(self, model: MappedModel) -> None:
        """Loads the map of stage `map`, else that of `init`. Raises: PresetNotFoundError when there is none."""
        trained = self.folder / "map" / "last"
        tensors: dict[str, torch.Tensor] = {}
        for folder in (trained,) if trained.exists() else self.init:
            stored = load_weights(folder)
            tensors |= {n.removeprefix(MAP_WEIGHTS): t for n, t in stored.items() if n.startswith(MAP_WEIGHTS)}
        shapes = {name: tensor.shape for name, tensor in model.map.state_dict().items()}
        if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
            raise PresetNotFoundError(
                f"no trained map at {trained}", hint="run the same command with --stage map first"
            )
        model.map.load_state_dict(tensors)

    def _trained_autoencoder(self) -> Autoencoder:
        """That of this run, else that of `init`."""
        path = self.folder / "autoencoder" / WEIGHTS_FILE
        if not path.exists() and self.init:
            return self._load_autoencoder(self.init[0])
        if not path.exists():
            raise PresetNotFoundError(
                f"no trained autoencoder at {path}",
                hint="run the same command with --stage autoencoder first, or start from a preset: --init",
            )
        autoencoder = Autoencoder(self.preset.autoencoder)
        tensors = load_file(path)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        check_fits(shapes, autoencoder.state_dict(), f"the trained autoencoder {path}")
        autoencoder.load_state_dict(tensors)
        return autoencoder.eval().requires_grad_(False)

    def _load_autoencoder(self, init: Path) -> Autoencoder:
        """Raises: ConfigError when its configuration differs."""
        stored = load_preset(init)
        if stored.config.autoencoder != self.preset.autoencoder:
            raise ConfigError(
                f"the autoencoder of {init} differs from that of {self.preset.name}",
                hint="use the same [autoencoder] table, or train one: --stage autoencoder without --init",
            )
        return stored.autoencoder


def world_model_recipe(
    stage: Stage,
    training: TrainingConfig,
    model: WorldModel,
    replay_buffer: ReplayBuffer,
    probe: WorldModelProbe,
    *,
    context_noise: float,
    device: str,
) -> Recipe:
    """The recipe that trains `model`. Outside its own stage, the map of a mapped model does not change.

    `context_noise`: that of play.

    Side effects: moves `model` to the device.
    """
    config, model = training.recipe(stage, model.config), model.to(device)
    if isinstance(config, FixedMapTraining | SpatialMapTraining):
        assert isinstance(model, MapModel | MappedModel), type(model)
        return MapRecipe(model, config, replay_buffer, probe, device=device)
    scaler = None
    if isinstance(model, MappedModel):
        model.map.requires_grad_(False)
        scaler = partial(scale_map_poses, config=training.map, map_config=model.config.map)
    if isinstance(config, RecallTraining):
        assert isinstance(model, TwoStreamModel), type(model)
        return RecallRecipe(model, config, replay_buffer, probe, context_noise=context_noise, device=device)
    assert isinstance(config, SequenceTraining), config
    return SequenceRecipe(model, config, replay_buffer, probe, device=device, map_pose_scaler=scaler)


def _with_architecture(
    preset: PresetConfig, training: TrainingConfig, name: str
) -> tuple[PresetConfig, TrainingConfig]:
    model = match_parameters(preset.model, name)
    sequence = replace(training.sequence, **find_architecture(name).training)
    title = f"{preset.title} ({name})"
    return replace(preset, name=f"{preset.name}-{name}", title=title, model=model), replace(training, sequence=sequence)


def _is_recorded(preset_toml: Path) -> bool:
    world = read_toml(preset_toml).get("world")
    return isinstance(world, dict) and world.get("kind") == "recorded"


def init_from_preset(network: WorldModel, folder: Path) -> None:
    """Copies all weights of another preset's model that fit, also those that fit once inputs of weight zero are added.

    So a model that was given an additional input starts out equal to the model without it. A model that was given a
    map, or another kind of map, starts by showing what that map renders: the output of the old denoiser is not
    something to add to it.

    Side effects: `network`'s parameters.

    Raises: PresetNotFoundError when there is no such preset.
    """
    path = folder / PRESET_WEIGHTS_FILE
    if not path.exists():
        raise PresetNotFoundError(f"no weights at {path}", hint="--init takes a preset folder")
    stored = load_weights(folder)
    own_map = network.map if isinstance(network, MapModel | MappedModel) else None
    has_same_map = own_map is None or all(f"{MAP_WEIGHTS}{name}" in stored for name in own_map.state_dict())
    for name, parameter in network.state_dict().items():
        if name.startswith("denoiser.to_latent.") and not has_same_map:
            continue
        old = stored.get(f"model.{name}")
        if old is None or old.dim() != parameter.dim():
            continue
        if old.shape == parameter.shape:
            parameter.copy_(old)
        elif old.dim() > 1 and old.shape[0] == parameter.shape[0] and old.shape[1] < parameter.shape[1]:
            parameter.zero_()
            parameter[:, : old.shape[1]] = old
