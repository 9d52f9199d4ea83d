"""One name for one thing, and plain American English: guards over the whole package."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "worldsim").rglob("*.py"))
PROGRAMS = sorted((ROOT / "tools").glob("*.py"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "presets/TRAINING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("presets/*/README.md")),
]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

BRITISH = re.compile(
    r"\b(?:\w*optimis\w+|\w*initialis\w+|\w*normalis\w+|\w*synchronis\w+|\w*serialis\w+|\w*minimis\w+|\w*maximis\w+|recognis\w+|localis\w+"
    r"|behaviour\w*|colour\w*|centre[ds]?|grey\w*|licence\w*|neighbour\w*|favour\w*|artefact\w*|cancelled|modelled|labelled)\b",
    re.IGNORECASE,
)
"""British spellings: torch, pygame and the Hub spell American, and so do the names beside them."""

PHRASES = {
    r"\bin vain\b": "discarded, wasted",
    r"\b(?:made|begins?|drawn|starts?) (?:anew|afresh)\b": "recreated, restarted",
    r"\banew\b|\bafresh\b": "again",
    r"\bcomes? to lie\b": "is stored",
    r"\bgives? way to\b": "falls back to",
    r"\bfor ever\b": "constant, forever",
    r"\bheld against\b": "compared with",
    r"\bnobody\b|\bsomebody\b|\bwhoever\b": "no one is involved: name the component or the user",
    r"\bmend(?:s|ed|ing)?\b": "fix, repair",
    r"\bshall\b": "should, must",
    r"\bputs? right\b|\bput right\b": "fix, repair",
    r"\bkeep its word\b": "mismatch",
    r"\bforetold\b|\bforesee(?:s|n)?\b": "predicted",
    r"\bbeforehand\b": "in advance, first",
    r"\bbe it\b": "whether",
    r"\broll-outs?\b": "rollout",
}
"""Phrases that read as translated, and what the field says instead. A new one that a reader stumbles over goes here."""


def public_definitions(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            assert isinstance(node.target, ast.Name)
            yield node.target.id


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in PACKAGE:
        for name in public_definitions(path):
            if not name.startswith("_"):
                places[name].append(str(path.relative_to(ROOT)))
    shared = {name: files for name, files in places.items() if len(files) > 1}
    assert not shared, shared


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a document, or the comments, strings and names of a program: all that a person reads."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING, tokenize.NAME):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line.replace("_", " ") if token.type == tokenize.NAME else line


ALLOWED = {
    "worldsim/evaluation/drift.py": "`colour` is a key of results on disk",
    "worldsim/presets/migrations.py": "tensor names and keys of schema 1",
    "worldsim/training/checkpoint.py": "keys of older checkpoints",
    "worldsim/training/config.py": "keys of older recipes",
    "tests/evaluation/test_drift.py": "fields that are keys of results on disk",
    "tests/presets/test_migrations.py": "tensor names and keys of schema 1",
    "tests/presets/test_schema_1.py": "files of schema 1",
    "tests/training/test_checkpoint.py": "keys of older checkpoints",
    "tests/training/test_config.py": "keys of older recipes",
}
"""Files that hold stored names of earlier versions, with the reason."""
STORED_KEYS = re.compile(r"""["']colour["']|["']licence["']""")
"""Keys of results and metadata that are stored under these names."""


def offenses(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {found.group()!r} in {line.strip()[:100]}"
        for path in paths
        if path != Path(__file__) and path.relative_to(ROOT).as_posix() not in ALLOWED
        for number, line in prose(path)
        for found in pattern.finditer(STORED_KEYS.sub("", line))
    ]


@pytest.mark.parametrize("paths", [PACKAGE, PROGRAMS, DOCUMENTS, TESTS], ids=["package", "tools", "documents", "tests"])
def test_spelling_is_american(paths: list[Path]) -> None:
    found = offenses(BRITISH, paths)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("phrase", PHRASES)
def test_translated_phrases_do_not_come_back(phrase: str) -> None:
    pattern = re.compile(phrase, re.IGNORECASE)
    found = offenses(pattern, [*PACKAGE, *PROGRAMS, *DOCUMENTS, *TESTS])
    assert not found, f"say: {PHRASES[phrase]}\n" + "\n".join(found)
