"""What every task walks: from a true world, or cut from recordings.

Owns: which episodes a task is scored on, and why it is left out where there are none. Does not own: the pilots, what is
made of the episodes (`evaluation.evaluate`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import RecordingError
from worldsim.evaluation.clips import MEAN_IMAGE_FRAMES, Clips, mean_image, record_clips
from worldsim.evaluation.config import TASKS, EvalConfig
from worldsim.evaluation.ground_truth import EvaluationWorld, explore_policy, open_evaluation_world, return_policy
from worldsim.evaluation.policies import (
    PolicyFactory,
    idle_after,
    random_keys_after,
    random_keys_policy,
    spin_policy,
    spin_ticks,
)
from worldsim.evaluation.rollout import FrameProgressCallback
from worldsim.evaluation.visibility import Camera
from worldsim.presets.config import PresetConfig
from worldsim.training.recordings import DataSource, Recordings, Segment, evenly_spaced, open_source

RECORDING_TASKS = ("one_step", "rollout", "reasoning", "drift")
"""Tasks that need no more than frames and actions in a row."""
EXPLORATION_TASKS = ("one_step", "rollout", "reasoning")
"""Tasks that share one walk."""
NO_WORLD_REASON = "recordings have no engine that could be told where to go"
FIRST_PROBE_SEED = 1000
"""Training seeds; the mean image has those from 0 on."""


@dataclass(frozen=True, kw_only=True)
class TaskLengths:
    """Frames per episode of each task, and how many of them are context."""

    total: dict[str, int]
    context: dict[str, int]

    @classmethod
    def of(cls, config: EvalConfig, preset: PresetConfig, turn_deg: float | None) -> TaskLengths:
        """`turn_deg` of the true world, None where there is none."""
        short = max(config.context_frames, preset.play.context_frames)
        one_turn = spin_ticks(turn_deg) if turn_deg else 0
        context = {
            "one_step": short,
            "rollout": short,
            "retrieval": config.retrieval_frames // 2,
            "reasoning": max(short, config.reasoning_context),
            "spin": one_turn + 1,  # the first frame again closes the turn
            "loop": config.loop_context,
            "fidelity": short,
            "idle": short + config.idle_settle,
            "drift": short,
        }
        generated = {
            "one_step": config.one_step_frames,
            "rollout": config.horizons[-1],
            "retrieval": config.retrieval_frames - context["retrieval"],
            "reasoning": config.reasoning_frames,
            "spin": one_turn,
            "loop": config.loop_frames,
            "fidelity": config.fidelity_frames,
            "idle": config.idle_frames,
            "drift": config.drift_distances[-1],
        }
        return cls(total={task: context[task] + generated[task] for task in TASKS}, context=context)


@dataclass(frozen=True, kw_only=True)
class EvalEpisodes:
    """Everything a true world was asked for."""

    clips: dict[str, Clips]
    """By task; none for a task that is left out."""
    mean_image: npt.NDArray[np.uint8] = field(repr=False)
    probe: Clips | None
    """Training episodes under random keys, where a task needs them."""
    camera: Camera | None
    left_out: dict[str, str]
    """Task to reason."""


def record_episodes(
    preset: PresetConfig, config: EvalConfig, lengths: TaskLengths, on_progress: FrameProgressCallback | None
) -> EvalEpisodes:
    """Raises: MissingPackageError without the world's package. Side effects: starts the true world, and ends it."""
    left_out = {}
    if "turn" not in preset.action_spec.axes:
        left_out = {"fidelity": "the model is told poses, not keys"}
    tasks = [task for task in config.tasks if task not in left_out]
    with open_evaluation_world(preset) as truth:
        recorder = _Recorder(truth, config, lengths, on_progress)
        training = recorder.record(explore_policy(truth.world), range(config.training_seeds), MEAN_IMAGE_FRAMES)
        clips = recorder.explore([task for task in tasks if task in EXPLORATION_TASKS])
        for task in (task for task in tasks if task not in EXPLORATION_TASKS):
            policy, seeds = recorder.policy(task)
            if seeds:
                clips[task] = recorder.record(policy, seeds, lengths.total[task], with_pose_depth=task != "drift")
            else:
                left_out[task] = "no maze of these seeds has a loop"
        probe = None
        if "fidelity" in clips:
            seeds = range(FIRST_PROBE_SEED, FIRST_PROBE_SEED + config.probe_seeds)
            probe = recorder.record(random_keys_policy(preset.action_spec), seeds, config.probe_frames)
    return EvalEpisodes(
        clips=clips, mean_image=mean_image(training.frames), probe=probe, camera=truth.camera, left_out=left_out
    )


