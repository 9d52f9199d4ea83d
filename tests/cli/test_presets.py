"""`worldsim presets` without network access."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldsim.cli.main import main


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_verify_and_show_a_folder(tiny_preset_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "verify", str(tiny_preset_folder), "--json", "-"]) == 0
    verified = json.loads(capsys.readouterr().out)
    assert verified["name"] == "tiny" and verified["hashes"] == ["config", "weights"]
    assert main(["presets", "show", str(tiny_preset_folder), "--json", "-"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["picture"] == "64x48" and facts["commit"] is None


def test_a_damaged_preset_is_not_pushed(tiny_preset_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_preset_copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert main(["presets", "verify", str(tiny_preset_copy)]) == 5
    assert main(["presets", "push", str(tiny_preset_copy), "someone/tiny", "--dry-run"]) == 5, "nor is it pushed"
    assert "its content has hash" in capsys.readouterr().err


def test_rm_does_not_delete_folders(tiny_preset_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "rm", str(tiny_preset_copy)]) == 2
    assert (tiny_preset_copy / "model.safetensors").exists()
    assert main(["presets", "rm", "someone/tiny"]) == 4
    assert "not in the Hub cache" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["lst"], 2, "did you mean 'list'?"),
        (["push", "FOLDER", "no-slash"], 2, "is not a repository on the Hub"),
        (["push", "FOLDER", "a/b@main"], 2, "without a revision"),
        (["push", "FOLDER", "a/b", "--log", "FOLDER/model.safetensors", "--dry-run"], 2, "cannot be read"),
        (["search", "--limit", "0"], 2, "--limit is 0"),
        (["pull", "a/b", "--offline"], 4, "is not in the cache"),
    ],
)
def test_invalid_requests_are_errors(
    arguments: list[str], code: int, words: str, tiny_preset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["presets", *(word.replace("FOLDER", str(tiny_preset_folder)) for word in arguments)]) == code
    assert words in capsys.readouterr().err


def test_push_refuses_scores_of_other_weights(
    tiny_preset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text('{"preset_sha256": "0"}', encoding="utf-8")
    code = main(["presets", "push", str(tiny_preset_folder), "someone/tiny", "--dry-run", "--scores", str(scores)])
    assert code == 5
    assert "measured on other weights" in capsys.readouterr().err
