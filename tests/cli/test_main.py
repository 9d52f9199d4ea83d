"""The edge: commands are found, errors become two lines and an exit code, and help is quick."""

from __future__ import annotations

import subprocess
import sys

import pytest

import worldsim
from worldsim.cli import main as cli
from worldsim.cli.main import COMMANDS, command_module, main
from worldsim.core.errors import ConfigError, WorldsimError


def worldsim_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worldsim", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name} " in text
        assert command_module(name).HELP in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_one_line_about_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"usage: worldsim {name}" in capsys.readouterr().out
    line = command_module(name).HELP
    assert 10 < len(line) < 120
    assert "\n" not in line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_writes_json_for_machines(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert "--json FILE" in capsys.readouterr().out


def test_no_help_text_loads_torch_or_opens_pygame() -> None:
    code = f"""
import sys
from worldsim.cli.main import main
main(["--help"])
for name in {list(COMMANDS)}:
    try:
        main([name, "--help"])
    except SystemExit:
        pass
    for module in ("torch", "pygame", "moderngl", "vizdoom"):
        assert module not in sys.modules, name + " loads " + module
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_m_worldsim_is_worldsim() -> None:
    done = worldsim_process("--version")
    assert (done.returncode, done.stdout) == (0, f"worldsim {worldsim.__version__}\n")


def test_an_error_reaches_the_shell_as_two_lines_and_a_code() -> None:
    done = worldsim_process("rollouts")
    assert done.returncode == 2
    assert done.stderr == "error: no command 'rollouts'\nhint: did you mean 'rollout'?\n"
    assert done.stdout == ""


def test_without_a_command_help_is_shown_and_it_is_not_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: worldsim COMMAND" in capsys.readouterr().out


def test_an_error_is_one_line_whatever_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise ConfigError("two\nlines", hint="mend\n  them")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["play"]) == ConfigError.exit_code
    assert capsys.readouterr().err == "error: two lines\nhint: mend them\n"


def test_an_error_without_a_hint_has_no_hint_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise WorldsimError("that is all")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["play"]) == 1
    assert capsys.readouterr().err == "error: that is all\n"


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupt)
    assert main(["play"]) == 130
    assert capsys.readouterr().err == ""


def test_arguments_that_do_not_fit_exit_with_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["rollout", "maze", "--frames", "many"])
    assert caught.value.code == 2
