"""`worldsim report`: the page, the JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldsim.cli.main import main


def test_the_page_is_written_and_its_contents_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "maze.json"
    result.write_text(json.dumps({"preset": "maze", "one_step": {"psnr": 29.9}}), encoding="utf-8")
    out = tmp_path / "new" / "page.html"
    assert main(["report", str(result), "--out", str(out)]) == 0
    assert "1 evaluations, 0 costs" in capsys.readouterr().out
    html = out.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>") and "29.9" in html
    assert f"worldsim report {result} --out {out}" in html


def test_differences_are_written_as_json(tmp_path: Path) -> None:
    about = {"kind": "comparison", "seed": 0, "updates": 1, "train_s": 1, "frames": 1, "parameters": 1}
    runs = [
        {
            **about,
            "architecture": name,
            "scores": {"spin_psnr": {"value": 20 + gain, "per_seed": [19 + gain, 21 + gain]}},
        }
        for name, gain in (("full", 0), ("mamba2", -2))
    ]
    (tmp_path / "runs.json").write_text(json.dumps(runs), encoding="utf-8")
    out = tmp_path / "said.json"
    page = str(tmp_path / "page.html")
    assert main(["report", str(tmp_path / "runs.json"), "--out", page, "--json", str(out)]) == 0
    (found,) = json.loads(out.read_text(encoding="utf-8"))["differences"]
    assert (found["architecture"], found["metric"], found["verdict"]) == ("mamba2", "spin_psnr", "worse")
    assert (found["value"], found["low"], found["high"], found["seeds"]) == (-2, -2, -2, 1)


def test_damaged_and_missing_results_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.json").write_text('{"preset": "ma', encoding="utf-8")
    assert main(["report", str(tmp_path / "cut.json")]) == 19
    assert "cut.json is damaged" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "no results given" in capsys.readouterr().err
