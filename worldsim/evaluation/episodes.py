"""The episodes of every task, recorded from the reference world or cut from recordings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from worldsim.core.errors import RecordingError
from worldsim.core.types import Step
from worldsim.evaluation.clips import MEAN_IMAGE_FRAMES, Clips, Depth, mean_image, record_clips
from worldsim.evaluation.config import POSE_TASKS, TASKS, EvalConfig
from worldsim.evaluation.policies import (
    LoopPolicy,
    PolicyFactory,
    Waypoints,
    explore_policy,
    idle_after,
    loop_waypoints,
    pose_of,
    random_keys_after,
    random_keys_policy,
    return_policy,
    spin_policy,
    spin_ticks,
    tour_policy,
)
from worldsim.evaluation.rollout import FrameProgressCallback
from worldsim.evaluation.visibility import Camera
from worldsim.presets.config import PresetConfig
from worldsim.training.recordings import DataSource, Recordings, Segment, evenly_spaced, open_source
from worldsim.worlds import open_world
from worldsim.worlds.base import GroundTruthWorld
from worldsim.worlds.doom.config import DoomConfig

RECORDING_TASKS = ("one_step", "rollout", "reasoning", "drift")
"""Tasks that only need consecutive frames and actions."""
EXPLORATION_TASKS = ("one_step", "rollout", "reasoning")
"""Tasks that share the same episodes."""
NO_WORLD_REASON = "needs the reference world; recordings cannot be steered"
FIRST_PROBE_SEED = 1000
"""Probe episodes use training seeds from here, the mean image those from 0."""
DOOM_STRETCH = 1.2
"""Doom's pixels were a fifth taller than wide, and the engine still renders for them."""


