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
from worldsim.core.install import DISTRIBUTION, Extra, install_hint, requirements

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
    listed = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", requirement)[0] for requirement in listed}
    for path in (ROOT / "worldsim").rglob("*.py"):
        for name in top_level_imports(path) - set(sys.stdlib_module_names) - {"worldsim"}:
            package = DISTRIBUTION_OF.get(name, name)
            assert package in declared, f"{path} imports {name}: pyproject.toml does not ask for {package}"


def test_every_declared_package_is_pinned_for_the_readmes_install(pyproject: dict[str, Any]) -> None:
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    project = pyproject["project"]
    groups = [project["optional-dependencies"], pyproject["dependency-groups"]]
    listed = itertools.chain(*(requirements for group in groups for requirements in group.values()))
    for requirement in [*project["dependencies"], *listed]:
        name = re.split(r"[^\w-]", requirement)[0]
        assert name in pinned | {DISTRIBUTION, "tomli"}, f"{name} is not in constraints.txt"


def test_every_extra_that_an_error_names_is_there(pyproject: dict[str, Any]) -> None:
    assert set(get_args(Extra)) == set(pyproject["project"]["optional-dependencies"]) - {"test"}


def test_every_asset_that_is_asked_for_lies_in_a_folder_that_the_wheel_takes_along(pyproject: dict[str, Any]) -> None:
    taken = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert taken["presets"] == "worldsim/_presets"
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "worldsim").rglob("*.py"))
    asked_for = set(re.findall(r'asset_path\(f?"([^"]+)"', source))
    assert asked_for
    for name in asked_for:
        folder = name.split("/")[0]
        assert taken.get(f"assets/{folder}") == f"worldsim/_assets/{folder}", f"{name} would be missing from the wheel"


def test_the_distribution_is_not_the_unrelated_project_of_that_name(pyproject: dict[str, Any]) -> None:
    assert pyproject["project"]["name"] == DISTRIBUTION != "worldsim"


@pytest.mark.parametrize("extra", get_args(Extra))
def test_an_install_hint_names_the_declared_packages_of_its_extra(extra: Extra, pyproject: dict[str, Any]) -> None:
    declared = {re.split(r"[^\w-]", line)[0] for line in pyproject["project"]["optional-dependencies"][extra]}
    named = {re.split(r"[^\w-]", line)[0] for line in requirements(extra)}
    assert named == declared
    assert set(re.findall(r'"([\w-]+)[^"]*"', install_hint(extra))) == declared


@pytest.mark.parametrize("folder", ["worldsim", "README.md", "presets", "tools", ".ci"])
def test_no_line_installs_worldsim_from_a_registry(folder: str) -> None:
    """`worldsim` on PyPI is an unrelated package, so nothing may tell a user to install it by name."""
    path = ROOT / folder
    files = [p for p in (path, *path.rglob("*")) if p.is_file() and p.suffix in {"", ".md", ".py", ".toml"}]
    stranger = re.compile(r"""\binstall\b(?: -\S+| --\S+)* ['"]?worldsim(?:\[|['"\s]|$)""", re.MULTILINE)
    for file in files:
        found = stranger.findall(file.read_text(encoding="utf-8"))
        assert not found, f"{file}: {found}"


@pytest.mark.parametrize(
    ("has_pip", "is_active", "command"),
    [
        (True, True, "python3 -m pip install"),
        (True, False, "PREFIX/bin/python -m pip install"),
        (False, False, "python3 -m pip --python PREFIX install"),
    ],
)
def test_an_install_hint_works_in_the_environment_that_runs(
    has_pip: bool, is_active: bool, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.name", "posix")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path) if is_active else "")
    monkeypatch.setattr("worldsim.core.install.find_spec", lambda name: object() if has_pip else None)
    assert install_hint("doom").startswith(command.replace("PREFIX", str(tmp_path)) + ' "vizdoom')
