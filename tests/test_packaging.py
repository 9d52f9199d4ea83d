"""What the package needs at run time is inside the wheel, and what it imports is declared."""

from __future__ import annotations

import ast
import itertools
import re
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from worldsim.core.config import read_toml
from worldsim.core.errors import Extra

ROOT = Path(__file__).parent.parent
DISTRIBUTION_OF = {
    "PIL": "pillow",
    "dm_control": "dm-control",
    "huggingface_hub": "huggingface-hub",
    "jinja2": "Jinja2",
    "markdown_it": "markdown-it-py",
    "markupsafe": "MarkupSafe",
    "memory_maze": "memory-maze",
    "pygame": "pygame-ce",
}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return read_toml(ROOT / "pyproject.toml")


def top_level_imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_every_package_that_is_imported_is_declared(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    requirements = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}
    for path in (ROOT / "worldsim").rglob("*.py"):
        for name in top_level_imports(path) - set(sys.stdlib_module_names) - {"worldsim"}:
            package = DISTRIBUTION_OF.get(name, name)
            assert package in declared, f"{path} imports {name}: pyproject.toml does not ask for {package}"


def test_every_declared_package_is_pinned_for_the_readmes_install(pyproject: dict[str, Any]) -> None:
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    project = pyproject["project"]
    for requirement in [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]:
        name = re.split(r"[^\w-]", requirement)[0]
        assert name in pinned | {"worldsim", "tomli"}, f"{name} is not in constraints.txt"


def test_every_extra_that_an_error_names_is_there(pyproject: dict[str, Any]) -> None:
    assert set(get_args(Extra)) == set(pyproject["project"]["optional-dependencies"]) - {"test", "dev"}


def test_every_asset_that_is_asked_for_lies_in_a_folder_that_the_wheel_takes_along(pyproject: dict[str, Any]) -> None:
    taken = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert taken["presets"] == "worldsim/_presets"
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "worldsim").rglob("*.py"))
    asked_for = set(re.findall(r'asset_path\(f?"([^"]+)"', source))
    assert asked_for
    for name in asked_for:
        folder = name.split("/")[0]
        assert taken.get(f"assets/{folder}") == f"worldsim/_assets/{folder}", f"{name} would be missing from the wheel"
