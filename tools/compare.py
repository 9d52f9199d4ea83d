"""Trains architectures with equal budgets, on the same episodes in the same order, and scores their memory.

python tools/compare.py presets/comparison/preset.toml --updates 1200 --seeds 1 2

All runs share one process and one replay buffer. Finished runs are skipped, interrupted ones resumed. Writes
<out>/<architecture>-<seed>.json for `worldsim report` and a playable preset per run. --rescore scores finished runs
again; --contact-sheet draws their second turns below the true ones.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldsim.core.images import psnr
from worldsim.evaluation.clips import Clips, mean_image, record_clips
from worldsim.evaluation.contact_sheet import SheetRow, SheetSection, write_sheet
from worldsim.evaluation.evaluator import Evaluator
from worldsim.evaluation.metrics import ImageArray, sharpness
from worldsim.evaluation.policies import spin_policy, spin_ticks
from worldsim.evaluation.rollout import LatentClips, decode_frames, encode_clips, generate
from worldsim.models.autoencoder import Autoencoder
from worldsim.models.build import build_world_model
from worldsim.models.config import (
    AttentionConfig,
    BidirectionalAttentionConfig,
    ChunkAttentionConfig,
    LocalAttentionConfig,
)
from worldsim.models.sequence.architectures import ARCHITECTURES, VARIANT_SEPARATOR, find_architecture, match_parameters
from worldsim.models.world_model import WorldModel
from worldsim.presets.config import PresetConfig, read_preset_toml
from worldsim.presets.score_names import task_name
from worldsim.presets.store import Start, load_preset
from worldsim.training.config import TrainingConfig, read_training
from worldsim.training.data import TrainingData
from worldsim.training.loop import Trainer
from worldsim.training.recipes.probes import PresetWriter, WorldModelProbe
from worldsim.training.recipes.sequence import SequenceRecipe
from worldsim.training.replay_buffer import ReplayBuffer, encode_frames
from worldsim.training.workers import Episode
from worldsim.worlds import open_world

FIRST_SEED = 900_500
NUM_EPISODES = 48
NUM_TURNS = 5
EPISODES_SHOWN = 3
"""Episodes on the contact sheet."""
SAMPLER_STEPS = (1, 2, 4, 8)
"""Denoising steps for quality by number of steps. All other scores use the recipe's own number."""
WINDOWS: dict[str, AttentionConfig] = {
    "causal-window": LocalAttentionConfig(window_frames=2),
    "bidirectional": BidirectionalAttentionConfig(window_frames=2),
    "chunk": ChunkAttentionConfig(chunk_frames=2),
}
"""Shorter windows than for long clips: even through all layers, the first reaches back less than a turn, and the second
only knows its window, just as the paper's window of 192 frames is shorter than its 400."""


