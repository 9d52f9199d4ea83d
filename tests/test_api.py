"""What `import worldsim` offers: the README's own lines run, and nothing heavy is loaded before it is asked for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import worldsim
from worldsim.engine.replay import check
from worldsim.engine.simulator import Simulator
from worldsim.episodes.reader import open_session
from worldsim.presets.store import load_preset

ROOT = Path(__file__).parents[1]


def test_the_readmes_python_runs_as_it_stands_there(
    tiny_preset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- code: python -->\n```python\n(.+?)```\n", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("worldsim.presets.resolve.bundled_presets", lambda: {"maze": tiny_preset_folder})
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert not np.array_equal(names["left"], names["right"])
    world = names["world"]
    world.restore(names["here"])
    assert np.array_equal(world.step(worldsim.Action.of(turn=1.0)).frame, names["left"])
    session = open_session(tmp_path / "recordings" / "python")
    verdict = check(session, Simulator(load_preset(tiny_preset_folder)))
    assert verdict.is_exact
    assert verdict.frames == 31


def test_every_name_that_is_offered_is_there_and_no_other() -> None:
    assert set(worldsim.__all__) == set(worldsim._PLACES)
    for name in worldsim.__all__:
        assert getattr(worldsim, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Simulater'"):
        _ = worldsim.Simulater


def test_importing_worldsim_loads_neither_torch_nor_numpy() -> None:
    program = "import sys, worldsim; print(sorted({'torch', 'numpy', 'pygame'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
