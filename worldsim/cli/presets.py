"""`worldsim presets ACTION ...`: what presets there are, here and on the Hub, and moving them between the two.

Each action is a dataclass of arguments and a function; no weights are loaded but by `verify` and `push`, which is in
`cli.push`.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from worldsim.cli.arguments import (
    DeviceOption,
    JsonOption,
    OfflineOption,
    PresetArgument,
    check_at_least,
    choose_device,
)
from worldsim.cli.push import PushArguments, push
from worldsim.cli.subcommands import CommandResult, Subcommands, run_subcommand, text_table
from worldsim.core.errors import UsageError, WorldsimError
from worldsim.presets.config import PresetConfig, read_config_json
from worldsim.presets.resolve import (
    CONFIG_FILE,
    HubRef,
    bundled_presets,
    locate_preset,
    resolve_preset,
)

if TYPE_CHECKING:
    from worldsim.presets.hub import PresetListing

HELP = "presets here and on the Hub: list, search, pull, show, verify, rm, push"


@dataclass(frozen=True, kw_only=True)
class ListArguments:
    json: JsonOption = None


@dataclass(frozen=True, kw_only=True)
class SearchArguments:
    words: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="WORDS")]] = None
    """Part of a name; every preset when left out."""
    limit: int = 20
    """At most so many."""
    json: JsonOption = None


@dataclass(frozen=True, kw_only=True)
class PresetArguments:
    preset: PresetArgument
    offline: OfflineOption = False
    json: JsonOption = None


@dataclass(frozen=True, kw_only=True)
class ShowArguments(PresetArguments):
    device: DeviceOption = "auto"
    """For which its speed is predicted."""


def run(argv: list[str]) -> int:
    return run_subcommand("presets", HELP, SUBCOMMANDS, argv)


def list_presets(arguments: ListArguments) -> CommandResult:
    from worldsim.presets import hub

    rows = [_row(name, "bundled", folder) for name, folder in bundled_presets().items()]
    for cached in hub.cached_presets():
        row = _row(cached.repo, "hub", cached.folder) | {"bytes": cached.num_bytes, "commit": cached.commit}
        if "error" not in row:  # the cache is shared: what cannot be read is another library's model
            rows.append(row)
    lines = [
        (row["ref"] + (f"@{row['commit'][:12]}" if row["commit"] else ""), row["kind"], _size(row), _title(row))
        for row in rows
    ]
    return CommandResult(text=text_table(lines) or "no presets", data={"presets": rows})


def search(arguments: SearchArguments) -> CommandResult:
    from worldsim.presets import hub

    check_at_least(arguments.limit, 1, "--limit")
    found = hub.search(arguments.words, arguments.limit)
    lines = [
        (row["ref"], f"{row['downloads']} downloads", f"{row['likes']} likes", row["updated"] or "") for row in found
    ]
    return CommandResult(text=text_table(lines) or "nothing found", data={"presets": found})


def pull(arguments: PresetArguments) -> CommandResult:
    location, commit = locate_preset(arguments.preset), None
    if isinstance(location, Path):
        folder, text = location, f"{arguments.preset} is on this machine: {location}"
    else:
        folder = _pull_from_hub(location, offline=arguments.offline)
        commit = folder.name
        text = f"{location.repo}@{commit} is in {folder}"
    from worldsim.presets.store import verify  # torch, which takes a second: only once there is something to verify

    verified = asdict(verify(folder))
    hashes = f"whole, sha256 {verified['sha256']}"
    data = {"ref": arguments.preset, "commit": commit, "folder": str(folder), **verified}
    return CommandResult(text=f"{text}\n{hashes}", data=data)


def show(arguments: ShowArguments) -> CommandResult:
    """Weights are not fetched: from the Hub comes the listing and config.json."""
    location = locate_preset(arguments.preset)
    facts: dict[str, Any] = {"ref": arguments.preset, "commit": None}
    if isinstance(location, HubRef):
        config, more = _remote_facts(location)
        facts |= more
    else:
        config, _ = read_config_json(location / CONFIG_FILE)
        facts |= {"folder": str(location), "bytes": _folder_bytes(location)}
    from worldsim.engine.bench.estimate import estimate_play  # torch: only once there is something to predict

    prediction = estimate_play(config, device=choose_device(arguments.device))
    height_px, width_px, _ = config.frame_shape
    facts |= {
        "name": config.name,
        "title": config.title,
        "picture": f"{width_px}x{height_px}",
        "world": config.world.kind,
        "inputs": [*config.action_spec.buttons, *config.action_spec.axes],
        "schema_version": config.schema_version,
        "ticks_per_s": config.play.ticks_per_s,
        "steps": config.play.num_steps,
        "weights": prediction.num_weights,
        "predicted_frames_per_s": prediction.frames_per_s,
        "predicted_memory_bytes": prediction.memory_bytes,
        "predicted_reason": prediction.reason,
    }
    return CommandResult(
        text=text_table((k.replace("_", " "), _format_value(v)) for k, v in facts.items() if v), data=facts
    )


def verify_preset(arguments: PresetArguments) -> CommandResult:
    from worldsim.presets.store import verify

    verified = verify(resolve_preset(arguments.preset))
    compared = ", ".join(verified.hashes) or "none stored"
    text = (
        f"{arguments.preset} is whole: {verified.num_tensors} tensors, {verified.num_starts} starts, "
        f"{verified.num_bytes / 1e6:.1f} MB; hashes compared: {compared}\nsha256 {verified.sha256}"
    )
    return CommandResult(text=text, data={"ref": arguments.preset, **asdict(verified)})


def remove(arguments: PresetArguments) -> CommandResult:
    from worldsim.presets import hub

    location = locate_preset(arguments.preset)
    if isinstance(location, Path):
        raise UsageError(
            f"{arguments.preset} is {location}; rm removes from the Hub's cache only", hint="give user/repo[@revision]"
        )
    commits, freed_bytes = hub.remove(location)
    removed = ", ".join(f"{location.repo}@{commit[:12]}" for commit in commits)
    return CommandResult(
        text=f"removed from the cache: {removed}; {freed_bytes / 1e6:.1f} MB freed",
        data={"ref": arguments.preset, "commits": commits, "freed_bytes": freed_bytes},
    )


SUBCOMMANDS: Subcommands = {
    "list": (ListArguments, list_presets, "presets on this machine: bundled, and fetched from the Hub"),
    "search": (SearchArguments, search, "find presets on the Hub"),
    "pull": (PresetArguments, pull, "fetch a preset's newest commit, or the revision given, and verify it"),
    "show": (ShowArguments, show, "what a preset is and how it will play here, before its weights are fetched"),
    "verify": (PresetArguments, verify_preset, "check every file of a preset: config, tensors, hashes, starts"),
    "rm": (PresetArguments, remove, "remove a fetched preset from the Hub's cache"),
    "push": (PushArguments, push, "upload a preset with its card to the Hub, or open a pull request"),
}


def _pull_from_hub(ref: HubRef, *, offline: bool) -> Path:
    """The newest commit; offline, the one that is here."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    from worldsim.presets import hub

    if HF_HUB_OFFLINE or offline:
        return resolve_preset(str(ref))
    listing = hub.list_files(ref)
    rows = ((f"  {file.name}", f"{file.num_bytes / 1e6:.1f} MB") for file in listing.files)
    print(f"{ref.repo}@{listing.commit}\n{text_table(rows)}", file=sys.stderr)
    return hub.download(listing)


