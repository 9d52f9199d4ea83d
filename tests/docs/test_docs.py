"""README.md and docs/ say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from worldsim.app.key_labels import help_rows
from worldsim.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
MAX_README_BYTES = 8_000


@pytest.fixture(scope="module")
def regen_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regen_docs", ROOT / "tools" / "regen_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def documents(regen_docs: ModuleType) -> dict[Path, str]:
    texts: dict[Path, str] = regen_docs.documents()
    return texts


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_generated_blocks_are_current(regen_docs: ModuleType, documents: dict[Path, str]) -> None:
    assert regen_docs.stale_blocks(documents) == [], "run: python tools/regen_docs.py"


def test_stale_block_is_named_and_regenerated(regen_docs: ModuleType, documents: dict[Path, str]) -> None:
    path = ROOT / "docs" / "playing.md"
    old = {**documents, path: documents[path].replace("| W / Up / Left stick up |", "| X |")}
    assert regen_docs.stale_blocks(old) == ["keys"]
    assert regen_docs.regenerate(old) == documents


def test_every_key_and_every_command_is_documented() -> None:
    for keys, what in help_rows():
        assert f"| {keys} | {what} |" in page("playing.md")
    for name in COMMANDS:
        assert f"`worldsim {name}`" in page("commands.md")


def test_every_command_line_names_an_existing_command(documents: dict[Path, str]) -> None:
    for path, text in documents.items():
        names = re.findall(r"(?:^|bin/|`|-m )worldsim ([a-z]+)", text, re.MULTILINE)
        assert set(names) <= set(COMMANDS), path


def test_every_linked_file_exists(documents: dict[Path, str]) -> None:
    for path, text in documents.items():
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name} links {link}"


def test_every_repository_file_named_in_code_exists(documents: dict[Path, str]) -> None:
    for path, text in documents.items():
        for name in re.findall(r"(?<![\w/.-])((?:tools|presets|assets|tests)/[\w./-]+\w)", text):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_every_page_is_linked_from_the_readme(readme: str) -> None:
    for path in ROOT.glob("docs/*.md"):
        assert f"(docs/{path.name})" in readme


def test_readme_is_short(readme: str) -> None:
    assert len(readme.encode()) < MAX_README_BYTES


def test_the_package_list_is_complete() -> None:
    packages = {path.parent.name for path in (ROOT / "worldsim").glob("*/__init__.py")}
    packages |= {path.stem for path in (ROOT / "worldsim").glob("[a-z]*.py")}
    assert set(re.findall(r"^worldsim/(\w+) ", page("architecture.md"), re.MULTILINE)) == packages


@pytest.mark.parametrize("name", ["play", "test"])
def test_the_two_setup_commands_are_machine_readable(name: str, readme: str) -> None:
    found = re.findall(rf"<!-- command: {name} -->\n```sh\n(.+)\n```\n", readme)
    assert len(found) == 1, "one line between a marker and the end of its block: .ci/run reads it"
    assert "-c constraints.txt" in found[0]


def test_every_pinned_version_is_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    for pin in pins:
        assert re.fullmatch(r"[\w.-]+==[\w.]+(; python_version >= \"3\.11\")?", pin), pin
