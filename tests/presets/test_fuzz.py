"""However a preset is damaged, it plays or ends in one error, in bounded time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.presets import fuzz

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is bounded the way Linux does")


def fuzz_apart(seed: int, count: int) -> dict[str, Any]:
    """In a process of its own: it bounds its memory, and a crash must not take the tests along."""
    root = Path(fuzz.__file__).parents[2]
    command = [sys.executable, fuzz.__file__, str(seed), str(count)]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"ended with code {done.returncode}: {done.stderr[-2000:]}"
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def check(result: dict[str, Any]) -> None:
    assert result["failures"] == []
    assert sum(result["outcomes"].values()) == result["cases"]
    assert result["peak_growth_mb"] < fuzz.MEMORY_BYTES / 1e6
    assert result["slowest_s"] < fuzz.LIMIT_S
    assert result["outcomes"]["PresetError"] > 0.2 * result["cases"], "the mutations do damage"


def test_a_sample_of_damaged_presets_neither_crashes_nor_hangs() -> None:
    check(fuzz_apart(seed=0, count=60))


@pytest.mark.slow
def test_two_thousand_damaged_presets_neither_crash_nor_hang(record_property: pytest.RecordProperty) -> None:
    result = fuzz_apart(seed=1, count=2000)
    print(json.dumps(result))
    check(result)
    assert {"plays", "PresetShapeError", "ConfigError"} <= result["outcomes"].keys()
