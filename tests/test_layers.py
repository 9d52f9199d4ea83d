"""The floors of the architecture hold: the contracts stand in pyproject.toml, import-linter walks the imports."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from worldsim.core.config import read_toml

ROOT = Path(__file__).parent.parent
DISTRIBUTION_OF = {"PIL": "pillow", "huggingface_hub": "huggingface-hub", "pygame": "pygame-ce"}


def top_level_imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_every_package_imports_only_from_floors_below() -> None:
    pytest.importorskip("importlinter", reason="import-linter is in the extra `dev`")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_that_is_imported_is_declared() -> None:
    project = read_toml(ROOT / "pyproject.toml")["project"]
    requirements = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}
    for path in (ROOT / "worldsim").rglob("*.py"):
        for name in top_level_imports(path) - set(sys.stdlib_module_names) - {"worldsim"}:
            package = DISTRIBUTION_OF.get(name, name)
            assert package in declared, f"{path} imports {name}: pyproject.toml does not ask for {package}"


def test_no_module_is_a_bag_of_odds_and_ends() -> None:
    names = {path.name for path in (ROOT / "worldsim").rglob("*.py")}
    assert not names & {"utils.py", "helpers.py", "common.py", "misc.py"}
