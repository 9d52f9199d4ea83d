"""Training on recordings, with and without the reference world, and how clips are sampled."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.episodes.recordings import HEADER, record, synthetic_frame, synthetic_row
from tests.training.test_run import MAPPED, TINY
from worldsim.core.errors import ConfigError, RecordingError, UsageError
from worldsim.core.types import Action
from worldsim.engine.reference_world import ReferenceWorldAtStarts
from worldsim.engine.simulator import Simulator
from worldsim.episodes.format import EpisodeStart
from worldsim.episodes.writer import SessionWriter
from worldsim.presets.store import load_preset
from worldsim.training.config import DataConfig, Stage
from worldsim.training.distributed import DistributedContext
from worldsim.training.recordings import DataSource
from worldsim.training.replay_buffer import ReplayBuffer, store_frames
from worldsim.training.run import TrainingRun
from worldsim.training.workers import Episode, WeightedStream

WORLD, OWN_WORLD = "maps = [1]\ngrid = [2, 2]\nlandmarks = 0\n", 'kind = "recorded"\n'
OWN = TINY.replace(WORLD, OWN_WORLD)


LONG = OWN.replace("clip_frames = 6", "clip_frames = 90").replace("episode_frames = 24", "episode_frames = 96")
PLACE = TINY.replace("[model]", f"[model]{MAPPED['fixed']}")
PLACE += "[training.map]\nbatch_frames = 4\nmotion_batch_poses = 8\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lossless sessions of 80 and 40 frames. Shared: read it, never write to it."""
    folder = tmp_path_factory.mktemp("data")
    record(folder / "a", 80, is_lossless=True)
    record(folder / "b", 40, is_lossless=True)
    return folder


def open_run(toml: str, tmp_path: Path, *data: str, **options: Any) -> TrainingRun:
    path = tmp_path / "preset.toml"
    path.write_text(toml, encoding="utf-8")
    sources = [DataSource.parse(text) for text in data]
    return TrainingRun.open(
        path, folder=tmp_path / "run", distributed=DistributedContext(device="cpu"), data=sources, **options
    )


def train(run: TrainingRun, stage: Stage) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    reason, trainer = run.train(stage, 2.0, 2, on_log=rows.append)
    assert (reason, trainer.num_updates) == ("updates", 2)
    return rows


