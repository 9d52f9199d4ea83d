"""Mutates a tiny preset, a given number of times, and reads each with `verify`, `load_preset` and one frame of play.

`PYTHONPATH=. python tests/presets/fuzz.py SEED COUNT` prints one JSON object: what the cases ended in, the slowest,
peak memory, and every case that ended in anything but a preset or a WorldsimError. It bounds its own memory, so run it
in a process of its own. A case depends on (SEED, its number) alone.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from tests.presets.stored import stored_preset
from worldsim.core.errors import WorldsimError
from worldsim.core.types import NO_ACTION
from worldsim.engine.simulator import Simulator
from worldsim.presets.store import load_preset, verify

LIMIT_S = 20
"""A case that takes longer hangs. The machine may be busy; the slowest is reported."""
MEMORY_BYTES = 2**30
"""What a case may take beyond what the program has before the first."""

CONFIG, WEIGHTS, START = "config.json", "model.safetensors", "start/00.safetensors"
T = TypeVar("T")
Files = dict[str, bytes]
Mutation = Callable[[random.Random, Files], None]

VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 7, 16, 64, 255, 10**3, 10**6, 10**9, 2**31, 2**63, 2**64, 10**30, 10**400),
    *(0.5, -0.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"), True, False, None),
    *(
        "",
        "x" * 100_000,
        "\ud800",
        "\x1b[2J\n",
        "../../etc/passwd",
        "sequence",
        "map",
        "mapped",
        "fixed",
        "spatial",
        "none",
    ),
    *([], {}, [[]], [0] * 1000, [10**9], [[0, 0]] * 200, [[-1, 1]], [[7, 5]], {"a": 1}, [32, 32]),
)
HEADER_VALUES: tuple[Any, ...] = (*VALUES, "F64", "F16", "I64", "U8", "F8_E4M3", [-1], [2**62, 2**62], [1.5], [10**400])


def change_config(rng: random.Random, files: Files) -> None:
    _edit_config(rng, files, lambda parent, key: parent.__setitem__(key, rng.choice(VALUES)))


def scale_config(rng: random.Random, files: Files) -> None:
    def scale(parent: Any, key: Any) -> None:
        if isinstance(parent[key], (int, float)):
            parent[key] *= rng.choice((-1, 2, 3, 6, 12, 1000, 10**7))

    _edit_config(rng, files, scale)


def drop_from_config(rng: random.Random, files: Files) -> None:
    _edit_config(rng, files, lambda parent, key: parent.pop(key))


def add_to_config(rng: random.Random, files: Files) -> None:
    def add(parent: Any, key: Any) -> None:
        if isinstance(parent, dict):
            parent[f"{key}{rng.choice(('', '_', '/../', chr(0)))}x"] = rng.choice(VALUES)
        else:
            parent.append(rng.choice(VALUES))

    _edit_config(rng, files, add)


def garble_config(rng: random.Random, files: Files) -> None:
    text = files[CONFIG]
    deep = b"[" * rng.choice((50, 900, 20_000, 200_000))
    files[CONFIG] = rng.choice(
        (
            *(
                b"",
                b"[]",
                b"null",
                b"1e999",
                deep,
                b'{"a":' * 50_000,
                b"\xff\xfe" + text,
                text.decode(errors="replace").encode("utf-16"),
            ),
            *(text[: rng.randrange(len(text) + 1)], text * 2, text + b" " * 300_000, b'{"name": "x", "name": "y"}'),
            text.replace(b"192", deep + b"]" * len(deep), 1),
            text.replace(b"192", rng.choice((b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"0x10", b"1_000")), 1),
            text.replace(b'"width"', rng.choice((b'"patch"', b'"width": 24, "width"')), 1),
        )
    )


def flip(rng: random.Random, files: Files) -> None:
    name = rng.choice((CONFIG, WEIGHTS, START))
    content = bytearray(files[name])
    low = rng.choice((0, len(content) // 2))
    high = rng.choice((9, 200, 4000, len(content)))
    for _ in range(rng.choice((1, 1, 2, 10, 1000))):
        if content:
            content[rng.randrange(min(low, high - 1), high) % len(content)] ^= 1 << rng.randrange(8)
    files[name] = bytes(content)


def cut(rng: random.Random, files: Files) -> None:
    name = rng.choice((WEIGHTS, START))
    content = files[name]
    at = rng.choice((0, 1, 7, 8, 9, 100, rng.randrange(len(content) + 1), len(content) - 1))
    files[name] = rng.choice((content[:at], content + bytes(at), content[at:], b"PK\x03\x04" + content))


def lie_about_the_header(rng: random.Random, files: Files) -> None:
    name = rng.choice((WEIGHTS, START))
    length = int.from_bytes(files[name][:8], "little")
    told = rng.choice((0, 1, length - 1, length + 1, length + 8, len(files[name]), 10**8, 2**32, 2**63, 2**64 - 1))
    files[name] = max(told, 0).to_bytes(8, "little") + files[name][8:]


def change_header(rng: random.Random, files: Files) -> None:
    def change(header: dict[str, Any]) -> None:
        entry = header[rng.choice(list(header))]
        key = rng.choice(list(entry) or ["dtype"])
        if isinstance(entry.get(key), list) and entry[key] and rng.random() < 0.7:
            entry[key][rng.randrange(len(entry[key]))] = rng.choice(HEADER_VALUES)
        else:
            entry[key] = rng.choice(HEADER_VALUES)

    _edit_header(rng, files, change)


def change_tensors(rng: random.Random, files: Files) -> None:
    def change(header: dict[str, Any]) -> None:
        one, other = rng.choice(list(header)), rng.choice(list(header))
        rng.choice(
            (
                lambda: header.pop(one),
                lambda: header.update({one + rng.choice(("x", "\n", "/../")): dict(header[other])}),
                lambda: header.update({one: header[other], other: header[one]}),
                lambda: header.update({one: rng.choice(HEADER_VALUES)}),
                lambda: header.update({f"x{i}": header[other] for i in range(20_000)}),
                header.clear,
            )
        )()

    _edit_header(rng, files, change)


def change_metadata(rng: random.Random, files: Files) -> None:
    key = rng.choice(("schema_version", "config_sha256", "data_sha256", "title"))
    value = rng.choice(("", "0", "-1", "2", "\uff11", "9" * 5000, "0" * 64, "\x1b[2J", 1, None, [], {"a": "b"}))
    _edit_header(rng, files, lambda header: header.setdefault("__metadata__", {}).__setitem__(key, value))


def garble_header(rng: random.Random, files: Files) -> None:
    name = rng.choice((WEIGHTS, START))
    length = int.from_bytes(files[name][:8], "little")
    header, data = files[name][8 : 8 + length], files[name][8 + length :]
    header = rng.choice(
        (
            *(b"[" * 100_000, b'{"a":' * 50_000, b"", b"{}", b"[]", b"\xff" * 64, header[:-1] + b"\x00", header[1:]),
            *(header.replace(b'"shape"', b'"dtype"', 1), header.replace(b"[", b"[" * 2000, 1)),
            b" " * (2**22 + 1) + header,
            b'{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},' + header[1:],
            header[: rng.randrange(length + 1)],
        )
    )
    files[name] = len(header).to_bytes(8, "little") + header + data


def fill_data(rng: random.Random, files: Files) -> None:
    name = rng.choice((WEIGHTS, START))
    length = int.from_bytes(files[name][:8], "little")
    data_bytes = max(0, len(files[name]) - 8 - length)
    files[name] = files[name][: 8 + length] + rng.choice((b"\xff", b"\x7f", b"\x00")) * data_bytes


def forget_hashes(rng: random.Random, files: Files) -> None:
    """A writer of hostile presets gets these right; here they are left out."""

    def forget(header: dict[str, Any]) -> None:
        header["__metadata__"] = {"schema_version": "1"}

    _edit_header(rng, files, forget, WEIGHTS)


MUTATIONS: tuple[Mutation, ...] = (
    *(change_config, change_config, scale_config, drop_from_config, add_to_config, garble_config, flip, cut),
    *(lie_about_the_header, change_header, change_header, change_tensors, change_metadata, garble_header, fill_data),
)


def damage_folder(rng: random.Random, folder: Path) -> None:
    """What is wrong with the files as files."""
    path = folder / rng.choice((CONFIG, WEIGHTS, START, "start"))
    aside = folder.parent / "aside"
    if aside.exists():
        shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    path.rename(aside)
    rng.choice(
        (
            lambda: None,
            path.mkdir,
            lambda: os.mkfifo(path),
            lambda: path.symlink_to(aside),
            lambda: path.symlink_to(path),
            lambda: path.symlink_to("/dev/zero"),
            lambda: path.symlink_to("/etc"),
            lambda: path.touch(),
            lambda: aside.rename(path.with_name("pytorch_model.bin")),
        )
    )()


def write_case(seed: int, number: int, source: Files, folder: Path) -> None:
    rng = random.Random(f"{seed}/{number}")
    files = dict(source)
    if rng.random() < 0.6:
        forget_hashes(rng, files)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(MUTATIONS)(rng, files)
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if rng.random() < 0.08:
        damage_folder(rng, folder)


def read_case(folder: Path) -> str:
    """What came of it. Raises: whatever should not happen."""
    verified, loaded = _result(lambda: verify(folder)), _result(lambda: load_preset(folder))
    if isinstance(loaded, WorldsimError):
        same = isinstance(verified, WorldsimError) and verified.message == loaded.message
        assert same, f"loading ends in {loaded.message}, verify in {verified}"
        assert loaded.hint and loaded.message.isprintable() and len(loaded.message) < 1000, loaded.message[:1000]
        return type(loaded).__name__
    assert not isinstance(verified, WorldsimError), f"it loads, and verify ends in {verified}"
    assert verified.sha256 == loaded.sha256
    simulator = Simulator(loaded)
    simulator.reset(0)
    step = _result(lambda: simulator.step(NO_ACTION))
    return f"loads, {type(step).__name__} at play" if isinstance(step, WorldsimError) else "plays"


def _result(work: Callable[[], T]) -> T | WorldsimError:
    try:
        return work()
    except WorldsimError as error:
        return error


def fuzz(seed: int, count: int) -> dict[str, Any]:
    source = {name: (stored_preset(1) / name).read_bytes() for name in (CONFIG, WEIGHTS, START)}
    outcomes: Counter[str] = Counter()
    failures, slowest = [], (0.0, -1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "preset"
        write_case(seed, 0, source, folder)
        load_preset(stored_preset(1))  # what the libraries load at first use is not the case's
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _bound_memory()
        for number in range(count):
            write_case(seed, number, source, folder)
            begun_s = time.perf_counter()
            signal.alarm(LIMIT_S)
            try:
                outcomes[read_case(folder)] += 1
            except (Exception, MemoryError, _TooSlowError) as error:
                failures.append({"case": number, "error": f"{type(error).__name__}: {str(error)[:500]}"})
            finally:
                signal.alarm(0)
            slowest = max(slowest, (time.perf_counter() - begun_s, number))
    return {
        "cases": count,
        "outcomes": dict(outcomes),
        "failures": failures,
        "slowest_s": slowest[0],
        "slowest_case": slowest[1],
        "peak_growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1e3,
    }


class _TooSlowError(BaseException):
    """Not an Exception: nothing in the package may swallow it."""


def _bound_memory() -> None:
    def too_slow(_: int, __: FrameType | None) -> None:
        raise _TooSlowError

    signal.signal(signal.SIGALRM, too_slow)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit_bytes = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def _edit_config(rng: random.Random, files: Files, edit: Callable[[Any, Any], Any]) -> None:
    try:
        config = json.loads(files[CONFIG])
    except (ValueError, RecursionError):
        return
    places: list[tuple[Any, Any]] = []
    stack = [config]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        places += [(node, key) for key in keys]
        stack += [node[key] for key in keys]
    if places:
        edit(*rng.choice(places))
    files[CONFIG] = json.dumps(config).encode()


def _edit_header(
    rng: random.Random, files: Files, edit: Callable[[dict[str, Any]], Any], name: str | None = None
) -> None:
    name = name or rng.choice((WEIGHTS, WEIGHTS, START))
    length = int.from_bytes(files[name][:8], "little")
    try:
        header = json.loads(files[name][8 : 8 + length])
        edit(header)
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError, IndexError):
        return  # damaged already, by the mutation before
    text = json.dumps(header).encode()
    files[name] = len(text).to_bytes(8, "little") + text + files[name][8 + length :]


if __name__ == "__main__":
    print(json.dumps(fuzz(int(sys.argv[1]), int(sys.argv[2])), indent=1))
