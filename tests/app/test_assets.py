"""assets/ is found in a checkout and in an installed wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pygame
import pytest
from PIL import Image, ImageChops

from worldsim.core.files import asset_path

SHADERS = ("shaders/quad.vert", "shaders/frame.frag", "shaders/panel.frag")


@pytest.mark.parametrize("name", SHADERS)
def test_all_shaders_exist(name: str) -> None:
    assert asset_path(name).read_text().startswith("#version 330 core")


def test_wheel_contains_the_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages" / "worldsim"
    (installed / "_assets" / "shaders").mkdir(parents=True)
    (installed / "_assets" / "shaders" / "quad.vert").write_text("inside the wheel")
    monkeypatch.setattr("worldsim.core.files.__file__", str(installed / "core" / "files.py"))
    assert asset_path("shaders/quad.vert").read_text() == "inside the wheel"


def test_font_and_icon_come_with_their_license() -> None:
    license = asset_path("fonts/LICENSE.txt").read_text(encoding="utf-8")
    for path in asset_path("fonts/LICENSE.txt").parent.glob("*.ttf"):
        assert path.name in license
    assert pygame.image.load(asset_path("icon/icon.png")).get_size() == (256, 256)


def test_icon_matches_its_generator() -> None:
    path = Path(__file__).parents[2] / "tools" / "icon.py"
    spec = importlib.util.spec_from_file_location("icon", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with Image.open(asset_path("icon/icon.png")) as kept:
        difference = ImageChops.difference(kept.convert("RGBA"), module.icon())
    assert max(high for _, high in difference.getextrema()) <= 2
