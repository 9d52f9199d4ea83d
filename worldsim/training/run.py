"""Puts a training run together: preset.toml in, a run folder with checkpoints and a playable preset out.

Owns: which folder, which recipe, what is reported. Does not own: the loop (`loop`), the losses (the recipes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file

from worldsim.core.config import from_mapping, read_toml
from worldsim.core.errors import ConfigError, PresetNotFoundError
from worldsim.models.autoencoder import Autoencoder
from worldsim.models.build import build_world_model
from worldsim.models.sequence.architectures import find_architecture, match_parameters
from worldsim.models.world_model import WorldModel
from worldsim.presets.config import PresetConfig, read_preset_toml
from worldsim.presets.resolve import WEIGHTS_FILE as PRESET_WEIGHTS_FILE
from worldsim.presets.store import load_preset, load_weights, save_preset
from worldsim.training.autoencoder import WEIGHTS_FILE, AutoencoderRecipe, store_frames
from worldsim.training.checkpoint import check_fits
from worldsim.training.config import TrainingConfig
from worldsim.training.data import OpenedSource, TrainingData, resolve_world_share
from worldsim.training.decoder import DecoderRecipe
from worldsim.training.distributed import DistributedContext
from worldsim.training.dynamics import PROBE_CONTEXT, DynamicsRecipe, encode_frames
from worldsim.training.episode import Episode
from worldsim.training.loop import LogCallback, Recipe, Trainer
from worldsim.training.recordings import DataSource, open_source, recorded_world_values
from worldsim.training.replay_buffer import ReplayBuffer
from worldsim.training.workers import WeightedStream

Stage = Literal["autoencoder", "dynamics", "decoder"]


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One stage of one preset in one folder (`folder` / stage)."""

    preset: PresetConfig
    training: TrainingConfig
    folder: Path
    distributed: DistributedContext
    """Who trains together; each rank has a run of its own, on its own device."""
    init: Path | None = None
    """A preset whose weights a new run begins with."""
    data: tuple[OpenedSource, ...] = ()
    """Recordings to learn from."""
    world_share: float = 1.0
    """Share of the frames that come from the true world."""

    @classmethod
    def open(
        cls,
        preset_toml: Path,
        *,
        folder: Path | None,
        distributed: DistributedContext,
        init: Path | None = None,
        data: Sequence[DataSource] = (),
        world_share: float | None = None,
        architecture: str | None = None,
    ) -> TrainingRun:
        """`world_share` of None: all from the world without data, nothing with it. `architecture`: another model than
        the file's, see `models.sequence.architectures`.

        Raises: ConfigError for what is wrong in the file, RecordingError for data that is not there or not whole,
        UsageError for a share that makes no sense.
        """
        share = resolve_world_share(world_share, has_data=bool(data))
        is_recorded = _is_recorded(preset_toml)
        if is_recorded and not data:
            raise ConfigError(
                f"the world of {preset_toml} is known from recordings alone", hint="give them: --data recordings/mine"
            )
        opened = tuple(OpenedSource(source=source, sessions=open_source(source)) for source in data)
        preset, table = read_preset_toml(
            preset_toml, recorded_world_values(opened[0].sessions[0]) if is_recorded else None
        )
        training = from_mapping(TrainingConfig, table, where="training")
        if architecture is not None:
            preset, training = _with_architecture(preset, training, architecture)
        return cls(
            preset=preset,
            training=training,
            folder=folder or Path("runs") / preset.name,
            distributed=distributed,
            init=init,
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
        on_log: LogCallback,
        on_fill: Callable[[int, int], None],
    ) -> tuple[str, Trainer]:
        """Trains one leg. Returns why it ended, and the trainer with its counters."""
        torch.manual_seed(self.training.seed)
        run_folder = self.folder / stage
        run_folder.mkdir(parents=True, exist_ok=True)
        data = self.training_data(stage)
        if stage == "dynamics":
            data.check_pose()
        probes = data.probes()
        with data.sources(rank=self.distributed.rank) as sources:
            recipe_makers = {
                "autoencoder": self._autoencoder_recipe,
                "dynamics": self._dynamics_recipe,
                "decoder": self._decoder_recipe,
            }
            recipe, replay_buffer = recipe_makers[stage](sources, probes)
            config = getattr(self.training, stage).optimiser
            trainer = Trainer(
                recipe,
                config,
                run_folder,
                on_log=on_log,
                data=replay_buffer,
                seed=self.training.seed,
                compute=self.training.compute,
                distributed=self.distributed,
            )
            trainer.resume()
            replay_buffer.fill(on_fill)
            return trainer.run(minutes, updates=updates, cooldown_updates=cooldown_updates), trainer

    def training_data(self, stage: Stage) -> TrainingData:
        """Raises: ConfigError, RecordingError for data that does not fit."""
        sampled_frames = {
            "autoencoder": 1,
            "dynamics": self.training.dynamics.sampled_frames(self.preset.model),
            "decoder": self.training.decoder.clip_frames,
        }[stage]
        episode_frames = self.training.data.episode_frames
        if sampled_frames > episode_frames:
            raise ConfigError(
                f"{sampled_frames} frames are drawn at once, and training.data.episode_frames is {episode_frames}",
                hint=f"episode_frames = {sampled_frames} or more, or shorter clips (training.{stage})",
            )
        probe_frames = max(PROBE_CONTEXT + 1, self.preset.play.context_frames) if stage == "dynamics" else 0
        min_frames = max(sampled_frames, probe_frames)
        return TrainingData(self.preset, self.training, self.data, world_share=self.world_share, min_frames=min_frames)

    def _autoencoder_recipe(self, sources: list[WeightedStream], probes: list[Episode]) -> tuple[Recipe, ReplayBuffer]:
        data, config = self.training.data, self.training.autoencoder
        replay_buffer = ReplayBuffer(sources, store_frames, data)
        network = Autoencoder(self.preset.autoencoder).to(self.device)
        if self.init:
            network.load_state_dict(self._load_autoencoder(self.init).state_dict())
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        return AutoencoderRecipe(network, config, replay_buffer, probes[0], device=self.device), replay_buffer

    def _dynamics_recipe(self, sources: list[WeightedStream], probes: list[Episode]) -> tuple[Recipe, ReplayBuffer]:
        data, config = self.training.data, self.training.dynamics
        autoencoder = self._trained_autoencoder().to(self.device)
        replay_buffer = ReplayBuffer(
            sources,
            lambda episode: encode_frames(autoencoder, episode, self.device),
            data,
        )
        network = build_world_model(self.preset.model, self.preset.latent_shape, self.preset.action_spec.size)
        if self.init:
            init_from_preset(network, self.init)
        training_data = self.training_data("dynamics")
        starts, provenance = training_data.starts(), training_data.provenance()

        def export_preset(run_folder: Path, average: WorldModel, counters: dict[str, str]) -> None:
            save_preset(run_folder / "last", self.preset, autoencoder, average, starts, {**provenance, **counters})

        recipe = DynamicsRecipe(
            network.to(self.device),
            autoencoder,
            config,
            replay_buffer,
            probes,
            device=self.device,
            export_preset=export_preset,
        )
        return recipe, replay_buffer

    def _decoder_recipe(self, sources: list[WeightedStream], probes: list[Episode]) -> tuple[Recipe, ReplayBuffer]:
        folder = self.folder / "dynamics" / "last"
        if not folder.exists():
            raise PresetNotFoundError(
                f"no trained dynamics at {folder}", hint="run the same command with --stage dynamics first"
            )
        trained = load_preset(folder, device=self.device)
        replay_buffer = ReplayBuffer(sources, store_frames, self.training.data)

        def export_preset(run_folder: Path, average: Autoencoder, counters: dict[str, str]) -> None:
            provenance = {**trained.metadata, **counters}
            save_preset(run_folder / "last", trained.config, average, trained.model, trained.starts, provenance)

        recipe = DecoderRecipe(
            trained.autoencoder,
            trained.model,
            self.training.decoder,
            replay_buffer,
            probes,
            device=self.device,
            export_preset=export_preset,
        )
        return recipe, replay_buffer

    def _trained_autoencoder(self) -> Autoencoder:
        """This run's, else that of the preset it begins with."""
        path = self.folder / "autoencoder" / WEIGHTS_FILE
        if not path.exists() and self.init is not None:
            return self._load_autoencoder(self.init)
        if not path.exists():
            raise PresetNotFoundError(
                f"no trained autoencoder at {path}",
                hint="run the same command with --stage autoencoder first, or begin with a preset: --init",
            )
        autoencoder = Autoencoder(self.preset.autoencoder)
        tensors = load_file(path)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        check_fits(shapes, autoencoder.state_dict(), f"the trained autoencoder {path}")
        autoencoder.load_state_dict(tensors)
        return autoencoder.eval().requires_grad_(False)

    def _load_autoencoder(self, init: Path) -> Autoencoder:
        """Raises: ConfigError when it has other sizes."""
        stored = load_preset(init)
        if stored.config.autoencoder != self.preset.autoencoder:
            raise ConfigError(
                f"the autoencoder of {init} is not that of {self.preset.name}",
                hint="the same [autoencoder] table in both, or train one: --stage autoencoder without --init",
            )
        return stored.autoencoder


