"""What is said beside the results: one line on stderr, with who says it, so that it is known in a script's output."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Side effects: prints at once; stdout is for results."""
    print(f"worldsim: {text}", file=sys.stderr, flush=True)
