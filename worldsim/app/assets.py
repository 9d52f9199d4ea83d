"""Where the files of assets/ are: inside an installed wheel, or at the top of a source checkout."""

from __future__ import annotations

from pathlib import Path

import worldsim


def asset_path(name: str) -> Path:
    """`asset_path("shaders/quad.vert")`."""
    package = Path(worldsim.__file__).parent
    for folder in (package / "_assets", package.parent / "assets"):
        if (folder / name).is_file():
            return folder / name
    raise AssertionError(f"no asset {name} in {package}/_assets or beside {package}")
