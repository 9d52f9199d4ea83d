"""Log records of a command: one line each on stderr, with the program's name."""

from __future__ import annotations

import logging

import pytest

from worldsim.cli.main import setup_logging


def test_record_is_one_line_on_stderr_that_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    setup_logging()
    logging.getLogger("worldsim.app.renderer").info("renderer: %s", "opengl")
    assert capsys.readouterr() == ("", "worldsim: renderer: opengl\n")


def test_warnings_name_their_level(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    logging.getLogger("worldsim.engine").warning("out of memory")
    assert capsys.readouterr().err == "worldsim: warning: out of memory\n"


def test_long_line_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    path = "/".join(["folder"] * 40)
    logging.getLogger("worldsim").info(path)
    assert capsys.readouterr().err == f"worldsim: {path}\n"


def test_debug_records_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    logging.getLogger("worldsim").debug("details")
    assert capsys.readouterr().err == ""
