"""Writes the generated blocks of README.md and docs/: keys, presets, commands, exit codes, results.

    python tools/regen_docs.py            rewrites the files
    python tools/regen_docs.py --check    changes nothing; exits with 1 and names the blocks that are out of date

A block is between `<!-- generated: NAME -->` and `<!-- end: NAME -->`, in exactly one file. Torch-free.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from worldsim.app.key_labels import help_rows
from worldsim.cli.main import COMMANDS
from worldsim.core import errors
from worldsim.core.errors import WorldsimError
from worldsim.evaluation.report.comparisons import main_table
from worldsim.evaluation.report.results import read_results
from worldsim.presets.config import read_config_json
from worldsim.presets.resolve import CONFIG_FILE, WEIGHTS_FILE, bundled_presets

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "assets" / "results"


def keys() -> str:
    return _table(("key", "what it does"), help_rows())


def presets() -> str:
    rows = []
    for name, folder in bundled_presets().items():
        config, _ = read_config_json(folder / CONFIG_FILE)
        height_px, width_px, _ = config.frame_shape
        size_mb = (folder / WEIGHTS_FILE).stat().st_size / 1e6
        rate = f"{config.play.ticks_per_s:g} per second"
        rows.append((f"`{name}`", config.title, f"{width_px}x{height_px}", rate, f"{size_mb:.1f} MB"))
    return _table(("preset", "world", "frame size", "frame rate", "weights"), rows) if rows else "None is bundled yet."


def commands() -> str:
    return _table(("command", "what it does"), [(f"`worldsim {name}`", summary) for name, summary in COMMANDS.items()])


def exit_codes() -> str:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, WorldsimError)]
    rows = [(str(c.exit_code), str(c.__doc__).splitlines()[0]) for c in sorted(classes, key=lambda c: c.exit_code)]
    return _table(("code", "meaning"), [("0", "Success."), *rows])


def results() -> str:
    kept = main_table(read_results([RESULTS]))
    return _table(kept.head, [[cell.text for cell in row] for row in kept.rows])


BLOCKS: dict[str, Callable[[], str]] = {
    "keys": keys,
    "presets": presets,
    "commands": commands,
    "exit codes": exit_codes,
    "results": results,
}


def documents() -> dict[Path, str]:
    """README.md and the pages of docs/, with their text."""
    return {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}


def regenerate(texts: dict[Path, str]) -> dict[Path, str]:
    """The documents with every block regenerated."""
    fresh = dict(texts)
    for name, make in BLOCKS.items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        found = [path for path, text in fresh.items() for _ in pattern.findall(text)]
        assert len(found) == 1, f"block {name!r} is in {[path.name for path in found]}, expected one document"
        block = f"{begin}{make()}\n{end}"
        fresh[found[0]] = pattern.sub(lambda _, block=block: block, fresh[found[0]])  # type: ignore[misc]  # binds this round's block
    return fresh


def stale_blocks(texts: dict[Path, str]) -> list[str]:
    """The names of the blocks that differ from the code."""
    old, new = "\n".join(texts.values()), "\n".join(regenerate(texts).values())
    return [name for name in BLOCKS if _block(old, name) != _block(new, name)]


def _block(text: str, name: str) -> str:
    return text.partition(f"<!-- generated: {name} -->")[2].partition(f"<!-- end: {name} -->")[0]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(argv: Sequence[str]) -> int:
    texts = documents()
    if "--check" in argv:
        stale = stale_blocks(texts)
        if stale:
            print(
                f"the documents are out of date: {', '.join(stale)}; run: python tools/regen_docs.py", file=sys.stderr
            )
        return 1 if stale else 0
    for path, text in regenerate(texts).items():
        if text != texts[path]:
            path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
