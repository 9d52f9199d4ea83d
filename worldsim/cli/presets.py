"""`worldsim presets`: presets on this machine and on the Hub.

Only `verify`, `pull` and `push` read weights.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from worldsim.cli.arguments import (
    DeviceOption,
    Flag,
    JsonOption,
    OfflineOption,
    PresetArgument,
    check_at_least,
    option,
)
from worldsim.cli.output import CommandResult, Progress, Subcommand, run_subcommand, text_table
from worldsim.core.devices import choose_device
from worldsim.core.errors import PresetError, UsageError, WorldsimError
from worldsim.models.config import describe_model
from worldsim.presets.card import SAMPLE_CLIP, SAMPLE_SHEET, card_on_hub, model_card
from worldsim.presets.config import PresetConfig, read_config_json
from worldsim.presets.resolve import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    HubRef,
    bundled_presets,
    locate_preset,
    resolve_preset,
)
from worldsim.presets.safe_io import read_header

if TYPE_CHECKING:
    from worldsim.presets.hub import PresetListing


@dataclass(frozen=True, kw_only=True)
class ListPresets:
    """List the presets on this machine: bundled, and downloaded from the Hub."""

    json: JsonOption = None

    def run(self) -> CommandResult:
        from worldsim.presets import hub

        rows = [_preset_row(name, "bundled", folder) for name, folder in bundled_presets().items()]
        for cached in hub.cached_presets():
            row = _preset_row(cached.repo, "hub", cached.folder) | {"bytes": cached.num_bytes, "commit": cached.commit}
            if "error" not in row:  # the cache is shared: what cannot be read is another library's model
                rows.append(row)
        lines = [(_pinned_ref(row), row["kind"], f"{row['bytes'] / 1e6:.1f} MB", _title(row)) for row in rows]
        return CommandResult(text=text_table(lines, align="llr") or "no presets", data={"presets": rows})


@dataclass(frozen=True, kw_only=True)
class SearchPresets:
    """Search for presets on the Hub."""

    words: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="[WORDS]", help_behavior_hint="")]] = None
    """Part of a name. Without it, all presets are listed."""
    limit: int = 20
    """Maximum number of results."""
    json: JsonOption = None

    def run(self) -> CommandResult:
        from worldsim.presets import hub

        check_at_least(self.limit, 1, "--limit")
        found = hub.search(self.words, self.limit)
        lines = [
            (row["ref"], f"{row['downloads']} downloads", f"{row['likes']} likes", row["updated"] or "")
            for row in found
        ]
        return CommandResult(text=text_table(lines, align="lrr") or "no presets found", data={"presets": found})


@dataclass(frozen=True, kw_only=True)
class PullPreset:
    """Download a preset's latest commit, or the given revision, and verify it."""

    preset: PresetArgument
    offline: OfflineOption = False
    json: JsonOption = None

    def run(self) -> CommandResult:
        location, commit = locate_preset(self.preset), None
        if isinstance(location, Path):
            folder, text = location, f"{self.preset} is a local folder: {location}"
        else:
            folder = _download(location, offline=self.offline)
            commit = folder.name
            text = f"{location.repo}@{commit} is in {folder}"
        from worldsim.presets.store import verify  # loads torch, which takes a second: after errors of the download

        verified = asdict(verify(folder))
        data = {"ref": self.preset, "commit": commit, "folder": str(folder), **verified}
        return CommandResult(text=f"{text}\nvalid, sha256 {verified['sha256']}", data=data)


@dataclass(frozen=True, kw_only=True)
class ShowPreset:
    """Show metadata and estimated speed without downloading weights."""

    preset: PresetArgument
    device: DeviceOption = "auto"
    offline: OfflineOption = False
    json: JsonOption = None

    def run(self) -> CommandResult:
        location = locate_preset(self.preset)
        facts: dict[str, Any] = {"ref": self.preset, "commit": None}
        if isinstance(location, HubRef):
            config, more = _hub_facts(location)
            facts |= more
        else:
            config, _ = read_config_json(location / CONFIG_FILE)
            facts |= {"folder": str(location), "bytes": _folder_bytes(location)}
        from worldsim.engine.estimate import estimate_play  # loads torch

        estimate = estimate_play(config, device=choose_device(self.device))
        height_px, width_px, _ = config.frame_shape
        facts |= {
            "name": config.name,
            "title": config.title,
            "picture": f"{width_px}x{height_px}",
            "model": describe_model(config.model),
            "world": config.world.kind,
            "inputs": [*config.action_spec.buttons, *config.action_spec.axes],
            "schema_version": config.schema_version,
            "ticks_per_s": config.play.ticks_per_s,
            "steps": config.play.num_steps,
            "weights": estimate.num_weights,
            "predicted_frames_per_s": estimate.frames_per_s,
            "predicted_memory_bytes": estimate.memory_bytes,
            "predicted_reason": estimate.reason,
        }
        text = text_table(
            (_LABELS.get(key, key), _format_value(value, is_size=key in _SIZES))
            for key, value in facts.items()
            if value
        )
        return CommandResult(text=text, data=facts)


