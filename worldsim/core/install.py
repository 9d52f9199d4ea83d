"""Installation hints: the command that installs what an optional feature needs. Standard library only.

The hints name the third-party packages themselves, with the version ranges of this distribution's metadata, because
`worldsim` on PyPI is an unrelated project: the extra `worldsim[doom]` by name would fetch that one.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

DISTRIBUTION = "worldsim-play"
"""Name of the distribution, in pyproject.toml and in the installed metadata; the import name is `worldsim`."""

Extra: TypeAlias = Literal["doom", "memory-maze", "gym", "tensorboard", "trackio", "wandb"]
"""Optional features, as pyproject.toml names them."""


def install_hint(extra: Extra) -> str:
    """A shell command that installs the packages of an extra into the running environment.

    It works in bash, zsh, PowerShell and cmd, with the environment activated or not, with pip inside it or not.
    """
    return " ".join([_pip_install(), *(f'"{requirement}"' for requirement in requirements(extra))])


def reinstall_hint(package: str) -> str:
    """A shell command that reinstalls one third-party package into the running environment."""
    return f"{_pip_install()} --force-reinstall --no-deps {package}"


def requirements(extra: Extra) -> list[str]:
    """The requirements of an extra, such as `vizdoom<2,>=1.3`; the extra's own name where no metadata is installed."""
    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return [extra]
    marker = re.compile(rf"""extra == ['"]{re.escape(extra)}['"]""")
    return [line.split(";")[0].strip() for line in declared if marker.search(line)]


def _pip_install() -> str:
    python = "python" if os.name == "nt" else "python3"
    if find_spec("pip") is None:
        return f"{python} -m pip --python {_shown(Path(sys.prefix))} install"
    is_active = sys.prefix == sys.base_prefix or os.environ.get("VIRTUAL_ENV") == sys.prefix
    return f"{python if is_active else _shown(Path(sys.executable))} -m pip install"


def _shown(path: Path) -> str:
    """Relative to the current folder if inside it; quoted if it contains a space."""
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return f'"{path}"' if " " in str(path) else str(path)
