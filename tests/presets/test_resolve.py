"""From what a person types to a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from worldsim.core.errors import PresetError, PresetNotFoundError
from worldsim.presets import resolve
from worldsim.presets.resolve import HubRef, locate_preset, locate_recipe, resolve_preset


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two bundled presets, and one folder that is not one yet."""
    for name in ("maze", "maze-random"):
        (tmp_path / "bundle" / name).mkdir(parents=True)
        (tmp_path / "bundle" / name / "config.json").touch()
    (tmp_path / "bundle" / "unfinished").mkdir()
    monkeypatch.setattr(resolve, "bundled_folder", lambda: tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bundle"


def test_a_bundled_name_wins_over_a_folder_of_that_name(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "maze").mkdir()
    assert resolve_preset("maze") == bundle / "maze"
    assert resolve_preset("./maze") == Path("maze")


def test_a_folder_is_itself(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "last").mkdir(parents=True)
    assert resolve_preset("runs/last") == Path("runs/last")
    assert resolve_preset(tmp_path / "runs" / "last") == tmp_path / "runs" / "last"


@pytest.mark.parametrize(
    ("ref", "hint"),
    [
        ("mase", "did you mean 'maze'?"),
        ("forest", "known: maze, maze-random"),
        ("unfinished", "known: maze, maze-random"),
    ],
)
def test_an_unknown_name_names_the_nearest(ref: str, hint: str, bundle: Path) -> None:
    with pytest.raises(PresetNotFoundError, match=f"no preset named '{ref}'") as caught:
        resolve_preset(ref)
    assert caught.value.hint == hint


@pytest.mark.parametrize("ref", ["./nowhere", "/nowhere/at/all", "runs/x/last", "~/nowhere"])
def test_a_path_that_leads_nowhere_is_not_looked_for_on_the_hub(ref: str, bundle: Path) -> None:
    with pytest.raises(PresetNotFoundError, match="no preset folder"):
        resolve_preset(ref)


@pytest.mark.parametrize("name", ["weights.pt", "model.ckpt", "pytorch_model.bin", "a.pkl"])
def test_a_pickle_file_is_refused(name: str, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(PresetError, match="a pickle can run arbitrary code") as caught:
        resolve_preset(name)
    assert "model.safetensors" in caught.value.hint


def test_any_other_file_asks_for_its_folder(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(PresetError, match="is a file") as caught:
        resolve_preset("model.safetensors")
    assert "folder" in caught.value.hint


@pytest.mark.parametrize("ref", ["someone/maze", "someone/maze@v1"])
def test_offline_a_hub_reference_that_is_not_cached_says_what_to_do(
    ref: str, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert constants.HF_HUB_OFFLINE, "conftest turned the Hub off"
    with pytest.raises(PresetNotFoundError, match="not in the cache, and network access is off") as caught:
        resolve_preset(ref)
    assert ref in caught.value.message
    assert "HF_HUB_OFFLINE" in caught.value.message
    assert "./folder" in caught.value.hint


@pytest.mark.parametrize("revision", ["../../x", "a/../b", "/etc", ".git", "-x", "a//b", ""])
def test_a_revision_that_leads_out_of_the_cache_is_no_reference(revision: str, bundle: Path) -> None:
    with pytest.raises(PresetNotFoundError, match="no preset folder"):
        locate_preset(f"someone/maze@{revision}")


def test_a_hub_reference_is_a_repository_and_a_revision(bundle: Path) -> None:
    assert locate_preset("someone/maze") == HubRef(repo="someone/maze")
    assert locate_preset("someone/maze@refs/pr/1") == HubRef(repo="someone/maze", revision="refs/pr/1")


def test_only_data_is_ever_fetched() -> None:
    assert all(name.endswith((".json", ".md", ".safetensors")) for name in resolve.DOWNLOADED_FILES)


def test_the_bundle_of_this_checkout_is_found() -> None:
    assert resolve.bundled_folder().is_dir()


def test_a_cached_hub_preset_needs_no_network(
    bundle: Path, tiny_preset_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "cache" / "models--someone--tiny"
    shutil.copytree(tiny_preset_folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit, encoding="utf-8")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert resolve_preset("someone/tiny") == repo / "snapshots" / commit
    assert resolve_preset(f"someone/tiny@{commit}") == repo / "snapshots" / commit


def test_a_recipe_is_a_file_a_folder_or_a_bundled_name_trained_or_not(bundle: Path, tmp_path: Path) -> None:
    recipe = bundle / "unfinished" / "preset.toml"
    recipe.touch()
    assert locate_recipe("unfinished") == locate_recipe(recipe) == locate_recipe(recipe.parent) == recipe
    with pytest.raises(PresetNotFoundError, match="no recipe unfinish") as caught:
        locate_recipe("unfinish")
    assert caught.value.hint == "a preset.toml; did you mean 'unfinished'?"
    with pytest.raises(PresetNotFoundError):
        locate_recipe(tmp_path)
