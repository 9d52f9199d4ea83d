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
from worldsim.evaluation.clips import MEAN_IMAGE_TICKS, Clips, mean_image, record_clips
from worldsim.evaluation.config import TASKS, EvalConfig
from worldsim.evaluation.ground_truth import Truth, explore_pilot, open_truth, return_pilot
from worldsim.evaluation.policies import MakePilot, keys_after, keys_pilot, spin_pilot, spin_ticks, still_after
from worldsim.evaluation.rollout import Advance
from worldsim.evaluation.visibility import Camera
from worldsim.presets.config import PresetConfig
from worldsim.training.recordings import DataSource, Piece, Recordings, evenly, open_source

FROM_RECORDINGS = ("one_step", "rollout", "reasoning", "drift")
"""Tasks that need no more than frames and actions in a row."""
EXPLORED = ("one_step", "rollout", "reasoning")
"""Tasks that share one walk."""
NO_ENGINE = "recordings have no engine that could be told where to go"
FIRST_PROBE_SEED = 1000
"""Training seeds; the mean image has those from 0 on."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Frames per episode of each task, and how many of them are context."""

    total: dict[str, int]
    context: dict[str, int]

    @classmethod
    def of(cls, config: EvalConfig, preset: PresetConfig, turn_deg: float | None) -> Lengths:
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
        made = {
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
        return cls(total={task: context[task] + made[task] for task in TASKS}, context=context)


@dataclass(frozen=True, kw_only=True)
class Walks:
    """Everything a true world was asked for."""

    clips: dict[str, Clips]
    """By task; none for a task that is left out."""
    mean_image: npt.NDArray[np.uint8] = field(repr=False)
    probe: Clips | None
    """Training episodes under random keys, where a task needs them."""
    camera: Camera | None
    left_out: dict[str, str]
    """Task to reason."""


def walk_in_truth(preset: PresetConfig, config: EvalConfig, lengths: Lengths, advance: Advance | None) -> Walks:
    """Raises: MissingPackageError without the world's package. Side effects: starts the true world, and ends it."""
    left_out = {}
    if "turn" not in preset.action_spec.axes:
        left_out = {"fidelity": "the model is told poses, not keys"}
    tasks = [task for task in config.tasks if task not in left_out]
    with open_truth(preset) as truth:
        recorder = _Recorder(truth, config, lengths, advance)
        training = recorder.record(explore_pilot(truth.world), range(config.training_seeds), MEAN_IMAGE_TICKS)
        clips = recorder.explore([task for task in tasks if task in EXPLORED])
        for task in (task for task in tasks if task not in EXPLORED):
            pilot, seeds = recorder.pilot(task)
            if seeds:
                clips[task] = recorder.record(pilot, seeds, lengths.total[task], with_sight=task != "drift")
            else:
                left_out[task] = "no maze of these seeds has a loop"
        probe = None
        if "fidelity" in clips:
            seeds = range(FIRST_PROBE_SEED, FIRST_PROBE_SEED + config.probe_seeds)
            probe = recorder.record(keys_pilot(preset.action_spec), seeds, config.probe_frames)
    return Walks(
        clips=clips, mean_image=mean_image(training.frames), probe=probe, camera=truth.camera, left_out=left_out
    )


class _Recorder:
    def __init__(self, truth: Truth, config: EvalConfig, lengths: Lengths, advance: Advance | None) -> None:
        self._truth, self._config, self._lengths, self._advance = truth, config, lengths, advance

    def record(self, pilot: MakePilot, seeds: Sequence[int], num_frames: int, *, with_sight: bool = False) -> Clips:
        look = self._truth.look if with_sight else None
        return record_clips(self._truth.world, pilot, seeds, num_frames, self._advance, look)

    def explore(self, tasks: Collection[str]) -> dict[str, Clips]:
        """Tasks that share one walk: recorded once, as long as the longest of them."""
        if not tasks:
            return {}
        longest = max(self._lengths.total[task] for task in tasks)
        with_sight = "reasoning" in tasks
        walk = self.record(explore_pilot(self._truth.world), self._config.seeds, longest, with_sight=with_sight)
        return {task: walk.first(self._lengths.total[task]) for task in tasks}

    def pilot(self, task: str) -> tuple[MakePilot, Sequence[int]]:
        """Who walks, and with which seeds."""
        world, seeds = self._truth.world, self._config.seeds
        explore, context = explore_pilot(world), self._lengths.context
        still_from = context["idle"] - self._config.idle_settle
        if task == "loop":
            return self._truth.lap_pilot(), self._truth.with_loop(seeds)
        if task == "drift":
            return explore, seeds[: self._config.drift_seeds]
        pilots: dict[str, MakePilot] = {
            "retrieval": return_pilot(world, self._lengths.total["retrieval"]),
            "spin": spin_pilot,
            "fidelity": lambda seed: keys_after(explore(seed), context["fidelity"], world.action_spec, seed),
            "idle": lambda seed: still_after(explore(seed), still_from),
        }
        return pilots[task], seeds


def walk_in_recordings(
    ref: str, preset: PresetConfig, config: EvalConfig, lengths: Lengths, advance: Advance | None
) -> Walks:
    """Pieces of recordings in place of walks: `--data`, which should hold nothing that was trained on.

    Raises: RecordingError when nothing is there, ConfigError for a session that does not fit the preset.
    """
    sessions = open_source(DataSource.parse(ref))
    left_out = {task: NO_ENGINE for task in config.tasks if task not in FROM_RECORDINGS}
    clips: dict[str, Clips] = {}
    frames: list[npt.NDArray[np.uint8]] = []
    for task in config.tasks:
        if task in left_out:
            continue
        num_frames = lengths.total[task]
        try:
            # runs are cut into equal pieces: of at most twice the length, so that none is too short
            recordings = Recordings(
                sessions, preset, piece_frames=2 * num_frames - 1, least_frames=num_frames, is_resized=True
            )
        except RecordingError as error:
            left_out[task] = error.message
            continue
        count = min(len(config.seeds), config.drift_seeds if task == "drift" else len(config.seeds))
        chosen: list[Piece] = evenly([*recordings.pieces, *recordings.held_out], count)
        episodes = recordings.read(chosen)
        clips[task] = Clips(
            seeds=config.seeds[: len(episodes)],
            frames=np.stack([episode.frames[:num_frames] for episode in episodes]),
            actions=np.stack([episode.actions[:num_frames] for episode in episodes]),
        )
        frames.append(clips[task].frames[:, : lengths.context[task]])
        if advance:
            advance(len(episodes) * num_frames)
    if not clips:
        raise RecordingError(
            "no task can be scored on these recordings", hint="; ".join(sorted(set(left_out.values())))
        )
    mean = mean_image(np.concatenate([f[:, :MEAN_IMAGE_TICKS] for f in frames[:1]]))
    return Walks(clips=clips, mean_image=mean, probe=None, camera=None, left_out=left_out)
