"""Figures reach TensorBoard's files and services with wandb's interface; a missing package is said at once."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from worldsim.core.errors import MissingPackageError
from worldsim.core.install import install_hint
from worldsim.training.trackers import open_trackers

ROWS: list[dict[str, float | int | str]] = [{"update": 20, "loss": 0.5, "note": "words"}, {"update": 40, "loss": 0.25}]


def test_a_tracking_service_receives_the_config_and_every_metric(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard: list[tuple[str, Any]] = []
    service = types.ModuleType("trackio")
    service.init = lambda **options: heard.append(("init", options))  # type: ignore[attr-defined]
    service.log = lambda figures, step: heard.append((f"step {step}", figures))  # type: ignore[attr-defined]
    service.finish = lambda: heard.append(("finish", None))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", service)

    def train() -> None:
        folder = tmp_path / "maze" / "dynamics"
        with open_trackers(["trackio"], folder, project="worldsim", config={"seed": 1}) as track:
            for row in ROWS:
                track(row)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    options = {"project": "worldsim", "name": "maze-dynamics", "config": {"seed": 1}}
    assert heard == [("init", options), ("step 20", {"loss": 0.5}), ("step 40", {"loss": 0.25}), ("finish", None)]


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_trackers(["tensorboard"], tmp_path, project="", config={}) as track:
        for row in ROWS:
            track(row)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(20, 0.5), (40, 0.25)]


def test_a_missing_package_is_named_before_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.raises(MissingPackageError, match="--track wandb needs the package wandb") as caught,
        open_trackers(["wandb"], tmp_path, project="", config={}),
    ):
        pass
    assert caught.value.hint == install_hint("wandb")
