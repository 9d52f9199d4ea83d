"""Puts a training run together: preset.toml in, a run folder with checkpoints and a playable preset out.

Owns: which folder, which recipe, what is reported. Does not own: the loop (`loop`), the losses (the recipes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file

from worldsim.core.config import from_mapping
from worldsim.core.errors import DeviceError, PresetNotFoundError
from worldsim.models.autoencoder import Autoencoder
from worldsim.models.world_model import WorldModel, build_world_model
from worldsim.presets.config import PresetConfig, read_preset_toml
from worldsim.presets.resolve import WEIGHTS_FILE as WEIGHTS_FILE_OF_PRESET
from worldsim.presets.store import Start, load_preset, save_preset
from worldsim.training.autoencoder import WEIGHTS_FILE, AutoencoderRecipe, store_frames
from worldsim.training.config import TrainingConfig
from worldsim.training.decoder import DecoderRecipe
from worldsim.training.dynamics import DynamicsRecipe, encode_frames
from worldsim.training.loop import Recipe, Report, Trainer
from worldsim.training.pool import ClipPool
from worldsim.training.stream import Episode, EpisodeStream, play_episode

Stage = Literal["autoencoder", "dynamics", "decoder"]

NUM_PROBES = 6
PROBE_FRAMES = 180
PROBE_SEEDS = 800_000
"""Probes show progress on paths that training is unlikely to draw; evaluation has its own seeds, from 900,000 up."""
NUM_STARTS = 8
START_FRAMES = 32


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One stage of one preset in one folder (`folder` / stage)."""

    preset: PresetConfig
    training: TrainingConfig
    folder: Path
    device: str
    init: Path | None = None
    """A preset whose dynamics weights a new run begins with."""

    @classmethod
    def open(cls, preset_toml: Path, *, folder: Path | None, device: str, init: Path | None = None) -> TrainingRun:
        """Raises: ConfigError for what is wrong in the file, DeviceError for a device that is not there."""
        preset, table = read_preset_toml(preset_toml)
        training = from_mapping(TrainingConfig, table, where="training")
        return cls(
            preset=preset,
            training=training,
            folder=folder or Path("runs") / preset.name,
            device=pick_device(device),
            init=init,
        )

    def train(
        self,
        stage: Stage,
        minutes: float,
        updates: int | None = None,
        *,
        tell: Report,
        waiting: Callable[[int, int], None],
    ) -> tuple[str, Trainer]:
        """Trains one leg. Returns why it ended, and the trainer with its counters."""
        torch.manual_seed(self.training.seed)
        run_folder = self.folder / stage
        run_folder.mkdir(parents=True, exist_ok=True)
        probes = self._episodes(PROBE_SEEDS, NUM_PROBES, PROBE_FRAMES)
        with EpisodeStream(self.preset.world, self.training.data, seed=self.training.seed) as stream:
            makers = {
                "autoencoder": self._autoencoder_recipe,
                "dynamics": self._dynamics_recipe,
                "decoder": self._decoder_recipe,
            }
            recipe, pool = makers[stage](stream, probes)
            config = getattr(self.training, stage).optimiser
            trainer = Trainer(recipe, config, run_folder, tell=tell)
            trainer.resume()
            # A resumed leg must not see again what the last one began with.
            torch.manual_seed(self.training.seed + trainer.num_updates)
            pool.fill(waiting)
            return trainer.run(minutes, updates=updates), trainer

    def _autoencoder_recipe(self, stream: EpisodeStream, probes: list[Episode]) -> tuple[Recipe, ClipPool]:
        data, config = self.training.data, self.training.autoencoder
        pool = ClipPool(stream, store_frames, data, seed=self.training.seed)
        network = Autoencoder(self.preset.autoencoder).to(self.device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        return AutoencoderRecipe(network, config, pool, probes[0], device=self.device), pool

    def _dynamics_recipe(self, stream: EpisodeStream, probes: list[Episode]) -> tuple[Recipe, ClipPool]:
        data, config = self.training.data, self.training.dynamics
        autoencoder = self._trained_autoencoder().to(self.device)
        pool = ClipPool(
            stream,
            lambda episode: encode_frames(autoencoder, episode, self.device),
            data,
            seed=self.training.seed,
        )
        network = build_world_model(self.preset.model, self.preset.latent_shape, self.preset.action_spec.size)
        if self.init:
            begin_with(network, self.init)
        starts = [
            Start(frames=e.frames[-START_FRAMES:], actions=e.actions[-START_FRAMES:])
            for e in self._episodes(PROBE_SEEDS + 1000, NUM_STARTS, 3 * START_FRAMES)
        ]

        def export_preset(run_folder: Path, average: WorldModel, counters: dict[str, str]) -> None:
            save_preset(run_folder / "last", self.preset, autoencoder, average, starts, counters)

        recipe = DynamicsRecipe(
            network.to(self.device),
            autoencoder,
            config,
            pool,
            probes,
            device=self.device,
            seed=self.training.seed,
            export_preset=export_preset,
        )
        return recipe, pool

    def _decoder_recipe(self, stream: EpisodeStream, probes: list[Episode]) -> tuple[Recipe, ClipPool]:
        folder = self.folder / "dynamics" / "last"
        if not folder.exists():
            raise PresetNotFoundError(
                f"no trained dynamics at {folder}", hint="run the same command with --stage dynamics first"
            )
        trained = load_preset(folder, device=self.device)
        pool = ClipPool(stream, store_frames, self.training.data, seed=self.training.seed)

        def export_preset(run_folder: Path, average: Autoencoder, counters: dict[str, str]) -> None:
            provenance = {**trained.metadata, **counters}
            save_preset(run_folder / "last", trained.config, average, trained.model, trained.starts, provenance)

        recipe = DecoderRecipe(
            trained.autoencoder,
            trained.model,
            self.training.decoder,
            pool,
            probes,
            device=self.device,
            export_preset=export_preset,
        )
        return recipe, pool

    def _trained_autoencoder(self) -> Autoencoder:
        path = self.folder / "autoencoder" / WEIGHTS_FILE
        if not path.exists():
            raise PresetNotFoundError(
                f"no trained autoencoder at {path}", hint="run the same command with --stage autoencoder first"
            )
        autoencoder = Autoencoder(self.preset.autoencoder)
        autoencoder.load_state_dict(load_file(path))
        return autoencoder.eval().requires_grad_(False)

    def _episodes(self, first_seed: int, count: int, num_frames: int) -> list[Episode]:
        script = self.training.data.script
        return [play_episode(self.preset.world, first_seed + i, num_frames, script) for i in range(count)]


def begin_with(network: WorldModel, folder: Path) -> None:
    """Copies the weights of another preset's model that fit, and those that fit after adding inputs of weight zero.

    So a model that was given a further input begins as what it was without it. Side effects: `network`'s parameters.
    Raises: PresetNotFoundError when there is no such preset.
    """
    path = folder / WEIGHTS_FILE_OF_PRESET
    if not path.exists():
        raise PresetNotFoundError(f"no weights at {path}", hint="--init takes a preset folder")
    stored = load_file(path)
    for name, parameter in network.state_dict().items():
        old = stored.get(f"model.{name}")
        if old is None or old.dim() != parameter.dim():
            continue
        if old.shape == parameter.shape:
            parameter.copy_(old)
        elif old.dim() > 1 and old.shape[0] == parameter.shape[0] and old.shape[1] < parameter.shape[1]:
            parameter.zero_()
            parameter[:, : old.shape[1]] = old


def pick_device(name: str) -> str:
    """`auto` is CUDA where there is one. Raises DeviceError for CUDA where there is none."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError("no CUDA device here", hint="--device cpu, or auto")
    return name
