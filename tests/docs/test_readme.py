"""README.md agrees with the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from worldsim.app.key_labels import help_rows
from worldsim.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def regen_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regen_docs", ROOT / "tools" / "regen_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_generated_blocks_are_current(regen_docs: ModuleType, readme: str) -> None:
    assert regen_docs.stale_blocks(readme) == [], "run: python tools/regen_docs.py"


def test_a_stale_block_is_found_by_name_and_regenerated(regen_docs: ModuleType, readme: str) -> None:
    old = readme.replace("| W / Up / Left stick up |", "| X |")
    assert regen_docs.stale_blocks(old) == ["keys"]
    assert regen_docs.regenerate(old) == readme


def test_every_key_and_every_command_is_in_the_readme(readme: str) -> None:
    for keys, what in help_rows():
        assert f"| {keys} | {what} |" in readme
    for name in COMMANDS:
        assert f"`worldsim {name}`" in readme


def test_every_command_line_names_a_command_that_exists(readme: str) -> None:
    names = re.findall(r"(?:^|bin/|`)worldsim ([a-z]+)", readme, re.MULTILINE)
    assert names
    assert set(names) <= set(COMMANDS)


def test_every_linked_or_named_file_exists(readme: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in link]
    assert links
    for name in [*links, "tools/regen_docs.py", ".ci/run", "constraints.txt", "presets/maze/preset.toml"]:
        assert (ROOT / name).exists(), name


def test_the_map_shows_every_package(readme: str) -> None:
    packages = {path.parent.name for path in (ROOT / "worldsim").glob("*/__init__.py")}
    assert set(re.findall(r"^worldsim/(\w+) ", readme, re.MULTILINE)) == packages


@pytest.mark.parametrize("name", ["play", "test"])
def test_the_marked_command_lines_can_be_extracted(name: str, readme: str) -> None:
    found = re.findall(rf"<!-- command: {name} -->\n```sh\n(.+)\n```\n", readme)
    assert len(found) == 1, "one line, between a marker and the end of its block: .ci/run reads it"
    assert "-c constraints.txt" in found[0]


def test_every_constraint_is_an_exact_version() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    for pin in pins:
        assert re.fullmatch(r"[\w.-]+==[\w.]+(; python_version >= \"3\.11\")?", pin), pin
