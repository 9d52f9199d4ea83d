"""Recordings as training data: what fits, how it is cut, what is read."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.episodes.recordings import HEADER, record, synthetic_frame, synthetic_row
from worldsim.core.errors import ConfigError, RecordingError, UsageError
from worldsim.core.types import ActionSpec
from worldsim.episodes.format import EpisodeStart, video_path
from worldsim.episodes.reader import open_session
from worldsim.episodes.writer import SessionWriter
from worldsim.presets.config import PresetConfig
from worldsim.training.recordings import DataSource, RecordedStream, Recordings, open_source, recorded_world_values
from worldsim.worlds.recorded import RecordedWorldConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One lossless session of two episodes, 40 and 10 frames. Shared: read it, never write to it."""
    folder = tmp_path_factory.mktemp("recordings")
    record(folder / "s", 40, 10, is_lossless=True)
    return folder


def recordings(folder: Path, preset: PresetConfig, **options: Any) -> Recordings:
    options = {"segment_frames": 16, "min_frames": 6, "is_resized": False, **options}
    return Recordings(open_source(DataSource(ref=str(folder))), preset, **options)


@pytest.mark.parametrize(
    ("text", "ref", "weight"),
    [("a", "a", 1.0), ("a=2.5", "a", 2.5), ("a=b", "a=b", 1.0), ("u/d@v1=3", "u/d@v1", 3.0)],
)
def test_a_source_may_have_a_weight(text: str, ref: str, weight: float) -> None:
    assert DataSource.parse(text) == DataSource(ref=ref, weight=weight)


@pytest.mark.parametrize("text", ["a=0", "a=-1", "a=nan", "a=inf"])
def test_a_weight_is_above_zero(text: str) -> None:
    with pytest.raises(UsageError, match="has the weight"):
        DataSource.parse(text)


def test_segments_cover_an_episode_with_its_frames_and_actions_and_no_pose(
    folder: Path, tiny_config: PresetConfig
) -> None:
    data = recordings(folder, tiny_config)
    assert [(p.episode, p.begin, p.end) for p in data.segments] == [(0, 0, 13), (0, 13, 26), (0, 26, 40), (1, 0, 10)]
    assert not data.held_out and not data.has_pose
    last, middle = data.read([data.segments[3], data.segments[1]])
    assert np.array_equal(middle.frames, np.stack([synthetic_frame(index) for index in range(13, 26)]))
    # tiny: forward, back, left, right, turn; the recording has forward, back, turn.
    row = synthetic_row(20).action
    assert middle.actions[7].tolist() == [row[0], row[1], 0.0, 0.0, row[2]]
    assert np.isnan(middle.pose).all() and middle.pose.shape == (13, 3)
    assert np.array_equal(last.frames[0], synthetic_frame(0))


def test_some_segments_are_held_out_and_never_streamed(tmp_path: Path, tiny_config: PresetConfig) -> None:
    record(tmp_path / "s", 50, is_lossless=True)
    data = recordings(tmp_path, tiny_config, segment_frames=5, min_frames=5)
    assert len(data.held_out) == 1 and len(data.segments) == 9
    held = data.read(data.held_out)[0].frames[0].tobytes()
    with RecordedStream(data, seed=0) as stream:
        assert stream.num_episodes == 9
        seen = [stream.get().frames[0].tobytes() for _ in range(27)]
    assert held not in seen
    assert len(set(seen[:9])) == len(set(seen)) == 9, "every segment once per pass"
    assert not any(thread.name == "recordings" for thread in threading.enumerate())


def test_frames_without_a_stored_image_are_skipped(tmp_path: Path, tiny_config: PresetConfig) -> None:
    writer = record(tmp_path / "s", 200, max_queued_bytes=4 * 48 * 64 * 3, is_lossless=True)
    assert writer.counters.images_dropped > 0
    data = recordings(tmp_path, tiny_config, min_frames=1)
    rows = open_session(tmp_path / "s").episodes[0].rows
    used = [index for segment in [*data.segments, *data.held_out] for index in range(segment.begin, segment.end)]
    assert sorted(used) == [index for index, row in enumerate(rows) if row.has_image]