@pytest.fixture(scope="module")
def own(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: a custom game trained from recordings only, all stages."""
    tmp_path = tmp_path_factory.mktemp("own")
    run = open_run(OWN, tmp_path, str(folder))
    assert run.preset.action_spec == HEADER.action_spec
    assert (run.preset.frame_shape, run.preset.play.ticks_per_s) == ((48, 64, 3), 17.5)
    for stage in ("autoencoder", "dynamics", "decoder"):
        rows = train(run, stage)
        assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    return tmp_path / "run"


def test_a_custom_game_is_learned_from_recordings_only_and_plays(folder: Path, own: Path) -> None:
    preset = load_preset(own / "decoder" / "last")
    assert "data" in preset.metadata and str(folder.parent) not in preset.metadata["data"]
    assert preset.metadata["license"] == "other"
    simulator = Simulator(preset)
    first = simulator.reset(0).frame
    made_up = [synthetic_frame(index) for index in range(80)]
    assert any(np.array_equal(first, frame) for frame in made_up), "it starts from a frame of the recordings"
    assert simulator.step(Action.of("forward", turn=0.5)).frame.shape == (48, 64, 3)


def test_the_true_world_is_mixed_in_and_a_preset_initializes_the_run(folder: Path, own: Path, tmp_path: Path) -> None:
    """The map is trained on the reference world, whose poses are known; the rest on both sources."""
    begin = own / "dynamics" / "last"
    run = open_run(PLACE, tmp_path, f"{folder}=3", init=[begin], world_share=0.5)
    shares = [line.split(",")[1] for line in run.training_data("dynamics").describe()]
    assert shares == [" share 0.50", " share 0.50"]
    assert math.isfinite(train(run, "map")[-1]["psnr_1"])
    assert math.isfinite(train(run, "dynamics")[-1]["psnr_1"])
    before, after = (load_file(path / "model.safetensors") for path in (begin, tmp_path / "run" / "dynamics" / "last"))
    kept = [name for name in before if name.startswith("autoencoder.")]
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept), "the autoencoder of --init is kept"
    made_up = {synthetic_frame(index).tobytes() for index in range(80)}
    starts = load_preset(tmp_path / "run" / "dynamics" / "last").starts
    assert [start.frames[-1].tobytes() in made_up for start in starts] == [False] * 4 + [True] * 4


@pytest.mark.parametrize(
    ("toml", "data", "options", "kind", "message"),
    [
        (OWN, False, {}, ConfigError, "can only be trained from recordings"),
        (OWN, True, {"world_share": 0.5}, ConfigError, "has no reference world"),
        (TINY, True, {"world_share": 1.0}, UsageError, "--world-fraction is 1 with --data"),
        (TINY, False, {"world_share": 0.5}, UsageError, "--world-fraction is 0.5 without --data"),
        (PLACE, True, {}, ConfigError, "needs ground-truth poses"),
        (LONG, True, {}, RecordingError, "no segment of 90 consecutive frames"),
    ],
)
def test_invalid_training_data_is_rejected_before_training(
    toml: str, data: bool, options: dict[str, Any], kind: type[Exception], message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        train(open_run(toml, tmp_path, *([str(folder)] if data else []), **options), "dynamics")


def test_a_fixed_map_learns_from_recordings_with_poses(tmp_path: Path) -> None:
    writer = SessionWriter(tmp_path / "s", HEADER, is_lossless=True)
    writer.begin_episode(EpisodeStart(seed=0))
    for index in range(60):
        row = synthetic_row(index)
        writer.add_frame(type(row)(**{**vars(row), "pose": (10.0 * index, 5.0, 0.1)}), synthetic_frame(index))
    writer.close()
    run = open_run(PLACE.replace(WORLD, OWN_WORLD), tmp_path, str(tmp_path / "s"))
    train(run, "autoencoder")
    assert math.isfinite(train(run, "map")[-1]["psnr_1"])
    assert math.isfinite(train(run, "dynamics")[-1]["psnr_1"])


class FixedStream:
    """Episodes whose frames and first input identify them: episode n is filled with n."""

    def __init__(
        self,
        *lengths: int,
        first: int = 0,
        has_pose: bool = False,
        has_depth_profile: bool = False,
        is_endless: bool = False,
    ) -> None:
        self.num_episodes = None if is_endless else len(lengths)
        self.has_pose, self.has_depth_profile = has_pose, has_depth_profile
        self._waiting = [self._episode(first + index, length) for index, length in enumerate(lengths)]

    def _episode(self, name: int, num_frames: int) -> Episode:
        return Episode(
            seed=0,
            frames=np.full((num_frames, 2, 2, 3), name, np.uint8),
            actions=np.column_stack([np.full(num_frames, name), np.arange(num_frames)]).astype(np.float32),
            pose=np.full((num_frames, 3), name if self.has_pose else np.nan, np.float32),
            depth_profile=np.full((num_frames, 2), name if self.has_depth_profile else np.nan, np.float32),
        )

    def skip(self, num_episodes: int) -> None:
        del self._waiting[:num_episodes]

    def get(self) -> Episode:
        return self._waiting.pop(0)

    def has_next(self) -> bool:
        return bool(self._waiting)


def filled(*sources: WeightedStream, **config: Any) -> ReplayBuffer:
    torch.manual_seed(0)
    replay_buffer = ReplayBuffer(
        sources, store_frames, DataConfig(**{"min_buffer_episodes": 8, "buffer_episodes": 8, **config})
    )
    replay_buffer.fill()
    return replay_buffer


def test_take_ready_adds_one_finished_episode_per_update_whatever_the_replay_ratio() -> None:
    for take_ready, expected in ((True, [3, 4, 5]), (False, [2, 2, 2])):
        stream = FixedStream(*[4] * 6, is_endless=True)
        replay_buffer = filled(
            WeightedStream(stream=stream), min_buffer_episodes=2, replay_ratio=1e6, take_ready=take_ready
        )
        counts = []
        for _ in range(3):
            replay_buffer.refresh()
            counts.append(int(replay_buffer.counters()["taken_0"]))
        assert counts == expected


def test_clips_are_contiguous_and_every_position_is_equally_likely() -> None:
    replay_buffer = filled(WeightedStream(stream=FixedStream(4, 19, 3)))
    clips = replay_buffer.sample(4000, 4)
    assert torch.equal(clips.content[..., 0, 0, 0].float(), clips.action[..., 0]), "frames and actions belong together"
    assert torch.equal(clips.action[:, 1:, 1], clips.action[:, :-1, 1] + 1), "frames are consecutive"
    counts = torch.bincount(clips.content[:, 0, 0, 0, 0].int(), minlength=3)
    assert int(counts[2]) == 0, "too short for a clip"
    assert int(counts[0]) / 4000 == pytest.approx(1 / 17, abs=0.02), counts.tolist()
    assert set(clips.action[:, 0, 1].int().tolist()) == set(range(16))
    action, pose = buffered_paths(FixedStream(4, 19, 3, has_pose=True))
    assert torch.equal(action[..., 0], pose[..., 0]) and torch.equal(action[:, 1:, 1], action[:, :-1, 1] + 1)


def buffered_paths(stream: FixedStream) -> tuple[torch.Tensor, torch.Tensor]:
    return filled(WeightedStream(stream=stream)).sample_paths(500, 4)


def test_each_source_has_its_share_and_poses_come_from_where_they_are_known() -> None:
    unknown, known = FixedStream(30, 30), FixedStream(9, 9, first=10, has_pose=True)
    replay_buffer = filled(WeightedStream(stream=unknown, fraction=0.75), WeightedStream(stream=known, fraction=0.25))
    clips = replay_buffer.sample(2000, 3)
    assert float((clips.content[:, 0, 0, 0, 0] < 10).float().mean()) == pytest.approx(0.75, abs=0.05)
    assert torch.equal(clips.pose.isnan().any((1, 2)), clips.content[:, 0, 0, 0, 0] < 10)
    assert clips.depth_profile.isnan().all(), "unknown"
    posed = replay_buffer.sample(100, 3, has_pose=True)
    assert not posed.pose.isnan().any() and not replay_buffer.sample_paths(100, 3)[1].isnan().any()


def test_a_clip_has_its_frames_depth_profile_or_nan_where_unknown() -> None:
    unknown, known = FixedStream(30, 30), FixedStream(9, 9, first=10, has_pose=True, has_depth_profile=True)
    replay_buffer = filled(WeightedStream(stream=unknown, fraction=0.5), WeightedStream(stream=known, fraction=0.5))
    clips = replay_buffer.sample(200, 3)
    assert clips.depth_profile.shape == (200, 3, 2) and clips.depth_profile.dtype == torch.float32
    first = clips.content[:, :, 0, 0, 0].float()[..., None].expand(-1, -1, 2)
    assert torch.equal(clips.depth_profile.isnan(), first < 10)
    assert torch.equal(clips.depth_profile[first >= 10], first[first >= 10])


def test_recordings_that_fit_are_read_once_and_the_world_is_read_at_the_replay_ratio() -> None:
    few, world = FixedStream(9, 9, 9, 9), FixedStream(*[9] * 50, first=10, is_endless=True)
    replay_buffer = filled(
        WeightedStream(stream=few, fraction=0.5),
        WeightedStream(stream=world, fraction=0.5),
        min_buffer_episodes=2,
        buffer_episodes=8,
        replay_ratio=1.0,
    )
    for _ in range(6):
        replay_buffer.refresh()
    assert set(replay_buffer.sample(400, 1).content.flatten().tolist()) == {0, 1, 2, 3, 10}, (
        "no frame of the world is due yet"
    )
    replay_buffer.refresh()
    assert 11 in replay_buffer.sample(400, 1).content


def test_a_replay_buffer_that_is_restored_holds_and_draws_what_it_would_have() -> None:
    def begin() -> ReplayBuffer:
        world = FixedStream(*[9] * 60, is_endless=True)
        few = FixedStream(9, 9, 9, first=100)
        sources = [WeightedStream(stream=world, fraction=0.7), WeightedStream(stream=few, fraction=0.3)]
        return ReplayBuffer(
            sources, store_frames, DataConfig(min_buffer_episodes=4, buffer_episodes=10, replay_ratio=1.0)
        )

    def play(replay_buffer: ReplayBuffer, updates: range) -> list[torch.Tensor]:
        drawn = []
        for update in updates:
            torch.manual_seed(update)
            replay_buffer.refresh()
            drawn.append(replay_buffer.sample(5, 3).action)
        return drawn

    whole = begin()
    whole.fill()
    expected = play(whole, range(40))
    before = begin()
    before.fill()
    play(before, range(25))
    after = begin()
    after.restore(before.counters())
    after.fill()
    assert all(torch.equal(a, b) for a, b in zip(play(after, range(25, 40)), expected[25:], strict=True))


def test_a_longer_play_context_gives_longer_starts_and_the_true_world_reaches_them(tmp_path: Path) -> None:
    run = open_run(TINY.replace("context_frames = 4", "context_frames = 100"), tmp_path)
    starts = run.training_data("autoencoder").starts()
    assert {len(start.frames) for start in starts} == {100}
    with closing(ReferenceWorldAtStarts(run.preset.ground_truth_config, starts)) as world:
        assert np.array_equal(world.reset(1).frame, starts[1].frames[-1])
        assert len(world.steps_to_start) == 100
