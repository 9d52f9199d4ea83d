"""What is said beside the results says who says it."""

from __future__ import annotations

import pytest

from worldsim.core.log import say


def test_a_line_goes_to_stderr_and_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    say("drawing with opengl")
    assert capsys.readouterr() == ("", "worldsim: drawing with opengl\n")
