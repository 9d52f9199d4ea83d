"""`worldsim`: commands, errors as two lines and an exit code, help without heavy imports."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

import worldsim
from worldsim.cli import main as cli
from worldsim.cli.arguments import RENAMED_FLAGS, current_spelling
from worldsim.cli.main import COMMANDS, command_module, main
from worldsim.core.errors import ConfigError, WorldsimError


def worldsim_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worldsim", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert f"  {name} " in text
        assert summary in text
        assert 10 < len(summary) < 70 and summary.endswith(".") and "\n" not in summary
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_subcommand_has_help_and_writes_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for subcommand in [[], *([word] for word in getattr(command_module(name), "SUBCOMMANDS", ()))]:
        with pytest.raises(SystemExit) as caught:
            main([name, *subcommand, "--help"])
        assert caught.value.code in (0, None)
        text = capsys.readouterr().out
        assert " ".join(["usage: worldsim", name, *subcommand]) in text
        assert "--json FILE" in text or "subcommands" in text
        assert "None" not in text and "False" not in text, "defaults that say nothing"


@pytest.mark.parametrize(
    ("name", "misspelled"),
    [("bench", ["trian", "maze"]), ("data", ["chek"]), ("presets", ["shwo", "maze"]), ("sessions", ["lst"])],
)
def test_a_group_needs_a_known_subcommand(name: str, misspelled: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name])
    assert caught.value.code == 2
    assert f"usage: worldsim {name}" in capsys.readouterr().out
    assert main([name, *misspelled]) == 2
    assert "did you mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "current"),
    [
        ("--world-share=0.5", "--world-fraction=0.5"),
        ("--world_share", "--world-fraction"),
        ("--world", "--reference"),
        ("--steps", "--steps"),
        ("--out=--world", "--out=--world"),
        ("updates", "updates"),
    ],
)
def test_former_flags_are_accepted(argument: str, current: str) -> None:
    assert current_spelling([argument]) == [current]


@pytest.mark.parametrize("flag", RENAMED_FLAGS.values())
def test_every_former_flag_has_a_current_one(flag: str) -> None:
    modules = [command_module(name) for name in COMMANDS]
    classes = [cls for module in modules for cls in vars(module).values() if dataclasses.is_dataclass(cls)]
    assert any(field.name == flag[2:].replace("-", "_") for cls in classes for field in dataclasses.fields(cls))


def test_help_imports_no_command() -> None:
    code = "import sys; from worldsim.cli.main import main; main(['--help']); "
    code += "assert not {'tyro', 'rich', 'numpy', 'torch'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_of_commands_loads_no_torch_and_no_graphics() -> None:
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


def test_python_m_worldsim_runs_the_command() -> None:
    done = worldsim_process("--version")
    assert (done.returncode, done.stdout) == (0, f"worldsim {worldsim.__version__}\n")


def test_an_error_is_two_lines_on_stderr_and_an_exit_code() -> None:
    done = worldsim_process("rollouts")
    assert done.returncode == 2
    assert done.stderr == "error: no command 'rollouts'\nhint: did you mean 'rollout'?\n"
    assert done.stdout == ""


def test_without_a_command_help_is_shown_and_the_exit_code_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "COMMAND ..." in capsys.readouterr().out


def test_newlines_in_an_error_become_spaces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise ConfigError("two\nlines", hint="fix\n  them")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["play"]) == ConfigError.exit_code
    assert capsys.readouterr().err == "error: two lines\nhint: fix them\n"


def test_an_error_without_a_hint_has_no_hint_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise WorldsimError("no details")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["play"]) == 1
    assert capsys.readouterr().err == "error: no details\n"


def test_ctrl_c_exits_quietly_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupt)
    assert main(["play"]) == 130
    assert capsys.readouterr().err == ""


def test_invalid_arguments_exit_with_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["rollout", "maze", "--frames", "many"])
    assert caught.value.code == 2