TRAINING_VARIANTS: dict[str, dict[str, Any]] = {
    "context-noise": {"max_context_level": 1.0},
    "little-context-noise": {"max_context_level": 0.3},
    "no-clean-prefix": {"clean_prefix_prob": 0.0},
    "no-one-step": {"one_step_fraction": 0.0},
    "shortcut": {"shortcut_fraction": 0.25, "shortcut_start_step": 100},
    "rollouts": {"self_rollout_prob": 0.5, "self_rollout_context_frames": 4},
    "short-clips": {"clip_frames": 6, "batch_clips": 32},
    "carried": {"clip_frames": 6, "batch_clips": 32, "tbptt_clips": 4},
}
"""Training variants, as in `--architectures full+rollouts+no-one-step`. The last two are compared with each
other, with as many frames per step as the recipe; they need episodes of 24 frames."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that the runs share."""

    preset: PresetConfig
    training: TrainingConfig
    autoencoder: Autoencoder
    replay_buffer: ReplayBuffer
    probes: list[Episode]
    starts: list[Start]
    episodes: Clips
    """Held-out episodes of `NUM_TURNS` turns on the spot."""
    out: Path
    recipe: Path
    updates: int
    device: str

    def run(self, name: str, seed: int) -> dict[str, object]:
        """Trains and scores one model. `name`: an architecture, optionally with training variants after +."""
        architecture, *variants = name.split(VARIANT_SEPARATOR)
        model = match_parameters(self.preset.model, architecture)
        if architecture in WINDOWS:
            model = replace(model, attention=WINDOWS[architecture])
        sequence = replace(self.training.sequence, **find_architecture(architecture).training)
        for variant in variants:
            sequence = replace(sequence, **TRAINING_VARIANTS[variant])
        torch.manual_seed(seed)
        network = build_world_model(model, self.preset.latent_shape, self.preset.action_spec.size).to(self.device)
        preset = replace(self.preset, name=f"{self.preset.name}-{name}".replace("+", "."), model=model)
        writer = PresetWriter(config=preset, starts=self.starts, metadata={})
        probe = WorldModelProbe(self.probes, self.autoencoder, writer, device=self.device)
        recipe = SequenceRecipe(network, sequence, self.replay_buffer, probe, device=self.device)
        folder = self.out / f"{name}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(recipe, sequence.optimizer, folder, on_log=print, seed=seed, compute=self.training.compute)
        trainer.resume()
        left = self.updates - trainer.num_updates
        if left > 0:
            cooldown = min(left, round(self.updates * sequence.optimizer.decay_fraction))
            trainer.run(math.inf, updates=left, cooldown_updates=cooldown)
        if trainer.num_updates < self.updates:
            raise SystemExit(f"stopped after {trainer.num_updates} training steps; run the same command to resume")
        return {
            "kind": "comparison",
            "experiment": f"{self.preset.title}, {self.updates} updates",
            "command": f"python tools/compare.py {self.recipe} --updates {self.updates} --seeds {seed} "
            f"--architectures {name}",
            "architecture": name,
            "seed": seed,
            "updates": trainer.num_updates,
            "train_s": round(trainer.trained_s, 1),
            "frames": trainer.num_frames,
            "parameters": sum(p.numel() for p in network.parameters()),
            **self.scores(recipe.average),
        }

    def scores(self, model: WorldModel) -> dict[str, object]:
        """PSNR in dB. Only the first turn shows new places.

        `second_turn`, `by_distance` and `by_steps` score autoregressive rollouts after one true turn; `next_new` and
        `next_seen` score next-frame prediction in the first and the second turn.
        """
        turn, truth = spin_ticks(self.preset.ground_truth_config.turn_deg), self.episodes.frames
        # the last frame of a turn repeats the last frame of the context
        second = slice(turn, 2 * turn - 1)
        latents = encode_clips(self.autoencoder, self.episodes, self.device)

        def generate_frames(
            num_context: int, *, autoregressive: bool, num_frames: int | None = None, num_steps: int = 0
        ) -> ImageArray:
            latent_BTCHW = generate(
                model,
                LatentClips(
                    seeds=latents.seeds,
                    latent_BTCHW=latents.latent_BTCHW[:, :num_frames],
                    action_BTA=latents.action_BTA[:, :num_frames],
                ),
                num_context=num_context,
                num_steps=num_steps or self.preset.play.num_steps,
                context_noise=0.0,
                autoregressive=autoregressive,
            )
            return np.concatenate((truth[:, :num_context], decode_frames(self.autoencoder, latent_BTCHW)), 1)

        def score(frames: ImageArray, part: slice = second) -> dict[str, object]:
            psnr_B = psnr(np.broadcast_to(frames, truth.shape)[:, part], truth[:, part]).mean(axis=1)
            return {"value": round(float(psnr_B.mean()), 4), "per_seed": [round(float(v), 4) for v in psnr_B]}

        next_frame, rollout = generate_frames(1, autoregressive=False), generate_frames(turn, autoregressive=True)
        psnr_T = psnr(rollout[:, turn:], truth[:, turn:]).mean(axis=0)
        by_steps: dict[str, list[list[float]]] = {"second_turn": [], "sharpness": []}
        for num_steps in SAMPLER_STEPS:
            frames = generate_frames(turn, autoregressive=True, num_frames=second.stop, num_steps=num_steps)[:, second]
            by_steps["second_turn"].append([num_steps, round(float(psnr(frames, truth[:, second]).mean()), 4)])
            by_steps["sharpness"].append([num_steps, round(float(sharpness(frames, truth[:, second])), 4)])
        return {
            "scores": {
                "second_turn": score(rollout),
                "next_new": score(next_frame, slice(1, turn)),
                "next_seen": score(next_frame),
                "autoencoder": score(decode_frames(self.autoencoder, latents.latent_BTCHW)),
                "mean_image": score(mean_image(truth)),
                "repeat": score(truth[:, turn - 1 : turn]),
            },
            "by_distance": {"later_turns": [[t + 1, round(float(value), 4)] for t, value in enumerate(psnr_T)]},
            "by_steps": by_steps,
        }

    def sheet(self, names: Sequence[str], seed: int) -> list[SheetSection]:
        """The second turn of the first episodes: true frames, then those of each model."""
        turn = spin_ticks(self.preset.ground_truth_config.turn_deg)
        episodes = self.episodes.first(2 * turn)

        def row(label: str, frames: ImageArray) -> SheetRow:
            return SheetRow(label=label, frames=np.concatenate(list(frames[:EPISODES_SHOWN])))

        rows = [row("true", episodes.frames[:, turn:])]
        for name in names:
            preset = load_preset(self.out / f"{name}-{seed}" / "last")
            evaluator = Evaluator(preset, mean_image=episodes.frames[0, 0])
            generate_frames = evaluator.generate(evaluator.encode(episodes), turn)
            rows.append(row(name, evaluator.decode(generate_frames)))
        columns = tuple(f"maze {maze + 1}, {tick + 1}" for maze in range(EPISODES_SHOWN) for tick in range(turn))
        return [SheetSection(title=task_name("spin"), columns=columns, rows=tuple(rows))]


