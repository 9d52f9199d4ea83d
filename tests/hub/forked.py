"""Runs worldsim in forks of this process, which has imported torch once: that costs seconds, and every test needs it.

A line of JSON on standard input starts one, a line on standard output is its exit code. A fork takes its environment
before the Hub's client is imported, which reads it then: to the client it is a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any

import worldsim.engine.replay
import worldsim.engine.simulator
import worldsim.presets.store  # noqa: F401  # what every command loads
from worldsim.cli.main import COMMANDS, command_module, main

MAX_S = 120


def serve() -> None:
    for name in COMMANDS:
        command_module(name)
    assert "huggingface_hub" not in sys.modules, "it would keep the environment of this process"
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = run(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # without a second spent on taking torch apart
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(wanted: dict[str, Any]) -> int:
    signal.alarm(MAX_S)
    for number, path in ((0, os.devnull), (1, wanted["stdout"]), (2, wanted["stderr"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    if wanted["max_file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted["max_file_bytes"],) * 2)
    return main(wanted["arguments"])


if __name__ == "__main__":
    serve()
