"""assets/ is found in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

import worldsim
from worldsim.app.assets import asset_path

SHADERS = ("shaders/quad.vert", "shaders/frame.frag", "shaders/panel.frag")


@pytest.mark.parametrize("name", SHADERS)
def test_every_shader_is_there(name: str) -> None:
    assert asset_path(name).read_text().startswith("#version 330 core")


def test_an_installed_wheel_carries_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages" / "worldsim"
    (installed / "_assets" / "shaders").mkdir(parents=True)
    (installed / "_assets" / "shaders" / "quad.vert").write_text("inside the wheel")
    monkeypatch.setattr(worldsim, "__file__", str(installed / "__init__.py"))
    assert asset_path("shaders/quad.vert").read_text() == "inside the wheel"