_LABELS = {
    "bytes": "size on disk",
    "picture": "frame size",
    "schema_version": "schema version",
    "ticks_per_s": "ticks/s",
    "steps": "denoising steps",
    "weights": "parameters",
    "predicted_frames_per_s": "estimated frames/s",
    "predicted_memory_bytes": "estimated memory",
    "predicted_reason": "estimate",
}
"""JSON key to its label in the text, where they differ."""
_SIZES = ("bytes", "predicted_memory_bytes")
"""JSON keys of sizes, which the text shows in MB."""


@dataclass(frozen=True, kw_only=True)
class VerifyPreset:
    """Check every file of a preset: config, tensors, checksums, starts."""

    preset: PresetArgument
    offline: OfflineOption = False
    json: JsonOption = None

    def run(self) -> CommandResult:
        from worldsim.presets.store import verify

        verified = verify(resolve_preset(self.preset))
        counts = f"{verified.num_tensors} tensors, {verified.num_starts} starts, {verified.num_bytes / 1e6:.1f} MB"
        checksums = ", ".join(verified.hashes) or "none stored"
        text = f"{self.preset} is valid: {counts}; checksums verified: {checksums}\nsha256 {verified.sha256}"
        return CommandResult(text=text, data={"ref": self.preset, **asdict(verified)})


@dataclass(frozen=True, kw_only=True)
class RemovePreset:
    """Delete a downloaded preset from the Hub's cache."""

    preset: PresetArgument
    offline: OfflineOption = False
    json: JsonOption = None

    def run(self) -> CommandResult:
        from worldsim.presets import hub

        location = locate_preset(self.preset)
        if isinstance(location, Path):
            message = f"{self.preset} is the folder {location}; rm deletes from the Hub's cache only"
            raise UsageError(message, hint="give user/repo[@revision]")
        commits, freed_bytes = hub.remove(location)
        removed = ", ".join(f"{location.repo}@{commit[:12]}" for commit in commits)
        text = f"removed from the cache: {removed}; {freed_bytes / 1e6:.1f} MB freed"
        data = {"ref": self.preset, "commits": commits, "freed_bytes": freed_bytes}
        return CommandResult(text=text, data=data)


@dataclass(frozen=True, kw_only=True)
class PushPreset:
    """Upload a preset with its model card to the Hub, or open a pull request. Prints an upload plan first."""

    preset: PresetArgument
    repo: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="USER/REPO")]]
    """Target repository (created if missing)."""
    dry_run: Flag = False
    """Print the upload plan and the card without uploading."""
    create_pr: Flag = False
    """Open a pull request instead of committing to the main branch."""
    private: Flag = False
    """Make the repository private if it is created."""
    scores: Annotated[Path | None, option("FILE")] = None
    """Results of `worldsim eval PRESET --json FILE`, for the card."""
    log: Annotated[Path | None, option("FILE")] = None
    """log.jsonl of the training run, for a summary in the card."""
    sample: Annotated[int, option("N")] = 150
    """Frames of the sample clip and contact sheet; 0 uploads none."""
    message: str = "Upload preset"
    """Commit message."""
    offline: OfflineOption = False
    json: JsonOption = None

    def run(self) -> CommandResult:
        from worldsim.presets import hub

        check_at_least(self.sample, 0, "--sample")
        target = locate_preset(self.repo) if "/" in self.repo else None
        if not isinstance(target, HubRef) or target.revision:
            raise UsageError(f"{self.repo!r} is not a repository on the Hub", hint="user/repo, without a revision")
        folder = resolve_preset(self.preset)
        card = _card(folder, self)
        hub.check_can_push(needs_token=not self.dry_run)
        with TemporaryDirectory(prefix="worldsim-") as temporary:
            sample = _sample(folder, self, Path(temporary)) if self.sample else {}
            plan = hub.plan_upload(folder, card, sample, self.repo, as_pull_request=self.create_pr)
            print(plan.text, file=sys.stderr)
            data = {
                "repo": plan.repo,
                "page": plan.page_url,
                "is_new": plan.is_new,
                "pull_request": plan.as_pull_request,
                "files": plan.sizes,
                "deleted": list(plan.deleted),
                "dry_run": self.dry_run,
            }
            if self.dry_run:
                return CommandResult(text=f"{card}\nnothing was uploaded (--dry-run)", data=data | {"card": card})
            done = hub.upload(plan, message=self.message, private=self.private)
        url = done["pull_request_url"] or done["commit_url"]
        return CommandResult(text=f"pushed: {url}\nworldsim play {plan.repo}", data=data | done)


SUBCOMMANDS: dict[str, type[Subcommand]] = {
    "list": ListPresets,
    "search": SearchPresets,
    "pull": PullPreset,
    "show": ShowPreset,
    "verify": VerifyPreset,
    "rm": RemovePreset,
    "push": PushPreset,
}


