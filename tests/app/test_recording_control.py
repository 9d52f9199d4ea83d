"""The record key, and messages when recording fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.app.test_application import NOTHING, Play, down
from tests.engine.fakes import HEADER, FakeSimulator
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.replay import check
from worldsim.engine.worker import StageCallback, Worker
from worldsim.episodes.format import RECORDINGS_FOLDER, SessionHeader
from worldsim.episodes.reader import find_sessions, open_session


def recorded_play(header: SessionHeader | None) -> Play:
    """Play of a fake world that can be recorded. Run it once only."""

    def load(report: StageCallback) -> LoadedWorld:
        return LoadedWorld(playable=FakeSimulator(), title="fake", ticks_per_s=10.0, header=header)

    play = Play()
    play.worker = Worker(load, clock=play.clock)
    play.session.worker = play.worker
    return play


def shown_text(play: Play) -> str:
    """All text of the last draw."""
    return "\n".join(f"{row.left} {row.right}" for panel in play.renderer.panels[-1] for row in panel.rows)


def test_record_key_starts_and_stops_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    play = recorded_play(HEADER)
    playing = [NOTHING] * 40
    play.run(*playing, [down("F9")], *playing, [down("F9")], *playing, [down("F9")], *playing)
    play.session.recorder.close()
    first, second = map(open_session, find_sessions(RECORDINGS_FOLDER))
    for session in (first, second):
        assert session.is_complete
        assert session.num_frames > 1
        assert check(session, FakeSimulator()).is_exact
    assert 0 < first.episodes[0].start.first_index < second.episodes[0].start.first_index


def test_recording_folder_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    play = recorded_play(HEADER)
    play.run(*[NOTHING] * 40, [down("F9")], *[NOTHING] * 20)
    play.session.recorder.close()
    (folder,) = find_sessions(RECORDINGS_FOLDER)
    assert f"Recording {folder}" in shown_text(play)


def test_saved_recording_is_shown_for_some_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    play = recorded_play(HEADER)
    play.run(*[NOTHING] * 40, [down("F9")], *[NOTHING] * 40, [down("F9")], *[NOTHING] * 400)
    shown = [[row.left for panel in drawn for row in panel.rows] for drawn in play.renderer.panels]
    saved = [any(line.startswith("Saved recordings") for line in lines) for lines in shown]
    assert any(saved) and not saved[-1]


def test_unrecordable_world_is_reported_and_play_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    play = recorded_play(None)
    play.run(*[NOTHING] * 40, [down("F9")], *[NOTHING] * 20)
    assert "Recording is not available" in shown_text(play)
    (tmp_path / RECORDINGS_FOLDER).write_text("blocks the folder", encoding="utf-8")
    play = recorded_play(replace(HEADER, preset="other"))
    report = play.run(*[NOTHING] * 40, [down("F9")], *[NOTHING] * 40)
    assert "Cannot record to" in shown_text(play)
    assert report.frames_shown > 5


def test_full_disk_is_reported_with_a_hint_and_play_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "videos/file-000.part.mp4")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("worldsim.episodes.writer.SessionWriter._encode", fail)
    play = recorded_play(HEADER)
    report = play.run(*[NOTHING] * 40, [down("F9")], *[NOTHING] * 80)
    play.session.recorder.close()
    (folder,) = find_sessions(RECORDINGS_FOLDER)
    line = f"The recording {folder} has stopped: No space left on device; free space, then: worldsim sessions repair"
    assert f"{line} {folder}" in " ".join(shown_text(play).split())
    assert report.frames_shown > 10
    assert open_session(folder).num_frames > 0, "the written part was lost"