@dataclass(frozen=True, kw_only=True)
class TaskLengths:
    """Frames per episode of each task, and how many of them are context."""

    total: dict[str, int]
    context: dict[str, int]

    @classmethod
    def of(cls, config: EvalConfig, preset: PresetConfig, turn_deg: float | None) -> TaskLengths:
        """`turn_deg` of the reference world, None without one."""
        short = max(config.context_frames, preset.play.context_frames)
        one_turn = spin_ticks(turn_deg) if turn_deg else 0
        context = {
            "one_step": short,
            "rollout": short,
            "retrieval": config.retrieval_frames // 2,
            "reverse": config.reverse_context,
            "tour": 1 + config.tour_views,  # an episode starts at a view of its own
            "reasoning": max(short, config.reasoning_context),
            "spin": one_turn + 1,  # the turn ends with the first view again
            "loop": config.loop_context,
            "fidelity": short,
            "idle": short + config.idle_settle,
            "drift": short,
        }
        generated = {
            "one_step": config.one_step_frames,
            "rollout": config.horizons[-1],
            "retrieval": config.retrieval_frames - context["retrieval"],
            "reverse": config.reverse_context - 1,
            "tour": config.tour_views,
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
    """All episodes of an evaluation."""

    clips: dict[str, Clips]
    """By task, without those that are skipped."""
    mean_image: npt.NDArray[np.uint8] = field(repr=False)
    probe: Clips | None
    """Training episodes under random keys, if a task needs them."""
    camera: Camera | None
    left_out: dict[str, str]
    """Skipped task to reason."""


@dataclass(frozen=True, kw_only=True)
class EvaluationWorld:
    """A running reference world with its camera and loops."""

    world: GroundTruthWorld
    camera: Camera

    def read_depth(self) -> Depth:
        """Depth of the newest frame on the camera's grid."""
        return self.camera.subsample(self.world.depth)

    def seeds_with_loop(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """Seeds whose maze has a loop. Side effects: resets the world."""
        return tuple(seed for seed in seeds if self._loop_waypoints(self.world.reset(seed)) is not None)

    def loop_policy(self) -> PolicyFactory:
        """Laps the nearest loop; only for the seeds of `seeds_with_loop`."""
        config = self.world.config

        def find_waypoints(step: Step) -> tuple[Waypoints, Waypoints]:
            points = self._loop_waypoints(step)
            assert points is not None, "this maze has no loop"
            return points

        return lambda seed: LoopPolicy(find_waypoints, config.turn_deg, config.waypoint_radius)

    def _loop_waypoints(self, step: Step) -> tuple[Waypoints, Waypoints] | None:
        pose = pose_of(step)
        maze = self.world.layout
        return loop_waypoints(maze, maze.cell_at(pose.x, pose.y))


@contextmanager
def open_evaluation_world(config: PresetConfig) -> Iterator[EvaluationWorld]:
    """The reference world of a preset, closed at the end of the block.

    Raises: ConfigError for a preset without one, MissingPackageError if its package is not installed.
    """
    world_config = config.ground_truth_config
    height_px, width_px, _ = world_config.frame_shape
    camera = Camera(
        height_px=height_px,
        width_px=width_px,
        fov_deg=world_config.fov_deg,
        cell_units=world_config.cell_units,
        stretch=DOOM_STRETCH if isinstance(world_config, DoomConfig) else 1.0,
    )
    with closing(open_world(world_config, with_depth=True)) as world:
        yield EvaluationWorld(world=world, camera=camera)


def record_episodes(
    preset: PresetConfig, config: EvalConfig, lengths: TaskLengths, on_progress: FrameProgressCallback | None
) -> EvalEpisodes:
    """Records all episodes from the reference world, which runs only during this call.

    Raises: MissingPackageError without the world's package.
    """
    left_out = {}
    if preset.action_spec.pose_control is not None:
        left_out = {"fidelity": "the model is conditioned on poses, not on actions"}
    else:
        left_out = dict.fromkeys(POSE_TASKS, "the model is conditioned on actions, not on poses")
    tasks = [task for task in config.tasks if task not in left_out]
    with open_evaluation_world(preset) as reference:
        recorder = _Recorder(reference, config, lengths, on_progress)
        training = recorder.record(explore_policy(reference.world), range(config.training_seeds), MEAN_IMAGE_FRAMES)
        clips = recorder.explore([task for task in tasks if task in EXPLORATION_TASKS])
        for task in (task for task in tasks if task not in EXPLORATION_TASKS):
            policy, seeds = recorder.policy(task)
            if seeds and task == "reverse":
                outbound = recorder.record(policy, seeds, lengths.context[task], with_pose_depth=True)
                clips[task] = outbound.with_reverse()
            elif seeds:
                clips[task] = recorder.record(policy, seeds, lengths.total[task], with_pose_depth=task != "drift")
            else:
                left_out[task] = "no maze of these seeds has a loop"
        probe = None
        if "fidelity" in clips:
            seeds = range(FIRST_PROBE_SEED, FIRST_PROBE_SEED + config.probe_seeds)
            probe = recorder.record(random_keys_policy(preset.action_spec), seeds, config.probe_frames)
    return EvalEpisodes(
        clips=clips, mean_image=mean_image(training.frames), probe=probe, camera=reference.camera, left_out=left_out
    )


class _Recorder:
    """Records episodes of the tasks from the reference world."""

    def __init__(
        self,
        reference: EvaluationWorld,
        config: EvalConfig,
        lengths: TaskLengths,
        on_progress: FrameProgressCallback | None,
    ) -> None:
        self._reference, self._config, self._lengths, self._on_progress = reference, config, lengths, on_progress

    def record(
        self, policy: PolicyFactory, seeds: Sequence[int], num_frames: int, *, with_pose_depth: bool = False
    ) -> Clips:
        read_depth = self._reference.read_depth if with_pose_depth else None
        return record_clips(self._reference.world, policy, seeds, num_frames, self._on_progress, read_depth)

    def explore(self, tasks: Collection[str]) -> dict[str, Clips]:
        """Tasks that share their episodes, which are recorded once at the length of the longest task."""
        if not tasks:
            return {}
        longest = max(self._lengths.total[task] for task in tasks)
        policy, with_pose_depth = explore_policy(self._reference.world), "reasoning" in tasks
        clips = self.record(policy, self._config.seeds, longest, with_pose_depth=with_pose_depth)
        return {task: clips.first(self._lengths.total[task]) for task in tasks}

    def policy(self, task: str) -> tuple[PolicyFactory, Sequence[int]]:
        """The policy of a task, and its seeds."""
        world, seeds = self._reference.world, self._config.seeds
        explore, context = explore_policy(world), self._lengths.context
        idle_from = context["idle"] - self._config.idle_settle
        if task == "loop":
            return self._reference.loop_policy(), self._reference.seeds_with_loop(seeds)
        if task == "drift":
            return explore, seeds[: self._config.drift_seeds]
        if task == "reverse":
            return explore, seeds
        if task == "tour":
            return tour_policy(lambda: world.layout, self._config.tour_views, world.action_to), seeds
        policies: dict[str, PolicyFactory] = {
            "retrieval": return_policy(world, self._lengths.total["retrieval"]),
            "spin": spin_policy,
            "fidelity": lambda seed: random_keys_after(explore(seed), context["fidelity"], world.action_spec, seed),
            "idle": lambda seed: idle_after(explore(seed), idle_from),
        }
        return policies[task], seeds


def episodes_from_recordings(
    ref: str, preset: PresetConfig, config: EvalConfig, lengths: TaskLengths, on_progress: FrameProgressCallback | None
) -> EvalEpisodes:
    """Segments of recordings (`--data`), which should not have been trained on.

    Raises: RecordingError if no task can be scored, ConfigError for a session that does not fit the preset.
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
            # episodes are cut into equal segments: of less than twice the length, so that none is too short
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
    mean = mean_image(frames[0][:, :MEAN_IMAGE_FRAMES])
    return EvalEpisodes(clips=clips, mean_image=mean, probe=None, camera=None, left_out=left_out)