def run(argv: Sequence[str]) -> int:
    return run_subcommand(SUBCOMMANDS, argv, command="presets")


def _download(ref: HubRef, *, offline: bool) -> Path:
    """The latest commit, or the cached one if offline. Side effects: lists the files on stderr first."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    from worldsim.presets import hub

    if HF_HUB_OFFLINE or offline:
        return resolve_preset(str(ref))
    listing = hub.list_files(ref)
    rows = ((f"  {file.name}", f"{file.num_bytes / 1e6:.1f} MB") for file in listing.files)
    print(f"{ref.repo}@{listing.commit}\n{text_table(rows, align='lr')}", file=sys.stderr)
    return hub.download(listing)


def _hub_facts(ref: HubRef) -> tuple[PresetConfig, dict[str, Any]]:
    """From the cache if the preset is there, otherwise from the file listing and config.json."""
    from worldsim.presets import hub

    folder = hub.cached_folder(ref)
    if folder is not None:
        more = {"folder": str(folder), "bytes": _folder_bytes(folder), "commit": folder.name}
        return read_config_json(folder / CONFIG_FILE)[0], more
    from worldsim.presets.hub_errors import page_url

    listing: PresetListing = hub.list_files(ref)
    config, _ = read_config_json(hub.download_config(listing))
    return config, {"page": page_url(ref.repo), "bytes": listing.num_bytes, "commit": listing.commit}


def _card(folder: Path, arguments: PushPreset) -> str:
    """A card generated from the measurements. Without new ones, the stored card with its repository updated.

    Raises: PresetError if the preset is damaged, or if the scores were measured on other weights.
    """
    from worldsim.presets.store import verify

    verified = verify(folder)
    config, _ = read_config_json(folder / CONFIG_FILE)
    stored = folder / CARD_FILE
    if arguments.scores is None and arguments.log is None and stored.is_file():
        card = stored.read_text(encoding="utf-8")
    else:
        scores = _read_rows(arguments.scores, lines=False)[0] if arguments.scores else None
        if scores is not None and not verified.generates_frames_of(str(scores.get("preset_sha256"))):
            raise PresetError(
                f"{arguments.scores} was measured on other weights",
                hint=f"worldsim eval {arguments.preset} --json FILE",
            )
        log = _read_rows(arguments.log, lines=True) if arguments.log else []
        card = model_card(config, read_header(folder / WEIGHTS_FILE).metadata, scores, log=log)
    return card_on_hub(card, config, arguments.repo, sample_frames=arguments.sample)


def _sample(folder: Path, arguments: PushPreset, into: Path) -> dict[str, Path]:
    """A clip generated by `worldsim rollout` and a contact sheet of its frames. Returns: name to file."""
    from worldsim.cli.rollout import RolloutArguments, rollout
    from worldsim.evaluation.contact_sheet import clip_sections, write_sheet

    files = {SAMPLE_CLIP: into / SAMPLE_CLIP, SAMPLE_SHEET: into / SAMPLE_SHEET}
    options = RolloutArguments(preset=str(folder), frames=arguments.sample, out=files[SAMPLE_CLIP])
    with Progress(options.frames, f"sample of {arguments.preset}", None) as progress:
        rollout(options, progress)
    config, _ = read_config_json(folder / CONFIG_FILE)
    write_sheet(files[SAMPLE_SHEET], clip_sections(files[SAMPLE_CLIP], config.frame_shape))
    return files


def _read_rows(path: Path, *, lines: bool) -> list[dict[str, Any]]:
    """JSON objects of a file: one, or one per line. Raises: UsageError."""
    try:
        text = path.read_text(encoding="utf-8")
        rows = [json.loads(part) for part in (text.splitlines() if lines else [text])]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="use a file written by worldsim") from None
    if not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path} does not hold JSON objects", hint="use a file written by worldsim")
    return rows


def _preset_row(ref: str, kind: str, folder: Path) -> dict[str, Any]:
    row = {"ref": ref, "kind": kind, "folder": str(folder), "commit": None, "bytes": _folder_bytes(folder)}
    try:
        config, _ = read_config_json(folder / CONFIG_FILE)
    except WorldsimError as error:
        return row | {"error": error.message}
    return row | {"name": config.name, "title": config.title}


def _pinned_ref(row: dict[str, Any]) -> str:
    return row["ref"] + (f"@{row['commit'][:12]}" if row["commit"] else "")


def _title(row: dict[str, Any]) -> str:
    return str(row["title"]) if "title" in row else f"does not load: {row['error']}"


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _format_value(value: Any, *, is_size: bool = False) -> str:
    if is_size:
        return f"{value / 1e6:.1f} MB"
    if isinstance(value, float):
        return f"{value:.1f}"
    return ", ".join(value) if isinstance(value, list) else str(value)
