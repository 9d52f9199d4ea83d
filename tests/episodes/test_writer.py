"""Recording: complete files, a bounded queue, and a full disk that stops only the recording."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.episodes.recordings import HEADER, record, synthetic_frame, synthetic_row
from worldsim.core.errors import RecordingError, StorageError, UsageError
from worldsim.episodes.format import (
    JOURNAL_FILE,
    VIDEO_KEY,
    EpisodeStart,
    check_new_folder,
    data_path,
    part_path,
    video_path,
)
from worldsim.episodes.reader import open_session
from worldsim.episodes.writer import SessionWriter, WriterState


class FullDisk(io.BytesIO):
    """Has room for `num_bytes` only."""

    def __init__(self, num_bytes: int) -> None:
        super().__init__()
        self._left = num_bytes

    def write(self, data: bytes) -> int:  # type: ignore[override]  # only bytes are written
        self._left -= len(data)
        if self._left < 0:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_recording_round_trips(tmp_path: Path) -> None:
    record(tmp_path / "s", 30, 5)
    session = open_session(tmp_path / "s")
    assert session.is_complete
    assert session.header == HEADER
    assert [episode.start.seed for episode in session.episodes] == [0, 1]
    assert session.episodes[0].rows == [synthetic_row(index) for index in range(30)]
    assert len(session.episodes[1].rows) == len(list(session.frames(1))) == 5
    assert not list((tmp_path / "s").rglob("*.part.mp4")), "a partial video was left"


def test_lossless_frames_are_exact_and_others_close(tmp_path: Path) -> None:
    for is_lossless, most in ((True, 0), (False, 40)):
        folder = tmp_path / str(is_lossless)
        record(folder, 12, is_lossless=is_lossless)
        for index, image in enumerate(open_session(folder).frames(0)):
            difference = np.abs(image.astype(int) - synthetic_frame(index)).max()
            assert difference <= most, f"frame {index} differs by {difference}"


def test_folder_has_the_layout_of_lerobot_v3(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    record(folder, 20, 10)
    info = json.loads((folder / "meta/info.json").read_text(encoding="utf-8"))
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == ("v3.0", 2, 30)
    assert info["video_path"] is not None
    assert set(pq.read_schema(data_path(folder, 0)).names) | {VIDEO_KEY} == set(info["features"])
    assert pq.read_table(data_path(folder, 1))["index"].to_pylist() == list(range(20, 30))
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in episodes] == [(0, 20), (20, 30)]
    assert episodes[1][f"videos/{VIDEO_KEY}/file_index"] == 1
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    stats = json.loads((folder / "meta/stats.json").read_text(encoding="utf-8"))
    assert np.shape(stats[VIDEO_KEY]["mean"]) == (3, 1, 1)
    assert stats["action"]["count"] == [30]


def test_video_has_no_b_frames_and_the_timestamps_of_the_rows(tmp_path: Path) -> None:
    record(tmp_path / "s", 40)
    with av.open(str(video_path(tmp_path / "s", 0))) as container:
        stream = container.streams.video[0]
        assert not stream.codec_context.has_b_frames
        assert (stream.height, stream.width) == (48 * 6, 64 * 6)
        times_s = [float(frame.pts * frame.time_base) for frame in container.decode(stream)]
    rows_s = pq.read_table(data_path(tmp_path / "s", 0))["timestamp"].to_pylist()
    assert times_s == pytest.approx(rows_s, abs=1e-4)


def test_queue_is_bounded_without_losing_actions(tmp_path: Path) -> None:
    writer = record(tmp_path / "s", 200, max_queued_bytes=4 * 48 * 64 * 3)
    assert writer.counters.images_dropped > 0, "the encoder kept up, so nothing was tested"
    session = open_session(tmp_path / "s")
    assert session.num_frames == len(list(session.frames(0))) == 200
    assert session.num_missing_images == writer.counters.images_dropped


def test_adding_a_frame_does_not_wait_for_a_slow_disk(tmp_path: Path) -> None:
    class SlowDisk(io.FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]  # only bytes are written
            time.sleep(0.3 if b'"episode"' in data else 0.0)
            return super().write(data)

    writer = SessionWriter(tmp_path / "s", HEADER, open_journal=lambda path: SlowDisk(path, "x"))  # type: ignore[arg-type,return-value,unused-ignore]  # a binary file
    writer.begin_episode(EpisodeStart(seed=0))
    begin_s = time.monotonic()
    for index in range(20):
        writer.add_frame(synthetic_row(index), synthetic_frame(0))
    assert time.monotonic() - begin_s < 0.25
    writer.close()
    assert writer.counters.high_water >= 19
    assert writer.state is WriterState.COMPLETE


def test_full_disk_stops_the_recording_but_not_the_caller(tmp_path: Path) -> None:
    writer = record(tmp_path / "s", 500, open_journal=lambda _: FullDisk(4000))
    assert writer.state is WriterState.FAILED
    assert isinstance(writer.error, StorageError)
    assert "No space left" in writer.error.message
    assert "repair" in writer.error.hint


def test_repair_after_a_full_disk_keeps_every_action(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, HEADER.frame_shape, dtype=np.uint8) for _ in range(8)]
    writer = SessionWriter(tmp_path / "s", HEADER, is_lossless=True)
    writer.begin_episode(EpisodeStart(seed=0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # noise of 9 kB per frame, 100 B per action
    try:
        for index in range(60):
            writer.add_frame(synthetic_row(index), frames[index % 8])
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert writer.state is WriterState.FAILED
    assert isinstance(writer.error, StorageError)
    assert "File too large" in writer.error.message, writer.error.message
    writer.add_frame(synthetic_row(60), frames[0])  # ignored
    num_rows = len(open_session(tmp_path / "s").episodes[0].rows)
    from worldsim.episodes.finalize import finalize

    result = finalize(tmp_path / "s")
    assert result.frames == num_rows > 10
    session = open_session(tmp_path / "s")
    assert session.episodes[0].rows[5] == synthetic_row(5)
    assert (next(session.frames(0)) == frames[0]).all()


@pytest.mark.parametrize("below", ["file/s", "file/deeper/s"])
def test_unwritable_path_is_rejected_before_recording(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot record to"):
        check_new_folder(tmp_path / below)


def test_path_without_permission_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    check_new_folder(tmp_path / "new" / "s")
    assert list(tmp_path.iterdir()) == [], "the check left files behind"
    monkeypatch.setattr("worldsim.episodes.format.TemporaryFile", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        check_new_folder(tmp_path / "new" / "s")


def test_folder_with_content_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError):
        record(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_failure_while_finalizing_can_be_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "s/videos/file-000.tmp.mp4")

    with monkeypatch.context() as broken:
        broken.setattr("worldsim.episodes.finalize._write_meta", fail)
        writer = record(tmp_path / "s", 25)
    assert writer.state is WriterState.FAILED and writer.error is not None
    assert writer.error.message == f"the recording {tmp_path / 's'} has stopped: No space left on device"
    assert not open_session(tmp_path / "s").is_complete
    from worldsim.episodes.finalize import finalize

    assert finalize(tmp_path / "s").frames == 25
    assert open_session(tmp_path / "s").is_complete
    assert not (tmp_path / "s" / JOURNAL_FILE).exists()
    assert not part_path(tmp_path / "s", 0).exists()


def test_missing_and_damaged_sessions_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="not a recorded session"):
        open_session(tmp_path)
    record(tmp_path / "s", 5)
    data_path(tmp_path / "s", 0).write_bytes(b"PAR1")
    with pytest.raises(RecordingError, match="is damaged"):
        open_session(tmp_path / "s")


def test_known_poses_are_kept(tmp_path: Path) -> None:
    rows = [replace(synthetic_row(index), pose=(0.5 * index, -1.0, 0.25)) for index in range(5)]
    writer = SessionWriter(tmp_path / "s", HEADER)
    writer.begin_episode(EpisodeStart(seed=0))
    for index, row in enumerate(rows):
        writer.add_frame(row, synthetic_frame(index))
    writer.close()
    assert open_session(tmp_path / "s").episodes[0].rows == rows
    info = json.loads((tmp_path / "s/meta/info.json").read_text(encoding="utf-8"))
    assert info["features"]["worldsim.pose"]["names"] == ["x", "y", "angle_rad"]
    assert set(pq.read_schema(data_path(tmp_path / "s", 0)).names) | {VIDEO_KEY} == set(info["features"])
