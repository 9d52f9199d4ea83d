"""The floors of the architecture hold: the contracts stand in pyproject.toml, import-linter walks the imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_imports_only_from_floors_below() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_a_bag_of_odds_and_ends() -> None:
    names = {path.name for path in (ROOT / "worldsim").rglob("*.py")}
    assert not names & {"utils.py", "helpers.py", "common.py", "misc.py"}