class _Recorder:
    def __init__(
        self,
        truth: EvaluationWorld,
        config: EvalConfig,
        lengths: TaskLengths,
        on_progress: FrameProgressCallback | None,
    ) -> None:
        self._ground_truth, self._config, self._lengths, self._on_progress = truth, config, lengths, on_progress

    def record(
        self, policy: PolicyFactory, seeds: Sequence[int], num_frames: int, *, with_pose_depth: bool = False
    ) -> Clips:
        read_depth = self._ground_truth.read_depth if with_pose_depth else None
        return record_clips(self._ground_truth.world, policy, seeds, num_frames, self._on_progress, read_depth)

    def explore(self, tasks: Collection[str]) -> dict[str, Clips]:
        """Tasks that share one walk: recorded once, as long as the longest of them."""
        if not tasks:
            return {}
        longest = max(self._lengths.total[task] for task in tasks)
        with_pose_depth = "reasoning" in tasks
        walk = self.record(
            explore_policy(self._ground_truth.world), self._config.seeds, longest, with_pose_depth=with_pose_depth
        )
        return {task: walk.first(self._lengths.total[task]) for task in tasks}

    def policy(self, task: str) -> tuple[PolicyFactory, Sequence[int]]:
        """Who walks, and with which seeds."""
        world, seeds = self._ground_truth.world, self._config.seeds
        explore, context = explore_policy(world), self._lengths.context
        still_from = context["idle"] - self._config.idle_settle
        if task == "loop":
            return self._ground_truth.loop_policy(), self._ground_truth.seeds_with_loop(seeds)
        if task == "drift":
            return explore, seeds[: self._config.drift_seeds]
        policies: dict[str, PolicyFactory] = {
            "retrieval": return_policy(world, self._lengths.total["retrieval"]),
            "spin": spin_policy,
            "fidelity": lambda seed: random_keys_after(explore(seed), context["fidelity"], world.action_spec, seed),
            "idle": lambda seed: idle_after(explore(seed), still_from),
        }
        return policies[task], seeds


def episodes_from_recordings(
    ref: str, preset: PresetConfig, config: EvalConfig, lengths: TaskLengths, on_progress: FrameProgressCallback | None
) -> EvalEpisodes:
    """Pieces of recordings in place of walks: `--data`, which should hold nothing that was trained on.

    Raises: RecordingError when nothing is there, ConfigError for a session that does not fit the preset.
    """
    sessions = open_source(DataSource.parse(ref))
    left_out = {task: NO_WORLD_REASON for task in config.tasks if task not in RECORDING_TASKS}
    clips: dict[str, Clips] = {}
    frames: list[npt.NDArray[np.uint8]] = []
    for task in config.tasks:
        if task in left_out:
            continue
        num_frames = lengths.total[task]
        try:
            # runs are cut into equal pieces: of at most twice the length, so that none is too short
            recordings = Recordings(
                sessions, preset, segment_frames=2 * num_frames - 1, min_frames=num_frames, is_resized=True
            )
        except RecordingError as error:
            left_out[task] = error.message
            continue
        count = min(len(config.seeds), config.drift_seeds if task == "drift" else len(config.seeds))
        chosen: list[Segment] = evenly_spaced([*recordings.segments, *recordings.held_out], count)
        episodes = recordings.read(chosen)
        clips[task] = Clips(
            seeds=config.seeds[: len(episodes)],
            frames=np.stack([episode.frames[:num_frames] for episode in episodes]),
            actions=np.stack([episode.actions[:num_frames] for episode in episodes]),
        )
        frames.append(clips[task].frames[:, : lengths.context[task]])
        if on_progress:
            on_progress(len(episodes) * num_frames)
    if not clips:
        raise RecordingError(
            "no task can be scored on these recordings", hint="; ".join(sorted(set(left_out.values())))
        )
    mean = mean_image(np.concatenate([f[:, :MEAN_IMAGE_FRAMES] for f in frames[:1]]))
    return EvalEpisodes(clips=clips, mean_image=mean, probe=None, camera=None, left_out=left_out)
