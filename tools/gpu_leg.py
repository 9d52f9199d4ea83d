"""One training leg of some minutes on a machine that is lent, from nothing but this tree.

python3 tools/gpu_leg.py train presets/memory-maze-scan/preset.toml --out "$OUT" --minutes 9 -- --init memory-maze-scan
python tools/gpu_leg.py join FOLDER runs/leg/preset

`train` installs the wheels of `wheels/` beside the installed packages, runs `worldsim train` with one rendering worker
per core but two, stops it in time, and writes to --out, flat: the weights as safetensors shards below 16 MiB,
preset.zip (everything else of the checkpoint), log.jsonl, the last sample sheet, leg.log and leg.json. `join` makes a
preset of them. Options after `--` go to `worldsim train`. On a machine that is still there, the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

STARTED_S = time.monotonic()
TREE = Path(__file__).resolve().parent.parent
SHARDS, ARCHIVE, SUMMARY, LOG = "weights-*.safetensors", "preset.zip", "leg.json", "leg.log"
WEIGHTS = "model.safetensors"
KILL_FRACTION = 0.25
"""Of the reserved time, what is left when a trainer that has not stopped is killed: enough to write the shards."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    leg = commands.add_parser("train", help="train until a deadline, and write shards")
    leg.add_argument("preset", type=Path, help="preset.toml")
    leg.add_argument("--out", type=Path, required=True, help="folder of the results")
    leg.add_argument("--stage", default="dynamics")
    leg.add_argument("--minutes", type=float, default=9.0, help="from the start of this command to its end")
    leg.add_argument("--reserve", type=float, default=45.0, help="seconds of them for the last checkpoint and shards")
    leg.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 2), help="rendering processes")
    leg.add_argument("--wheels", type=Path, default=TREE / "wheels")
    leg.add_argument("--run", type=Path, default=TREE / "runs" / "gpu-leg", help="run folder, kept for the next leg")
    back = commands.add_parser("join", help="shards to a preset")
    back.add_argument("folder", type=Path)
    back.add_argument("preset", type=Path)
    words = list(sys.argv[1:] if argv is None else argv)
    split = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:split])
    if arguments.command == "join":
        return join(arguments.folder, arguments.preset)
    return train(arguments, words[split + 1 :])


def train(arguments: argparse.Namespace, options: Sequence[str]) -> int:
    """`options`: those of `worldsim train`. Returns: 0 with a checkpoint, else the trainer's exit code, or 1."""
    out, end_s = arguments.out, STARTED_S + 60 * arguments.minutes
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOG).open("w", encoding="utf-8") as log:
        paths = [str(TREE), *install_wheels(arguments.wheels, arguments.run / "site", log)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
        stop_s = end_s - arguments.reserve
        command = [sys.executable, "-m", "worldsim", "train", str(arguments.preset), "--stage", arguments.stage]
        command += ["--minutes", f"{max(0.01, (stop_s - time.monotonic()) / 60):.3f}", "--from-start"]
        command += ["--set", f"data.num_workers={arguments.workers}", "--set", "data.take_ready=true"]
        command += ["--set", f"data.min_buffer_episodes={2 * arguments.workers}"]
        command += ["--out", str(arguments.run), *options]
        print(*command, file=log, flush=True)
        trainer = subprocess.Popen(command, env={**environment, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log)
        sys.path[:0] = paths
        import worldsim.training.checkpoint  # noqa: F401  # while the trainer runs: after it, seconds count

        code = wait_until(trainer, stop_s + 5, end_s - KILL_FRACTION * arguments.reserve)
    count = write_shards(arguments.run / arguments.stage, out)
    seconds = round(time.monotonic() - STARTED_S, 1)
    (out / SUMMARY).write_text(json.dumps({"shards": count, "exit_code": code, "seconds": seconds}), encoding="utf-8")
    print(*(out / LOG).read_text(encoding="utf-8").splitlines()[-12:], sep="\n")
    print(f"{count} shards in {out} after {seconds} s" if count else f"no checkpoint; see {out / LOG}")
    return 0 if count else code or 1


def install_wheels(wheels: Path, site: Path, log: TextIO) -> list[str]:
    """Installs what `wheels` has, without its dependencies. Returns: the folders to add to the import path."""
    found = sorted(str(path) for path in wheels.glob("*.whl"))
    if not found:
        return []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels)]
    options = ["--no-deps", "--no-compile", "--upgrade", "--target", str(site)]
    subprocess.run([*command, *options, *found], stdout=log, stderr=log, check=True)
    return [str(site)]


def wait_until(trainer: subprocess.Popen[bytes], stop_s: float, kill_s: float) -> int:
    """Stops the trainer at `stop_s`, which saves a checkpoint, and kills it at `kill_s`. Returns: its exit code."""
    for limit_s, number in ((stop_s, signal.SIGTERM), (kill_s, signal.SIGKILL)):
        try:
            return trainer.wait(timeout=max(0.0, limit_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            trainer.send_signal(number)
    return trainer.wait()


def write_shards(stage_folder: Path, out: Path) -> int:
    """The newest checkpoint, log and sample sheet of a run's stage. Returns: the number of shards, 0 without one."""
    last = stage_folder / "last"
    for log in stage_folder.glob("log.jsonl"):
        shutil.copy(log, out)
    for sheet in sorted(stage_folder.glob("samples/*.png"))[-1:]:
        shutil.copy(sheet, out / "samples.png")
    if not (last / WEIGHTS).exists():
        return 0
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    from worldsim.training.checkpoint import split_into_shards

    with safe_open(last / WEIGHTS, "pt") as stored:
        metadata = stored.metadata()
    shards = list(split_into_shards(load_file(last / WEIGHTS)))
    for old in out.glob(SHARDS):
        old.unlink()
    for number, shard in enumerate(shards):
        save_file(shard, out / SHARDS.replace("*", f"{number:05d}"), metadata)
    with zipfile.ZipFile(out / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(last.rglob("*")):
            if path.is_file() and path.name != WEIGHTS:
                archive.write(path, path.relative_to(last))
    return len(shards)


def join(folder: Path, preset: Path) -> int:
    """Writes a new preset folder. Returns: 0, or 1 if shards are missing or the folder exists."""
    sys.path.insert(0, str(TREE))
    from safetensors import safe_open
    from safetensors.torch import load_file
    from safetensors.torch import save as to_bytes

    from worldsim.presets.store import load_preset, with_sorted_header

    shards = sorted(folder.glob(SHARDS))
    expected = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["shards"]
    if len(shards) != expected or not shards or preset.exists():
        print(f"{len(shards)} of {expected} shards in {folder}" if not preset.exists() else f"{preset} exists")
        return 1
    with safe_open(shards[0], "pt") as stored:
        metadata = stored.metadata()
    with zipfile.ZipFile(folder / ARCHIVE) as archive:
        archive.extractall(preset)
    tensors = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    (preset / WEIGHTS).write_bytes(with_sorted_header(to_bytes(tensors), metadata))
    print(f"{load_preset(preset).config.title}: {preset}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
