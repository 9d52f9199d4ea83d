"""One whole evaluation: records the episodes, runs the tasks, gathers the scores.

Owns: which clips each task gets, and the report's JSON. Does not own: printing (`worldsim.cli.eval`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from worldsim.core.config import to_mapping
from worldsim.evaluation.clips import (
    MEAN_IMAGE_TICKS,
    explore_pilot,
    mean_image,
    record_clips,
    return_pilot,
    spin_pilot,
    spin_ticks,
)
from worldsim.evaluation.config import EvalConfig
from worldsim.evaluation.latents import Advance
from worldsim.evaluation.tasks import (
    Evaluator,
    HorizonScore,
    MemoryScore,
    Outcome,
    memory_score,
    one_step_score,
    rollout_scores,
)
from worldsim.presets.config import PresetConfig
from worldsim.presets.store import Preset
from worldsim.worlds.registry import open_world


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of one preset, and the frames they were taken from (by task; not in the JSON)."""

    rollout: list[HorizonScore]
    one_step: HorizonScore
    retrieval: MemoryScore
    spin: MemoryScore
    seeds: tuple[int, ...]
    steps: int
    context_frames: int
    preset: str
    preset_sha256: str
    world: Mapping[str, Any]
    outcomes: Mapping[str, Outcome] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        scores = {
            "rollout": [asdict(score) for score in self.rollout],
            **{name: asdict(getattr(self, name)) for name in ("one_step", "retrieval", "spin")},
        }
        about = ("steps", "context_frames", "preset", "preset_sha256", "world")
        return {**scores, "seeds": list(self.seeds), **{name: getattr(self, name) for name in about}}


@dataclass(frozen=True, kw_only=True)
class _Lengths:
    """Frames per episode of each task."""

    context: int
    rollout: int
    one_step: int
    retrieval: int
    spin_context: int
    spin: int

    @classmethod
    def of(cls, config: EvalConfig, preset: PresetConfig) -> _Lengths:
        context = max(config.context_frames, preset.play.context_frames)
        one_turn = spin_ticks(preset.true_world.turn_deg)
        return cls(
            context=context,
            rollout=context + max(*config.horizons, config.one_step_frames),
            one_step=context + config.one_step_frames,
            retrieval=config.retrieval_frames,
            spin_context=one_turn + 1,  # the first frame again closes the turn
            spin=2 * one_turn + 1,
        )


def num_frames_of_work(config: EvalConfig, preset: PresetConfig) -> int:
    """How often `advance` will hear of a frame: recorded once, run with the state and without it."""
    lengths = _Lengths.of(config, preset)
    recorded = lengths.rollout + lengths.retrieval + lengths.spin
    through_model = 2 * (recorded + lengths.one_step)
    return len(config.seeds) * (recorded + through_model) + config.training_seeds * MEAN_IMAGE_TICKS


def evaluate(preset: Preset, config: EvalConfig, *, device: str = "cpu", advance: Advance | None = None) -> Report:
    """Raises: MissingPackageError without the true world's package, NonFiniteError when the model breaks down.

    Side effects: starts the true world, and ends it.
    """
    lengths = _Lengths.of(config, preset.config)
    seeds = config.seeds
    with closing(open_world(preset.config.true_world)) as world:
        training = record_clips(world, explore_pilot(world), range(config.training_seeds), MEAN_IMAGE_TICKS, advance)
        walk = record_clips(world, explore_pilot(world), seeds, lengths.rollout, advance)
        out_and_back = record_clips(world, return_pilot(world, lengths.retrieval), seeds, lengths.retrieval, advance)
        turns = record_clips(world, spin_pilot, seeds, lengths.spin, advance)
    evaluator = Evaluator(
        preset, mean_image=mean_image(training), num_steps=config.num_steps, device=device, advance=advance
    )
    outcomes = {
        "rollout": evaluator.compare(walk, num_context=lengths.context),
        "one_step": evaluator.compare(walk.first(lengths.one_step), num_context=lengths.context, feed_back=False),
        "retrieval": evaluator.compare(out_and_back, num_context=lengths.retrieval // 2),
        "spin": evaluator.compare(turns, num_context=lengths.spin_context),
    }
    one_turn = lengths.spin_context - 1
    return Report(
        rollout=rollout_scores(outcomes["rollout"], config.horizons),
        one_step=one_step_score(outcomes["one_step"]),
        retrieval=memory_score(outcomes["retrieval"]),
        spin=memory_score(outcomes["spin"], copy=turns.frames[:, lengths.spin_context - one_turn : -one_turn]),
        seeds=seeds,
        steps=evaluator.num_steps,
        context_frames=lengths.context,
        preset=preset.config.name,
        preset_sha256=preset.sha256,
        world=to_mapping(preset.config.world),
        outcomes=outcomes,
    )
