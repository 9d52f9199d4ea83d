"""Presets, sessions and saves written by the code of schema 1 still give the same frames.

`data/schema1` holds an untrained preset of every kind with a session, a save and the frames that followed the save, all
written before schema 2 existed. `bundled-NAME` has the same of a bundled preset whose weights were rewritten since.
Large saves are compressed, and the videos are left out.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from worldsim.engine.preset_world import session_header
from worldsim.engine.replay import check, check_origin
from worldsim.engine.save_files import SaveFiles
from worldsim.engine.saves import read_saved
from worldsim.engine.simulator import Simulator
from worldsim.episodes.reader import open_session
from worldsim.models.mapped import MappedTrunkModel
from worldsim.models.maps.map_model import MapModel
from worldsim.models.sequence.trunk import TrunkModel
from worldsim.models.sequence.two_stream import TwoStreamModel
from worldsim.presets.store import Preset, load_preset

DATA = Path(__file__).parent / "data" / "schema1"
MODELS = {
    "trunk": TrunkModel,
    "single": TwoStreamModel,
    "fixed-map": MappedTrunkModel,
    "spatial-map": MappedTrunkModel,
    "given-pose": MappedTrunkModel,
    "bundled-maze": MapModel,
}
LEVELS = 3
"""Other machines round differently; more than this many of 255 levels is another meaning of the weights."""
ROUNDS_AS_WRITTEN = torch.__version__ == "2.13.0+cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether this machine computes the bits of the one that wrote the data."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """As when the data was written: the number of threads can change bits."""
    torch.set_num_threads(1)


def load(name: str) -> Preset:
    bundled = name.removeprefix("bundled-")
    return load_preset(bundled if bundled != name else DATA / name / "preset")


@pytest.mark.parametrize(("name", "kind"), MODELS.items())
def test_a_preset_loads_as_the_kind_of_model_that_computes_its_frames(name: str, kind: type) -> None:
    preset = load(name)
    assert type(preset.model) is kind
    assert preset.config.schema_version == 2


@pytest.mark.parametrize("name", MODELS)
def test_a_session_replays_exactly(name: str) -> None:
    if not ROUNDS_AS_WRITTEN:
        pytest.skip("another version of torch, or another processor, than the data was written with")
    preset, session = load(name), open_session(DATA / name / "session")
    simulator = Simulator(preset)
    check_origin(session, session_header(preset, simulator, ref=str(preset.folder), device="cpu"), preset)
    result = check(session, simulator)
    assert result.is_exact, result
    assert result.frames == 7


@pytest.mark.parametrize("name", MODELS)
def test_a_save_continues_with_the_same_frames(name: str, tmp_path: Path) -> None:
    preset = load(name)
    simulator = Simulator(preset)
    files = SaveFiles(preset, session_header(preset, simulator, ref=str(preset.folder), device="cpu"))
    position = files.read(save_file(name, tmp_path))
    simulator.restore(position.snapshot)
    frames, actions = (np.load(DATA / name / f"{part}_after_save.npy") for part in ("frames", "actions"))
    found = [position.step.frame]
    found += [simulator.step(simulator.action_spec.decode(action)).frame for action in actions]
    assert max_levels(np.stack(found), frames) <= (0 if ROUNDS_AS_WRITTEN else LEVELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_save_that_is_written_again_is_of_the_present_schema(name: str, tmp_path: Path) -> None:
    preset = load(name)
    files = SaveFiles(preset, session_header(preset, Simulator(preset), ref=str(preset.folder), device="cpu"))
    saved, position = read_saved(save_file(name, tmp_path)), files.read(save_file(name, tmp_path))
    files.write(tmp_path / "again.safetensors", saved, position.snapshot)
    again, same = read_saved(tmp_path / "again.safetensors"), files.read(tmp_path / "again.safetensors")
    assert (saved.schema, again.schema) == (1, 2)
    for tensor_name, tensor in position.snapshot.state.tensors.items():
        assert torch.equal(tensor, same.snapshot.state.tensors[tensor_name]), tensor_name


def save_file(name: str, tmp_path: Path) -> Path:
    path = DATA / name / "save.safetensors"
    if path.exists():
        return path
    unpacked = tmp_path / path.name
    unpacked.write_bytes(gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes()))
    return unpacked


def max_levels(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b).max())
