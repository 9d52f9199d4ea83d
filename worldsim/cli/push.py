"""`worldsim presets push`: a preset to the Hub, with a card and a sample made of what was measured.

Owns: what goes up, and that it is said first. Does not own: the card's words (`presets.card`), the way up
(`presets.hub`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import tyro

from worldsim.cli.arguments import JsonOption, OfflineOption, PresetArgument, check_at_least
from worldsim.cli.output import Progress
from worldsim.cli.subcommands import CommandResult
from worldsim.core.errors import PresetError, UsageError
from worldsim.presets.card import SAMPLE_CLIP, SAMPLE_SHEET, card_on_hub, model_card
from worldsim.presets.config import read_config_json
from worldsim.presets.resolve import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, HubRef, locate_preset, resolve_preset
from worldsim.presets.safe_io import read_header


@dataclass(frozen=True, kw_only=True)
class PushArguments:
    preset: PresetArgument
    repo: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="USER/REPO")]]
    """Where to; made when it is not there."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Say what would be uploaded and where, print the card, and upload nothing."""
    create_pr: tyro.conf.FlagCreatePairsOff[bool] = False
    """Open a pull request instead of writing to the main branch."""
    private: tyro.conf.FlagCreatePairsOff[bool] = False
    """A repository that is made for it is private."""
    scores: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """What `worldsim eval PRESET --json FILE` wrote; goes into the card."""
    log: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The log.jsonl of the training run; a summary goes into the card."""
    sample: Annotated[int, tyro.conf.arg(metavar="N")] = 150
    """Frames of a walk that go up as a clip and as a contact sheet; 0 is none."""
    message: str = "Preset of worldsim"
    """Of the commit."""
    offline: OfflineOption = False
    json: JsonOption = None


def push(arguments: PushArguments) -> CommandResult:
    from worldsim.presets import hub

    check_at_least(arguments.sample, 0, "--sample")
    target = locate_preset(arguments.repo) if "/" in arguments.repo else None
    if not isinstance(target, HubRef) or target.revision:
        raise UsageError(f"{arguments.repo!r} is not a repository on the Hub", hint="user/repo, without a revision")
    folder = resolve_preset(arguments.preset)
    card = _card(folder, arguments)
    hub.check_can_push(needs_token=not arguments.dry_run)
    with TemporaryDirectory(prefix="worldsim-") as temporary:
        sample = _sample(folder, arguments, Path(temporary)) if arguments.sample else {}
        plan = hub.plan_upload(folder, card, sample, arguments.repo, as_pull_request=arguments.create_pr)
        print(plan.text, file=sys.stderr)
        data = {
            "repo": plan.repo,
            "page": plan.page_url,
            "is_new": plan.is_new,
            "pull_request": plan.as_pull_request,
            "files": plan.sizes,
            "deleted": list(plan.deleted),
            "dry_run": arguments.dry_run,
        }
        if arguments.dry_run:
            return CommandResult(text=f"{card}\nnothing was uploaded (--dry-run)", data=data | {"card": card})
        done = hub.upload(plan, message=arguments.message, private=arguments.private)
    where = done["pull_request_url"] or done["commit_url"]
    return CommandResult(text=f"pushed: {where}\nworldsim play {plan.repo}", data=data | done)


def _card(folder: Path, arguments: PushArguments) -> str:
    """Built anew from what was measured; without new scores, the card that is there with its address put right.

    Raises: PresetError when the preset is not whole, or when the scores are those of other weights.
    """
    from worldsim.presets.store import verify

    verified = verify(folder)
    config, _ = read_config_json(folder / CONFIG_FILE)
    stored = folder / CARD_FILE
    if arguments.scores is None and arguments.log is None and stored.is_file():
        card = stored.read_text(encoding="utf-8")
    else:
        scores = _read_rows(arguments.scores, lines=False)[0] if arguments.scores else None
        if scores is not None and scores.get("preset_sha256") != verified.sha256:
            raise PresetError(
                f"{arguments.scores} was measured on other weights",
                hint=f"worldsim eval {arguments.preset} --json FILE",
            )
        log = _read_rows(arguments.log, lines=True) if arguments.log else []
        card = model_card(config, read_header(folder / WEIGHTS_FILE).metadata, scores, log=log)
    return card_on_hub(card, config, arguments.repo, sample_frames=arguments.sample)


def _sample(folder: Path, arguments: PushArguments, into: Path) -> dict[str, Path]:
    """The clip that `worldsim rollout` writes of these weights, and a sheet of its frames. Returns: name to file."""
    from worldsim.cli.rollout import RolloutArguments, rollout
    from worldsim.evaluation.contact_sheet import clip_sections, write_sheet

    files = {SAMPLE_CLIP: into / SAMPLE_CLIP, SAMPLE_SHEET: into / SAMPLE_SHEET}
    asked = RolloutArguments(preset=str(folder), frames=arguments.sample, out=files[SAMPLE_CLIP])
    with Progress(asked.frames, f"sample of {arguments.preset}", None) as progress:
        rollout(asked, progress)
    config, _ = read_config_json(folder / CONFIG_FILE)
    write_sheet(files[SAMPLE_SHEET], clip_sections(files[SAMPLE_CLIP], config.frame_shape))
    return files


def _read_rows(path: Path, *, lines: bool) -> list[dict[str, Any]]:
    """Raises: UsageError for what is not there or not a JSON object (one on every line)."""
    try:
        text = path.read_text(encoding="utf-8")
        rows = [json.loads(part) for part in (text.splitlines() if lines else [text])]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="a file that worldsim wrote") from None
    if not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path} does not hold JSON objects", hint="a file that worldsim wrote")
    return rows
