"""Screenshots: lossless, enlarged, with their origin as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.engine.fakes import FakeSimulator, fake_load
from worldsim.app.screenshot import actions_hash, runs_to, take_screenshot, write_screenshot
from worldsim.core.types import Step
from worldsim.engine.session import Session
from worldsim.engine.worker import Worker
from worldsim.episodes.format import ActionRun

TICK_S = 0.1


def played(*keys: str) -> Session:
    """One tick per key."""
    worker = Worker(fake_load(FakeSimulator(), ticks_per_s=1 / TICK_S))
    session = Session(worker, seed=4)
    for key in ("", *keys):
        if key:
            session.inputs.press(key)
        session.tick(TICK_S)
        while worker.run_once():
            pass
        session.tick(0.0)
        session.inputs.release(key)
    assert session.shown_step is not None and session.shown_step.index == len(keys)
    return session


def seen(session: Session) -> Step:
    assert session.shown_step is not None
    return session.shown_step


def text_of(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        return {str(key): str(value) for key, value in image.text.items()}  # type: ignore[attr-defined]  # a PNG's


def test_screenshot_is_lossless_and_describes_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_PICTURES_DIR", str(tmp_path))
    session = played("w", "w", "a")
    notification = take_screenshot(session, seen(session), "A maze")
    path = Path(notification.removeprefix("screenshot saved: "))
    assert path.parent == tmp_path / "worldsim"
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (720, 960, 3)
    assert np.array_equal(pixels[7::15, 7::15], seen(session).frame)
    assert np.array_equal(pixels[::15].repeat(15, axis=0), pixels), "every pixel is a square"
    text = text_of(path)
    assert (text["Title"], text["worldsim:seed"], text["worldsim:frame"]) == ("A maze", "4", "3")
    assert text["worldsim:actions-sha256"] == actions_hash(runs_to(session.history, seen(session)) or ())


def test_actions_hash_covers_all_actions_up_to_the_frame() -> None:
    def hash_of(*keys: str) -> str:
        session = played(*keys)
        runs = runs_to(session.history, seen(session))
        assert runs is not None
        return actions_hash(runs)

    assert hash_of("w", "w", "a") == hash_of("w", "w", "a") != hash_of("w", "a", "a")
    assert actions_hash([]) != actions_hash([ActionRun(action=(1.0,), num_steps=1, count=1)])


def test_screenshot_while_rewinding_is_of_the_shown_frame() -> None:
    session = played("w", "w", "a", "s")
    session.rewind(True)
    session.tick(2 * TICK_S)
    earlier = seen(session)
    assert earlier.index < 4
    runs = runs_to(session.history, earlier)
    assert runs is not None and sum(run.count for run in runs) == earlier.index
    assert runs_to(None, earlier) is None


def test_screenshots_in_one_second_are_distinct_and_folder_errors_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = played("w")
    paths = {write_screenshot(tmp_path, seen(session), title="", seed=0, header=None, runs=None) for _ in range(3)}
    assert len(paths) == 3 and all(path.exists() for path in paths)
    assert "worldsim:actions-sha256" not in text_of(paths.pop())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_PICTURES_DIR", str(tmp_path / "file"))
    assert "cannot write" in take_screenshot(session, seen(session), "")