@contextmanager
def comparison(arguments: argparse.Namespace, *, is_trained: bool) -> Iterator[Comparison]:
    """Fills the replay buffer only if something is trained."""
    preset, table = read_preset_toml(arguments.recipe)
    training = read_training(table, preset.model)
    autoencoder = load_preset(arguments.autoencoder).autoencoder.to(arguments.device)
    with closing(open_world(preset.ground_truth_config)) as world:
        seeds = range(FIRST_SEED, FIRST_SEED + NUM_EPISODES)
        episodes = record_clips(world, spin_policy, seeds, NUM_TURNS * spin_ticks(preset.ground_truth_config.turn_deg))
    data = TrainingData(preset, training, (), world_share=1.0, min_frames=training.sequence.clip_frames)
    with data.sources() as sources:
        replay_buffer = ReplayBuffer(
            sources, partial(encode_frames, autoencoder, device=arguments.device), training.data
        )
        if is_trained:
            replay_buffer.fill(lambda have, want: print(f"{have} of {want} episodes", end="\r", flush=True))
        yield Comparison(
            preset=preset,
            training=training,
            autoencoder=autoencoder,
            replay_buffer=replay_buffer,
            probes=data.probes(),
            starts=data.starts(),
            episodes=episodes,
            out=arguments.out,
            recipe=arguments.recipe,
            updates=arguments.updates,
            device=arguments.device,
        )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument(
        "--autoencoder", type=Path, default=Path("presets/maze"), help="preset whose autoencoder all runs share"
    )
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--rescore", "--again", action="store_true", help="score finished runs again")
    parser.add_argument(
        "--contact-sheet", "--sheet", type=Path, metavar="PNG", help="draw the second turns of the first seed"
    )
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args(argv)
    runs = {
        arguments.out / f"{name}-{seed}.json": (name, seed)
        for seed in arguments.seeds
        for name in arguments.architectures
    }
    wanted = {path: run for path, run in runs.items() if arguments.rescore or not path.exists()}
    with comparison(arguments, is_trained=bool(wanted) and not arguments.rescore) as shared:
        for path, (name, seed) in wanted.items():
            began_s = time.monotonic()
            result = shared.run(name, seed)
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(f"{name}, seed {seed}: {time.monotonic() - began_s:.0f} s, {result['by_distance']}", flush=True)
        if arguments.contact_sheet:
            write_sheet(arguments.contact_sheet, shared.sheet(arguments.architectures, arguments.seeds[0]))


if __name__ == "__main__":
    main()