def test_other_sizes_are_resized_only_when_asked(folder: Path, tiny_config: PresetConfig) -> None:
    preset = replace(tiny_config, world=replace(tiny_config.world, frame_width_px=128, frame_height_px=96))
    with pytest.raises(ConfigError, match=r"has 64x48 frames, preset tiny expects 128x96") as caught:
        recordings(folder, preset)
    assert "training.data.resize = true" in caught.value.hint
    data = recordings(folder, preset, is_resized=True)
    assert data.read(data.segments[:1])[0].frames.shape == (13, 96, 128, 3)


def own(spec: ActionSpec, **values: Any) -> RecordedWorldConfig:
    inputs = {name: getattr(spec, name) for name in ("buttons", "axes", "axis_units")}
    return RecordedWorldConfig(**{**inputs, "frame_height_px": 48, "frame_width_px": 64, **values})


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ({"buttons": ("forward",)}, "has an input 'back', the preset does not"),
        ({"buttons": ("forward", "back", "turn"), "axes": ()}, "'turn' is an axis in"),
    ],
)
def test_inputs_unknown_to_the_preset_are_an_error(
    world: dict[str, Any], message: str, folder: Path, tiny_config: PresetConfig
) -> None:
    with pytest.raises(ConfigError, match=message):
        recordings(folder, replace(tiny_config, world=own(HEADER.action_spec, **world)))


def test_another_frame_rate_or_axis_unit_is_an_error(tmp_path: Path, tiny_config: PresetConfig) -> None:
    spec = replace(HEADER.action_spec, axis_units=(("turn", "3 deg per tick"),))
    for name, header, message in (
        ("rate", replace(HEADER, frames_per_s=30.0), "has 30 frames per second, preset tiny expects 17.5"),
        ("unit", replace(HEADER, action_spec=spec), "turn at 1 is 3 deg per tick in .*, 10 deg per tick in the preset"),
    ):
        writer = SessionWriter(tmp_path / name, header)
        writer.begin_episode(EpisodeStart(seed=0))
        for index in range(8):
            writer.add_frame(synthetic_row(index), synthetic_frame(index))
        writer.close()
        with pytest.raises(ConfigError, match=message):
            recordings(tmp_path / name, tiny_config)


def test_missing_unfinished_or_short_recordings_are_rejected(
    tmp_path: Path, folder: Path, tiny_config: PresetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecordingError, match="no folder"):
        open_source(DataSource(ref=str(tmp_path / "nowhere")))
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(RecordingError, match="no folder"):
        open_source(DataSource(ref=f"{tmp_path.name}/nowhere"))
    with pytest.raises(RecordingError, match="someone/walks is not in the cache"):
        open_source(DataSource(ref="someone/walks"))
    with pytest.raises(RecordingError, match="contains no recording"):
        open_source(DataSource(ref=str(tmp_path)))
    with pytest.raises(RecordingError, match="no segment of 41 consecutive frames"):
        recordings(folder, tiny_config, segment_frames=100, min_frames=41)


def test_a_missing_image_is_an_error_in_the_reader_thread(tmp_path: Path, tiny_config: PresetConfig) -> None:
    record(tmp_path / "s", 40, is_lossless=True)
    data = recordings(tmp_path, tiny_config)
    video_path(tmp_path / "s", 0).write_bytes(b"")
    with RecordedStream(data, seed=0) as stream, pytest.raises(RecordingError, match="images of episode 0"):
        stream.get()


def test_a_recorded_world_takes_inputs_size_and_frame_rate_from_the_data(folder: Path) -> None:
    known = recorded_world_values(open_source(DataSource(ref=str(folder)))[0])
    assert known["world"]["buttons"] == ("forward", "back") and known["world"]["frame_width_px"] == 64
    assert known["play"] == {"ticks_per_s": 17.5}
