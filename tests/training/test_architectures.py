"""Every model of the paper's tables is trained and played by the same loop, sampler and simulator."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.episodes.recordings import record
from tests.training.test_data import OWN, open_run, train
from tests.training.test_run import MAPPED
from worldsim.core.errors import ConfigError, UsageError
from worldsim.core.types import Action
from worldsim.engine.batch import BatchSimulator
from worldsim.engine.simulator import Simulator
from worldsim.models.sequence.architectures import ARCHITECTURES
from worldsim.presets.store import load_preset

WITH_MAP = OWN.replace("[model]", f"[model]{MAPPED['fixed']}")
WITH_MAP += "[training.map]\nmotion_warmup_steps = 1\n"
"""--architecture drops the map, and so its training does not apply."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded session, and a run with an autoencoder. Shared: read it, never write to it."""
    folder = tmp_path_factory.mktemp("architectures")
    record(folder / "data", 60, is_lossless=True)
    train(open_run(OWN, folder, str(folder / "data")), "autoencoder")
    return folder


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_architecture_trains_and_plays(name: str, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "run", tmp_path / "run")
    run = open_run(WITH_MAP, tmp_path, str(trained / "data"), architecture=name)
    assert run.preset.name == f"tiny-{name}"
    rows = train(run, "dynamics")
    assert any("psnr_1" in row for row in rows)
    preset = load_preset(tmp_path / "run" / "dynamics" / "last")
    simulator = Simulator(preset)
    simulator.reset(0)
    snapshot = simulator.snapshot()
    walks = []
    for _ in range(2):
        simulator.restore(snapshot)
        walks.append([simulator.step(Action.of("forward")).frame for _ in range(5)])
    assert all((a == b).all() for a, b in zip(*walks, strict=True)), "another frame after going back"
    if not preset.config.model.has_constant_state:
        with pytest.raises(UsageError, match="its state grows, so rows cannot be batched"):
            BatchSimulator(preset, 2)


def test_the_ablation_of_training_changes_training_and_not_the_model(trained: Path, tmp_path: Path) -> None:
    full, ablated = (
        open_run(OWN, tmp_path, str(trained / "data"), architecture=name) for name in ("full", "no-clean-prefix")
    )
    assert full.preset.model == ablated.preset.model
    assert (full.training.sequence.clean_prefix_prob, ablated.training.sequence.clean_prefix_prob) == (0.5, 0.0)


def test_an_unknown_architecture_is_rejected(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no architecture 'fulll'"):
        open_run(OWN, tmp_path, str(trained / "data"), architecture="fulll")
