"""A complete evaluation: records the episodes, runs and scores the tasks, and gives the JSON of `worldsim eval`."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

import worldsim
from worldsim.core.config import to_mapping
from worldsim.core.errors import ConfigError
from worldsim.evaluation.clips import MEAN_IMAGE_FRAMES, Clips
from worldsim.evaluation.config import EvalConfig
from worldsim.evaluation.drift import drift_scores, frechet_by_seed
from worldsim.evaluation.episodes import (
    RECORDING_TASKS,
    EvalEpisodes,
    TaskLengths,
    episodes_from_recordings,
    record_episodes,
)
from worldsim.evaluation.evaluator import Evaluator, RolloutResult
from worldsim.evaluation.perceptual import PerceptualMetrics
from worldsim.evaluation.probe import fidelity_score, train_probe
from worldsim.evaluation.rollout import FrameProgressCallback
from worldsim.evaluation.scores import (
    idle_score,
    interval_fields,
    memory_score,
    one_step_score,
    reverse_score,
    rollout_scores,
)
from worldsim.evaluation.visibility import Camera, VisibilityMasks, visibility_masks
from worldsim.models.config import ModelConfig
from worldsim.models.world_model import MemoryPart
from worldsim.presets.config import PresetConfig
from worldsim.presets.store import Preset
from worldsim.worlds.recorded import RecordedWorldConfig

NO_STATE_TASKS = ("one_step", "rollout", "retrieval", "reverse", "tour", "spin")
"""Tasks that are run again with the memory cleared before every frame; in a mapped model, also map and scans alone."""
DISTRIBUTION_TASKS = ("rollout", "retrieval", "reverse", "reasoning", "loop")
"""Tasks whose frame distributions are compared, in the autoencoder's latents and by LPIPS and FVD networks."""


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """Scores of one preset, and the frames behind them."""

    scores: Mapping[str, Any]
    """Task to a score, or to one per distance."""
    comparison: Mapping[str, Mapping[str, Any]]
    """Task to Frechet distance of the latents, LPIPS and FVD."""
    left_out: Mapping[str, str]
    """Skipped task to reason."""
    seconds: Mapping[str, float]
    """Time of recording the episodes ("walks") and of each task."""
    config: EvalConfig
    steps: int
    context_frames: int
    preset: PresetConfig
    preset_sha256: str
    results: Mapping[str, RolloutResult] = field(repr=False)
    """Frames by task; not in the JSON."""

    def to_json(self) -> dict[str, Any]:
        """Scores by task, and everything needed to reproduce them. Contains no local paths."""
        return {
            **{task: _to_mapping(score) for task, score in self.scores.items()},
            "comparison": self.comparison,
            "left_out": dict(self.left_out),
            "seeds": list(self.config.seeds),
            "steps": self.steps,
            "context_frames": self.context_frames,
            "config": {**asdict(self.config), "model": to_mapping(self.preset.model)},
            "preset": self.preset.name,
            "preset_sha256": self.preset_sha256,
            "world": to_mapping(self.preset.world),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "versions": {
                "worldsim": worldsim.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
        }


def num_progress_frames(config: EvalConfig, preset: PresetConfig, data: str | None = None) -> int:
    """Upper bound of the frames reported to `on_progress`: each is recorded once and generated at least once."""
    lengths = _lengths(config, preset, data)
    total = 0 if data else config.training_seeds * MEAN_IMAGE_FRAMES
    if "fidelity" in config.tasks:
        total += config.probe_seeds * config.probe_frames
    for task in config.tasks:
        num_seeds = min(len(config.seeds), config.drift_seeds) if task == "drift" else len(config.seeds)
        num_again = len(_forgotten_parts(preset.model)) if task in NO_STATE_TASKS else 0
        num_again += task == "reverse"  # recall
        total += num_seeds * lengths.total[task] * (2 + num_again)
    return total


def evaluate(
    preset: Preset,
    config: EvalConfig,
    *,
    data: str | None = None,
    device: str = "cpu",
    on_progress: FrameProgressCallback | None = None,
    perceptual: PerceptualMetrics | None = None,
) -> EvaluationReport:
    """Scores a preset against its reference world, or against the recordings `data` if given.

    Raises: MissingPackageError without the world's package, ConfigError for a preset without a reference world and no
    recordings, RecordingError, NonFiniteError if the model diverges.
    """
    clock = _Clock()
    lengths = _lengths(config, preset.config, data)
    if data is None:
        episodes = record_episodes(preset.config, config, lengths, on_progress)
    else:
        episodes = episodes_from_recordings(data, preset.config, config, lengths, on_progress)
    clock.lap("walks")
    evaluator = Evaluator(
        preset, mean_image=episodes.mean_image, num_steps=config.num_steps, device=device, on_progress=on_progress
    )
    scorer = _Scorer(evaluator, episodes, lengths, config, preset.config)
    scores, comparison = {}, {}
    for task in episodes.clips:
        scores[task] = scorer.score(task)
        if task in DISTRIBUTION_TASKS and scorer.results[task].truth.shape[1] > 1:  # a single frame has no variance
            comparison[task] = _distribution_scores(evaluator, scorer.results[task], perceptual)
        clock.lap(task)
    return EvaluationReport(
        scores=scores,
        comparison=comparison,
        left_out=episodes.left_out,
        seconds=clock.seconds,
        config=config,
        steps=evaluator.num_steps,
        context_frames=lengths.context["rollout"],
        preset=preset.config,
        preset_sha256=preset.sha256,
        results=scorer.results,
    )


class _Scorer:
    """Runs and scores the tasks; `results` are those of the tasks done so far."""

    def __init__(
        self,
        evaluator: Evaluator,
        episodes: EvalEpisodes,
        lengths: TaskLengths,
        config: EvalConfig,
        preset: PresetConfig,
    ) -> None:
        self._evaluator, self._episodes, self._lengths = evaluator, episodes, lengths
        self._config, self._preset = config, preset
        self.results: dict[str, RolloutResult] = {}

    def score(self, task: str) -> Any:
        clips, num_context = self._episodes.clips[task], self._lengths.context[task]
        if task == "drift":
            distances = self._config.drift_distances
            return drift_scores(self._evaluator, clips, num_context=num_context, distances=distances)
        result = self._evaluator.compare(
            clips,
            num_context=num_context,
            autoregressive=task != "one_step",
            forget=_forgotten_parts(self._preset.model) if task in NO_STATE_TASKS else (),
            recall=task == "reverse",
        )
        self.results[task] = result
        if task == "one_step":
            return one_step_score(result)
        if task == "rollout":
            return rollout_scores(result, self._config.horizons)
        if task == "idle":
            return idle_score(result)
        if task == "fidelity":
            return self._fidelity(result, clips.actions[:, num_context:])
        copy = clips.frames[:, 1:num_context] if task == "spin" else None
        masks = _masks_by_episode(self._episodes.camera, clips, num_context, self._config.gone_frames)
        if task == "reverse":
            return reverse_score(result, masks_B=masks)
        return memory_score(result, copy=copy, masks_B=masks)

    def _fidelity(self, result: RolloutResult, actions: Any) -> Any:
        probe_clips, spec = self._episodes.probe, self._preset.action_spec
        assert probe_clips is not None, "no episodes to train the probe on"
        updates = self._config.probe_updates
        probe = train_probe(probe_clips, spec, num_updates=updates)
        trained = (self._config.probe_seeds * self._config.probe_frames, updates)
        return fidelity_score(probe, result, actions, spec, trained=trained)


def _forgotten_parts(model: ModelConfig) -> tuple[MemoryPart, ...]:
    """The parts of the memory without which a model is scored too."""
    return ("all", "map", "scan") if model.kind == "mapped" else ("all",)


def _masks_by_episode(
    camera: Camera | None, clips: Clips, num_context: int, gone_frames: int
) -> list[VisibilityMasks] | None:
    if camera is None or clips.pose_depth is None:
        return None
    rows = zip(clips.pose_depth.pose, clips.pose_depth.depth, strict=True)
    return [
        visibility_masks(camera, pose, depth, num_context=num_context, gone_frames=gone_frames) for pose, depth in rows
    ]


def _distribution_scores(
    evaluator: Evaluator, result: RolloutResult, perceptual: PerceptualMetrics | None
) -> dict[str, Any]:
    """Distances between the frames of each episode and the true ones, in latents and by networks."""
    images = (result.truth, result.generated, result.autoencoder, result.repeat)
    truth, generated, decoded, repeat = (evaluator.encode_frames(image) for image in images)
    return {
        **interval_fields("frechet_latent", frechet_by_seed(truth, generated)),
        "frechet_latent_autoencoder": float(frechet_by_seed(truth, decoded).mean()),
        "frechet_latent_repeat": float(frechet_by_seed(truth, repeat).mean()),
        **(perceptual.scores(result) if perceptual else {}),
    }


def _lengths(config: EvalConfig, preset: PresetConfig, data: str | None) -> TaskLengths:
    """Raises: ConfigError for a preset that was trained on recordings, if `data` is None."""
    if data is not None:
        return TaskLengths.of(config, preset, None)
    if isinstance(preset.world, RecordedWorldConfig):
        raise ConfigError(
            f"{preset.name} was trained on recordings and has no reference world",
            hint="use worldsim eval --data DIR with recordings it was not trained on; tasks: "
            + ", ".join(RECORDING_TASKS),
        )
    return TaskLengths.of(config, preset, preset.ground_truth_config.turn_deg)


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._since = now - self._since, now


def _to_mapping(score: Any) -> Any:
    return [asdict(item) for item in score] if isinstance(score, Sequence) else asdict(score)
