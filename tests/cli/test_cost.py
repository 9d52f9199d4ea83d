"""`worldsim cost`: its table and its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldsim.cli.main import main

TINY = ["--width", "12", "--frames", "20", "--contexts", "3", "4", "--rounds", "1"]


def test_costs_are_printed_and_written_with_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cost.json"
    assert main(["cost", "--architectures", "full", "no-clean-prefix", *TINY, "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "full" in shown and "T^" in shown and "no-clean-prefix: same network and cost as full" in shown
    assert "Untrained weights" in shown
    assert max(map(len, shown.splitlines())) <= 80
    result = json.loads(out.read_text(encoding="utf-8"))
    assert (result["kind"], result["device"], result["threads"], result["clock"]) == ("cost", "cpu", 1, "processor")
    assert result["command"].startswith("worldsim cost --architectures full")
    assert result["architectures"]["full"]["generation"][-1]["frame"] == 20


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--architectures", "mamba"], 3, "no architecture 'mamba'"),
        (["--frames", "1"], 2, "must be positive"),
        (["--threads", "0"], 2, "--threads is 0"),
    ],
)
def test_invalid_arguments_are_errors(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", *arguments]) == code
    assert message in capsys.readouterr().err
