"""Recordings of other projects converted to sessions: every layout, valid and invalid."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.episodes.recordings import synthetic_frame
from worldsim.core.errors import StorageError, UsageError
from worldsim.episodes.importers.base import ActionTime, ImportOptions, parse_action_classes
from worldsim.episodes.importers.convert import FORMATS, ConversionResult, import_folder
from worldsim.episodes.reader import RecordedSession, find_sessions, open_session
from worldsim.episodes.video import VideoEncoder

FRAMES = np.stack([synthetic_frame(index) for index in range(6)])


def write_video(path: Path, num_frames: int = 6, frames_per_s: float = 20.0) -> None:
    with VideoEncoder(path, 48, 64, frames_per_s) as video:
        for index in range(num_frames):
            video.write(synthetic_frame(index))


def write_memory_maze(path: Path, **changed: Any) -> None:
    """In the layout of the offline data: row 0 precedes the first action, and all arrays have equal length."""
    action = np.eye(6, dtype=np.uint8)[[0, 1, 2, 3, 4, 5]]
    angle = np.linspace(0, 1, 6)
    arrays = {
        "image": FRAMES,
        "action": action,
        "reward": np.zeros(6),
        "maze_layout": np.ones((6, 9, 9), np.uint8),
        "agent_pos": np.arange(12.0).reshape(6, 2),
        "agent_dir": np.column_stack([np.cos(angle), np.sin(angle)]),
        "targets_pos": np.zeros((6, 3, 2)),
    }
    np.savez_compressed(path, **{**arrays, **changed})


def write_dmlab(path: Path, **changed: Any) -> None:
    np.savez_compressed(path, **{"video": FRAMES, "actions": np.array([0, 2, 0, 1, 2, 2]), **changed})


def write_minecraft(path: Path, **changed: Any) -> None:
    write_video(path)
    np.savez_compressed(path.with_suffix(".npz"), **{"actions": np.array([0, 1, 2, 3, 0, 1]), **changed})


def vpt_line(*keys: str, dx: float = 0.0, dy: float = 0.0, hotbar: int = 0, **mouse: list[int]) -> dict[str, Any]:
    return {
        "mouse": {"x": 640.0, "y": 360.0, "dx": dx, "dy": dy, "scaledX": 0.0, "buttons": [], "newButtons": [], **mouse},
        "keyboard": {"keys": [f"key.keyboard.{key}" for key in keys], "newKeys": [], "chars": ""},
        "isGuiOpen": False,
        "hotbar": hotbar,
        "tick": 0,
    }


def write_vpt(path: Path, lines: list[dict[str, Any]]) -> None:
    write_video(path)
    path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")


def write_table(path: Path, text: str) -> None:
    write_video(path)
    path.with_suffix(".csv").write_text(text, encoding="utf-8")


def imported(kind: str, folder: Path, time: ActionTime | None = None, **options: Any) -> ConversionResult:
    """Imports from `folder`/in to `folder`/out."""
    options = ImportOptions(action_time=time or FORMATS[kind].action_time, **options)
    return import_folder(kind, folder / "in", folder / "out", options)


def only(folder: Path) -> RecordedSession:
    (session,) = map(open_session, find_sessions(folder / "out"))
    assert session.is_complete and session.is_lossless
    return session


def actions(session: RecordedSession) -> list[tuple[float, ...]]:
    return [row.action for row in session.episodes[0].rows]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "train").mkdir(parents=True)
    return tmp_path


def test_memory_maze_keeps_frames_poses_and_the_action_that_led_to_each(folder: Path) -> None:
    write_memory_maze(folder / "in" / "train" / "one.npz")
    assert imported("memory-maze", folder).converted == {"train-one": 6}
    session = only(folder)
    assert np.array_equal(np.stack(list(session.frames(0))), FRAMES)
    assert (session.header.action_spec.buttons, session.header.action_spec.axes) == (("forward",), ("turn",))
    assert actions(session) == [(0, 0), (1, 0), (0, 1), (0, -1), (1, 1), (1, -1)]
    poses = [row.pose for row in session.episodes[0].rows]
    assert (session.header.preset, session.header.preset_ref) == ("memory-maze", "imported:one.npz")
    assert poses[2] == pytest.approx((4.0, 5.0, 0.4)) and session.header.frames_per_s == 4.0


def test_dmlab_keeps_frames_and_actions(folder: Path) -> None:
    write_dmlab(folder / "in" / "one.npz")
    imported("teco-dmlab", folder)
    session = only(folder)
    assert np.array_equal(np.stack(list(session.frames(0))), FRAMES)
    assert actions(session) == [(0, 0), (1, 0), (0, 1), (0, -1), (1, 0), (1, 0)]
    assert session.episodes[0].rows[0].pose is None


def test_minecraft_has_a_button_per_class_and_the_rate_of_its_video(folder: Path) -> None:
    write_minecraft(folder / "in" / "one.mp4")
    imported("teco-minecraft", folder)
    session = only(folder)
    assert session.header.action_spec.buttons == ("action0", "action1", "action2", "action3")
    assert [row.index(1.0) if any(row) else None for row in actions(session)] == [None, 1, 2, 3, 0, 1]
    assert session.header.frames_per_s == 20.0 and len(list(session.frames(0))) == 6


def test_classes_can_be_named(folder: Path) -> None:
    write_minecraft(folder / "in" / "one.mp4")
    imported("teco-minecraft", folder, classes=("noop", "forward+jump", "turn=0.5", "jump"))
    session = only(folder)
    assert session.header.action_spec.buttons == ("forward", "jump") and session.header.action_spec.axes == ("turn",)
    assert actions(session)[:4] == [(0, 0, 0), (1, 1, 0), (0, 0, 0.5), (0, 1, 0)]


@pytest.mark.parametrize("classes", ["", "forward,turn=2", "turn=x", "forward+", "a,a=1"])
def test_invalid_classes_are_rejected(classes: str) -> None:
    with pytest.raises(UsageError, match="--classes"):
        parse_action_classes(classes.split(","))


def test_vpt_has_keys_mouse_and_hotbar_and_leads_to_the_next_frame(folder: Path) -> None:
    lines = [
        vpt_line("w", "left.control", buttons=[0], newButtons=[0]),
        vpt_line("w", "space", "unknown", dx=-20.0, dy=1000.0, buttons=[0]),
        vpt_line(buttons=[0, 1], newButtons=[0], hotbar=3),
        vpt_line(hotbar=3),
        vpt_line(),
        vpt_line(),
        vpt_line(),  # one line more than frames
    ]
    write_vpt(folder / "in" / "one.mp4", lines)
    imported("vpt", folder)
    session = only(folder)
    spec = session.header.action_spec
    held = [{n for n, v in zip(spec.buttons, row, strict=False) if v} for row in actions(session)]
    # The attack that was held from the start counts only from where it was pressed.
    assert held == [
        set(),
        {"forward", "sprint"},
        {"forward", "jump"},
        {"attack", "use", "hotbar_4"},
        set(),
        {"hotbar_1"},
    ]
    assert actions(session)[2][-2:] == pytest.approx((20 * 0.15 / 10, -1.0)), "left is positive, clipped at 10 degrees"


def test_table_per_frame_leads_to_the_next_frame_by_default(folder: Path) -> None:
    write_table(folder / "in" / "one.mp4", "jump,turn\n1,-0.5\n0,0\n0,0.25\n1,0\n1,1\n0,0\n")
    axes = (("turn", "10 deg per tick"),)
    imported("video-csv", folder, axes=axes)
    session = only(folder)
    assert session.header.action_spec.axis_units == axes
    assert actions(session) == [(0, 0), (1, -0.5), (0, 0), (0, 0.25), (1, 0), (1, 1)]
    options = ImportOptions(action_time="before", axes=axes)
    import_folder("video-csv", folder / "in", folder / "before", options, size_px=(24, 32))
    before = open_session(folder / "before" / "one")
    assert actions(before) == [(0, 0), (0, 0), (0, 0.25), (1, 0), (1, 1), (0, 0)]
    assert before.header.frame_shape == next(before.frames(0)).shape == (24, 32, 3)


def test_table_of_changes_holds_each_until_the_next(folder: Path) -> None:
    write_table(folder / "in" / "one.mp4", "time_s,jump\n0.1,1\n0.2,0\n")  # frames are 0.05 s apart
    imported("video-csv", folder, "before")
    assert actions(only(folder)) == [(0,), (0,), (1,), (1,), (0,), (0,)]


def test_subsampled_frames_combine_the_actions_since_the_last_one(folder: Path) -> None:
    write_table(folder / "in" / "one.mp4", "jump,turn\n" + "1,0\n0,0.3\n0,0.6\n0,0\n1,1\n0,0\n")
    options = ImportOptions(action_time="before", axes=(("turn", "5 deg per tick"),))
    import_folder("video-csv", folder / "in", folder / "out", options, stride=3)
    session = only(folder)
    assert (session.header.frames_per_s, session.header.action_spec.axis_units) == (
        pytest.approx(20 / 3),
        (("turn", "15 deg per tick"),),
    )
    assert actions(session) == [(0, 0), (0, pytest.approx(0.3))]
    options = ImportOptions(action_time="after", axes=(("turn", "a bit"),))
    import_folder("video-csv", folder / "in", folder / "two", options, stride=2)
    session = open_session(folder / "two" / "one")
    assert session.header.action_spec.axis_units == (("turn", "2 times a bit"),)
    assert actions(session) == [(0, 0), (1, pytest.approx(0.15)), (0, pytest.approx(0.3))]
    frames = list(session.frames(0))
    import_folder("video-csv", folder / "in", folder / "all", options)
    all_frames = list(open_session(folder / "all" / "one").frames(0))
    assert np.array_equal(frames, all_frames[::2])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path: Path) -> None:
    """Damages frames in the middle of a video but not its index."""
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 700
    content[begin : begin + 3000] = bytes(3000)
    path.write_bytes(content)


WRONG: list[tuple[str, Callable[[Path], None], str]] = [
    ("memory-maze", lambda f: write_memory_maze(f / "x.npz", action=np.zeros((6, 6))), "one-hot"),
    ("memory-maze", lambda f: write_memory_maze(f / "x.npz", action=np.eye(5)), "one-hot rows of 6"),
    ("memory-maze", lambda f: write_memory_maze(f / "x.npz", agent_dir=np.full((6, 2), np.nan)), "not finite"),
    ("memory-maze", lambda f: write_memory_maze(f / "x.npz", image=FRAMES.astype(float)), "expected uint8"),
    ("memory-maze", lambda f: write_dmlab(f / "x.npz"), "no array 'image'"),
    ("teco-dmlab", lambda f: write_dmlab(f / "x.npz", actions=np.array([0, 1, 2, 3, 0, 1])), "action 3 is not in 0"),
    ("teco-dmlab", lambda f: write_dmlab(f / "x.npz", actions=np.zeros(4, int)), "6 frames, but 4 actions"),
    ("teco-dmlab", lambda f: write_dmlab(f / "x.npz", actions=np.array([{}] * 6)), "not a valid npz"),
    ("teco-dmlab", lambda f: (write_dmlab(f / "x.npz"), cut(f / "x.npz")), "not a valid npz"),
    ("teco-dmlab", lambda f: (f / "x.npz").write_bytes(b""), "not a valid npz"),
    ("teco-minecraft", lambda f: write_video(f / "x.mp4"), "no x.npz next to it"),
    ("teco-minecraft", lambda f: (write_minecraft(f / "x.mp4"), cut(f / "x.mp4")), "not a valid video"),
    ("vpt", lambda f: write_vpt(f / "x.mp4", [vpt_line()] * 30), "6 frames, but x.jsonl has 30 lines"),
    ("vpt", lambda f: write_vpt(f / "x.mp4", [{"mouse": {}}] * 6), "not in VPT's format: KeyError"),
    ("vpt", lambda f: (write_video(f / "x.mp4"), (f / "x.jsonl").write_text("{")), "not JSON"),
    ("video-csv", lambda f: write_table(f / "x.mp4", "jump\n1\n0\n"), "6 frames, but 2 actions"),
    ("video-csv", lambda f: write_table(f / "x.mp4", "turn\n" + "0.5\n" * 6), "if it is an axis: --axis turn"),
    ("video-csv", lambda f: write_table(f / "x.mp4", "jump\n" + "yes\n" * 6), "not a table of numbers"),
    ("video-csv", lambda f: write_table(f / "x.mp4", "jump,jump\n" + "1,1\n" * 6), "2 different column names"),
    ("video-csv", lambda f: write_table(f / "x.mp4", ""), "not a table of numbers"),
]


@pytest.mark.parametrize(("kind", "write", "message"), WRONG)
def test_invalid_file_is_reported_and_leaves_nothing(
    kind: str, write: Callable[[Path], None], message: str, folder: Path
) -> None:
    write(folder / "in")
    outcome = imported(kind, folder)
    assert not outcome.converted and len(outcome.skipped) == 1
    ((path, fault),) = outcome.skipped.items()
    assert Path(path).stem == "x" and message in fault
    assert sorted(p.name for p in folder.iterdir()) in (["in"], ["in", "out"]) and not find_sessions(folder / "out")


def test_video_damaged_in_the_middle_leaves_nothing(folder: Path) -> None:
    write_table(folder / "in" / "x.mp4", "jump\n" + "1\n" * 6)
    scramble(folder / "in" / "x.mp4")
    outcome = imported("video-csv", folder)
    ((_, fault),) = outcome.skipped.items()
    assert "decode" in fault
    assert not find_sessions(folder / "out") and sorted(p.name for p in folder.iterdir()) == ["in", "out"]


def test_valid_files_are_converted_once_despite_invalid_ones(folder: Path) -> None:
    for name in ("a", "b", "c"):
        write_dmlab(folder / "in" / f"{name}.npz")
    cut(folder / "in" / "b.npz")
    first, second = imported("teco-dmlab", folder), imported("teco-dmlab", folder)
    assert first.converted == {"a": 6, "c": 6} and list(first.skipped) == [str(folder / "in" / "b.npz")]
    assert not second.converted and second.there_already == ["a", "c"] and second.skipped == first.skipped


def test_leftovers_of_a_killed_import_are_removed(folder: Path) -> None:
    write_dmlab(folder / "in" / "one.npz")
    gone, alive = folder / ".out.importing-4194305-x", folder / f".out.importing-{os.getpid()}-y"
    for leftover in (gone, alive):
        (leftover / "session").mkdir(parents=True)
    imported("teco-dmlab", folder)
    assert not gone.exists() and alive.exists()


def test_unwritable_target_ends_the_import(folder: Path) -> None:
    write_dmlab(folder / "in" / "one.npz")
    (folder / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot write"):
        imported("teco-dmlab", folder)
    with pytest.raises(UsageError, match=r"contains no \.mp4"):
        imported("vpt", folder)
