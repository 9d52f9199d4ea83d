"""The data of a training run: the reference world, recordings, or both in given shares; also probes and starts.

The sources themselves are `workers` and `recordings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from worldsim.core.errors import ConfigError, UsageError
from worldsim.presets.config import PresetConfig
from worldsim.presets.store import Start
from worldsim.training.config import TrainingConfig
from worldsim.training.recordings import DataSource, RecordedStream, Recordings, SessionIndex, evenly_spaced
from worldsim.training.workers import Episode, WeightedStream, WorldStream, record_episodes
from worldsim.worlds.trajectories import FIRST_START_SEED, START_FRAMES, start_trajectory_frames

NUM_PROBES = 6
PROBE_FRAMES = 180
FIRST_PROBE_SEED = 800_000
"""Probes show progress on seeds that training is unlikely to draw; evaluation has its own, from 900,000 up."""
RANK_SEED_STRIDE = 15_485_863
"""Distance between the seeds of two ranks: not a multiple of the distance between workers."""
NUM_STARTS = 8


@dataclass(frozen=True, kw_only=True)
class OpenedSource:
    """A `--data` source and its sessions."""

    source: DataSource
    sessions: Sequence[SessionIndex] = field(repr=False)

    @property
    def name(self) -> str:
        """The reference without this machine's path."""
        return Path(self.source.ref).name if Path(self.source.ref).expanduser().exists() else self.source.ref


class TrainingData:
    """The data of one stage. Segments of recordings with fewer than `min_frames` consecutive frames are not used."""

    def __init__(
        self,
        preset: PresetConfig,
        training: TrainingConfig,
        opened: Sequence[OpenedSource],
        *,
        world_share: float,
        min_frames: int,
    ) -> None:
        """Raises: ConfigError, RecordingError: see `Recordings`."""
        self._preset, self._training, self._world_share = preset, training, world_share
        self._with_depth = preset.model.map is not None and preset.model.map.kind == "spatial"
        self._names = [source.name for source in opened]
        self._recordings = [
            Recordings(
                source.sessions,
                preset,
                segment_frames=training.data.episode_frames,
                min_frames=min_frames,
                is_resized=training.data.resize,
            )
            for source in opened
        ]
        total = sum(source.source.weight for source in opened)
        self._shares = [(1 - world_share) * source.source.weight / total for source in opened]

    def check_pose(self) -> None:
        """Raises: ConfigError for a model with a map when no source has ground-truth poses."""
        has_pose = self._world_share > 0 or any(recordings.has_pose for recordings in self._recordings)
        if self._preset.model.map is not None and not has_pose:
            raise ConfigError(
                f"a model with a map (model.kind = {self._preset.model.kind!r}) needs ground-truth poses, which these "
                "recordings do not have",
                hint="model.kind = 'sequence' in preset.toml, or mix in the reference world: --world-fraction 0.5",
            )

    @contextmanager
    def sources(self, *, rank: int = 0) -> Iterator[list[WeightedStream]]:
        """The running sources, until the block ends. Every rank has its own episodes."""
        seed = self._training.seed + rank * RANK_SEED_STRIDE
        with ExitStack() as stack:
            sources = []
            if self._world_share > 0:
                reference, data = self._preset.ground_truth_config, self._training.data
                world = WorldStream(reference, data, seed=seed, with_depth=self._with_depth)
                sources.append(WeightedStream(stream=stack.enter_context(world), fraction=self._world_share))
            for recordings, share in zip(self._recordings, self._shares, strict=True):
                stream = RecordedStream(recordings, seed=seed)
                sources.append(WeightedStream(stream=stack.enter_context(stream), fraction=share))
            yield sources

    def probes(self) -> list[Episode]:
        """Held-out episodes, all of the same length."""
        found = [e for count, part in self._split_count(NUM_PROBES) for e in self._read_probes(part, count)]
        num_frames = min(len(episode.frames) for episode in found)
        return [episode.first(min(num_frames, PROBE_FRAMES)) for episode in found]

    def starts(self) -> list[Start]:
        """The starts of the exported preset."""
        found: list[Episode] = []
        num_frames = max(START_FRAMES, self._preset.play.context_frames)
        for count, recordings in self._split_count(NUM_STARTS):
            if recordings is None:
                found += self._play_world(FIRST_START_SEED, count, start_trajectory_frames(num_frames))
            else:
                found += recordings.read(evenly_spaced([*recordings.held_out, *recordings.segments], count))
        return [Start(frames=e.frames[-num_frames:], actions=e.actions[-num_frames:]) for e in found]

    def describe(self) -> list[str]:
        """One line per source, for the console and the preset's card."""
        lines = [f"the reference world, share {self._world_share:.2f}"] if self._world_share > 0 else []
        for name, recordings, share in zip(self._names, self._recordings, self._shares, strict=True):
            num_held_out = sum(segment.num_frames for segment in recordings.held_out)
            short = f", {recordings.num_too_short} segments too short" if recordings.num_too_short else ""
            lines.append(f"{name}, share {share:.2f}, {recordings.num_frames} frames, {num_held_out} held out{short}")
        return lines

    def provenance(self) -> dict[str, str]:
        """For the weights' metadata; empty if only the reference world was used."""
        if not self._recordings:
            return {}
        return {"data": "; ".join(self.describe()), "license": "other"}

    def _split_count(self, count: int) -> list[tuple[int, Recordings | None]]:
        """`count` divided among the sources, at least one each; None is the reference world."""
        parts = [*([None] if self._world_share > 0 else []), *self._recordings]
        return [(max(1, count // len(parts)), part) for part in parts]

    def _read_probes(self, recordings: Recordings | None, count: int) -> list[Episode]:
        if recordings is None:
            return self._play_world(FIRST_PROBE_SEED, count, PROBE_FRAMES)
        return recordings.read(evenly_spaced(recordings.probe_segments, count))

    def _play_world(self, first_seed: int, count: int, num_frames: int) -> list[Episode]:
        world, policy = self._preset.ground_truth_config, self._training.data.policy
        seeds = range(first_seed, first_seed + count)
        return record_episodes(world, seeds, num_frames, policy, with_depth=self._with_depth)


def resolve_world_share(share: float | None, *, has_data: bool) -> float:
    """The fraction of frames from the reference world. None: 1 without data, 0 with data. Raises: UsageError."""
    if share is None:
        return 0.0 if has_data else 1.0
    if not 0 <= share <= 1 or (has_data and share == 1) or (not has_data and share < 1):
        raise UsageError(
            f"--world-fraction is {share:g} {'with' if has_data else 'without'} --data",
            hint="from 0 to below 1 with --data; omit it otherwise",
        )
    return share