def _with_architecture(
    preset: PresetConfig, training: TrainingConfig, name: str
) -> tuple[PresetConfig, TrainingConfig]:
    model = match_parameters(preset.model, name)
    dynamics = replace(training.dynamics, **find_architecture(name).training)
    title = f"{preset.title} ({name})"
    return replace(preset, name=f"{preset.name}-{name}", title=title, model=model), replace(training, dynamics=dynamics)


def _is_recorded(preset_toml: Path) -> bool:
    world = read_toml(preset_toml).get("world")
    return isinstance(world, dict) and world.get("kind") == "recorded"


def init_from_preset(network: WorldModel, folder: Path) -> None:
    """Copies the weights of another preset's model that fit, and those that fit after adding inputs of weight zero.

    So a model that was given a further input begins as what it was without it. One that was given a map, or another
    kind of map, begins by showing what that recalls: what the old one drew is not something to be added to it.

    Side effects: `network`'s parameters.

    Raises: PresetNotFoundError when there is no such preset.
    """
    path = folder / PRESET_WEIGHTS_FILE
    if not path.exists():
        raise PresetNotFoundError(f"no weights at {path}", hint="--init takes a preset folder")
    stored = load_weights(folder)
    own_map = getattr(network, "map", None)
    has_same_map = own_map is None or all(f"model.map.{name}" in stored for name in own_map.state_dict())
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