def _remote_facts(ref: HubRef) -> tuple[PresetConfig, dict[str, Any]]:
    from worldsim.presets import hub

    folder = hub.cached_folder(ref)
    if folder is not None:
        more = {"folder": str(folder), "bytes": _folder_bytes(folder), "commit": folder.name}
        return read_config_json(folder / CONFIG_FILE)[0], more
    listing: PresetListing = hub.list_files(ref)
    config, _ = read_config_json(hub.download_config(listing))
    return config, {"page": hub.page_url(ref.repo), "bytes": listing.num_bytes, "commit": listing.commit}


def _row(ref: str, kind: str, folder: Path) -> dict[str, Any]:
    row = {"ref": ref, "kind": kind, "folder": str(folder), "commit": None, "bytes": _folder_bytes(folder)}
    try:
        config, _ = read_config_json(folder / CONFIG_FILE)
    except WorldsimError as error:
        return row | {"error": error.message}
    return row | {"name": config.name, "title": config.title}


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _size(row: dict[str, Any]) -> str:
    return f"{row['bytes'] / 1e6:.1f} MB"


def _title(row: dict[str, Any]) -> str:
    return str(row["title"]) if "title" in row else f"does not load: {row['error']}"


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return ", ".join(value) if isinstance(value, list) else str(value)
