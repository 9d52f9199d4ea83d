"""Writes the generated blocks of README.md: keys, presets, commands, exit codes (from the code) and results.

    python tools/regen_docs.py            rewrites README.md
    python tools/regen_docs.py --check    writes nothing; exits with 1 and prints the blocks that are out of date

A block is the text between `<!-- generated: NAME -->` and `<!-- end: NAME -->`. Torch-free.
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

README = Path(__file__).parent.parent / "README.md"
RESULTS = README.parent / "assets" / "results"


def keys() -> str:
    return _table(("key", "what it does"), help_rows())


def presets() -> str:
    rows = []
    for name, folder in bundled_presets().items():
        config, _ = read_config_json(folder / CONFIG_FILE)
        height_px, width_px, _ = config.frame_shape
        size_mb = (folder / WEIGHTS_FILE).stat().st_size / 1e6
        steps = "" if config.model.kind == "map" else f", {config.play.num_steps} step(s) each"
        rate = f"{config.play.ticks_per_s:g} per second{steps}"
        rows.append((f"`{name}`", config.title, f"{width_px}x{height_px}", rate, f"{size_mb:.1f} MB"))
    return _table(("preset", "what it is", "picture", "frames", "weights"), rows) if rows else "None is bundled yet."


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


def regenerate(text: str) -> str:
    """`text` with every block regenerated."""
    for name, make in BLOCKS.items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        found = len(pattern.findall(text))
        assert found == 1, f"README.md has {found} blocks {name!r}, expected 1"
        block = f"{begin}{make()}\n{end}"
        text = pattern.sub(lambda _, block=block: block, text)  # type: ignore[misc]  # binds this round's block
    return text


def stale_blocks(text: str) -> list[str]:
    """Names of the blocks that are out of date."""
    fresh = regenerate(text)
    return [name for name in BLOCKS if _block(text, name) != _block(fresh, name)]


def _block(text: str, name: str) -> str:
    return text.partition(f"<!-- generated: {name} -->")[2].partition(f"<!-- end: {name} -->")[0]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(argv: Sequence[str]) -> int:
    text = README.read_text(encoding="utf-8")
    if "--check" in argv:
        stale = stale_blocks(text)
        if stale:
            print(f"README.md is out of date: {', '.join(stale)}; run: python tools/regen_docs.py", file=sys.stderr)
        return 1 if stale else 0
    README.write_text(regenerate(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
