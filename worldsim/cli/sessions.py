"""`worldsim sessions`: what was recorded: listed, shown, opened, exported, mended, removed, pushed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from worldsim.cli.arguments import JsonOption, OfflineOption, check_at_least, parse_arguments
from worldsim.cli.output import STDOUT, write_json
from worldsim.core.errors import MissingPackageError, RecordingError, StorageError, UsageError, WorldsimError
from worldsim.core.files import atomic_path
from worldsim.episodes.card import files_to_push
from worldsim.episodes.finalize import finalize
from worldsim.episodes.format import LEROBOT_VERSION, RECORDINGS_FOLDER, video_path
from worldsim.episodes.reader import RecordedSession, find_sessions, is_session, open_session
from worldsim.episodes.video import upscale, upscale_factor

HELP = "list, show, open, export, repair, remove and push recorded sessions"

SessionsCommand = Literal["list", "show", "open", "export", "repair", "rm", "push"]
TARGETS = {"export": "OUT.mp4 (or .gif, .npz)", "push": "USER/DATASET"}
"""What the last argument is, of the actions that have one."""


@dataclass(frozen=True, kw_only=True)
class SessionsArguments:
    action: tyro.conf.Positional[SessionsCommand]
    """What to do."""
    folder: tyro.conf.Positional[
        Annotated[Path, tyro.conf.arg(metavar="DIR", help="A session; for list, the folder in which sessions lie.")]
    ] = RECORDINGS_FOLDER
    out: tyro.conf.Positional[
        Annotated[
            str | None,
            tyro.conf.arg(
                metavar="OUT",
                help="For export: a name that ends in .mp4, .gif or .npz. For push: USER/DATASET on the Hub; made when "
                "it is not there, else its recordings are replaced.",
            ),
        ]
    ] = None
    episode: int = 0
    """For open and export: which episode."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """For push: say what would be uploaded and where, and upload nothing."""
    private: tyro.conf.FlagCreatePairsOff[bool] = False
    """For push: a data set that is made for it is private."""
    offline: OfflineOption = False
    json: JsonOption = None


def run(argv: list[str]) -> int:
    arguments = parse_arguments(SessionsArguments, argv, command="sessions", help=HELP)
    check_at_least(arguments.episode, 0, "--episode")
    target = TARGETS.get(arguments.action)
    if (arguments.out is not None) != (target is not None):
        raise UsageError(
            f"{arguments.action} with{'' if arguments.out else 'out'} {target or arguments.out}",
            hint=f"worldsim sessions {arguments.action} DIR {target or ''}".rstrip(),
        )
    if (arguments.dry_run or arguments.private) and arguments.action != "push":
        raise UsageError(f"{arguments.action} with --dry-run or --private", hint="only push has them")
    result = SUBCOMMANDS[arguments.action](arguments)
    if arguments.json is not None:
        write_json(arguments.json, result)
    text = FORMATTERS.get(arguments.action, _key_value_lines)(result)
    Console(stderr=arguments.json == STDOUT, soft_wrap=True).print(text)
    return 0


def summary(session: RecordedSession) -> dict[str, Any]:
    """All that `show` says."""
    header = session.header
    return {
        "folder": str(session.folder),
        "complete": session.is_complete,
        "being_recorded": session.is_being_recorded,
        "frames": session.num_frames,
        "episodes": len(session.episodes),
        "seconds": round(session.num_frames / header.frames_per_s, 2),
        "bytes": session.num_bytes,
        "lossless": session.is_lossless,
        "pictures_missing": session.num_missing_images,
        "queue_high_water": session.queue_high_water,
        "seed": session.episodes[0].start.seed if session.episodes else None,
        "seeds": [episode.start.seed for episode in session.episodes],
        "preset": header.preset,
        **{key: value for key, value in asdict(header).items() if key not in ("preset", "action_spec")},
    }


def _list(arguments: SessionsArguments) -> dict[str, Any]:
    """A session that cannot be read is listed with its error."""
    found: list[dict[str, Any]] = []
    for folder in find_sessions(arguments.folder):
        try:
            found.append(summary(open_session(folder)))
        except WorldsimError as error:
            found.append({"folder": str(folder), "complete": False, "error": error.message})
    return {"sessions": found}


def _show(arguments: SessionsArguments) -> dict[str, Any]:
    return summary(open_session(arguments.folder))


def _open(arguments: SessionsArguments) -> dict[str, Any]:
    path = _video_of(_open_complete(arguments), arguments.episode)
    opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    if shutil.which(opener) is None:
        raise MissingPackageError(f"there is no {opener} to open {path} with", hint="open that file with any player")
    subprocess.Popen([opener, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {"folder": str(arguments.folder), "opened": str(path)}


def _export(arguments: SessionsArguments) -> dict[str, Any]:
    assert arguments.out is not None
    session, out = _open_complete(arguments), Path(arguments.out)
    path = _video_of(session, arguments.episode)
    writers: dict[str, Callable[[Path], None]] = {
        ".mp4": lambda target: _copy(path, target),
        ".gif": lambda target: _write_gif(session, arguments.episode, target),
        ".npz": lambda target: _write_npz(session, arguments.episode, target),
    }
    if out.suffix.lower() not in writers:
        raise UsageError(f"{out} ends in none of {', '.join(writers)}", hint=f"for example {out.with_suffix('.mp4')}")
    with atomic_path(out) as temporary:
        writers[out.suffix.lower()](temporary)
    frames = len(session.episodes[arguments.episode].rows)
    return {"folder": str(session.folder), "out": str(out), "episode": arguments.episode, "frames": frames}


def _repair(arguments: SessionsArguments) -> dict[str, Any]:
    session = open_session(arguments.folder)
    if session.is_being_recorded:
        raise RecordingError(f"{arguments.folder} is still being recorded", hint="stop the recording first")
    if not session.is_complete:
        finalize(arguments.folder)
    return {**summary(open_session(arguments.folder)), "repaired": not session.is_complete}


def _rm(arguments: SessionsArguments) -> dict[str, Any]:
    folder = arguments.folder
    if not is_session(folder) or folder.is_symlink():
        raise RecordingError(f"{folder} is not a recorded session", hint="nothing was removed")
    try:
        is_being_recorded = open_session(folder).is_being_recorded
    except RecordingError:
        is_being_recorded = False  # a damaged one may go
    if is_being_recorded:
        raise RecordingError(f"{folder} is still being recorded", hint="stop the recording first")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StorageError(f"cannot remove {folder}: {error}", hint="check its permissions") from None
    return {"folder": str(folder), "removed": True}


def _push(arguments: SessionsArguments) -> dict[str, Any]:
    """The plan goes to stderr before anything goes up."""
    from worldsim.presets import hub
    from worldsim.presets.resolve import hub_ref

    target = hub_ref(arguments.out or "")
    if target is None or target.revision is not None:
        raise UsageError(f"{arguments.out!r} is not a data set on the Hub", hint="USER/DATASET, without a revision")
    session = _open_complete(arguments)
    hub.check_can_push(needs_token=not arguments.dry_run)
    plan = hub.plan_data_upload(files_to_push(session, target.repo), target.repo, tag=LEROBOT_VERSION)
    print(plan.text, file=sys.stderr)
    data = {
        "folder": str(session.folder),
        "repo": plan.repo,
        "page": plan.page_url,
        "is_new": plan.is_new,
        "tag": plan.tag,
        "files": plan.sizes,
        "deleted": list(plan.deleted),
        "dry_run": arguments.dry_run,
    }
    if arguments.dry_run:
        return data
    done = hub.upload(
        plan, message=f"{session.num_frames} frames of {session.header.preset}", private=arguments.private
    )
    return data | {"commit": done["commit"], "commit_url": done["commit_url"]}


SUBCOMMANDS: dict[SessionsCommand, Callable[[SessionsArguments], dict[str, Any]]] = {
    "list": _list,
    "show": _show,
    "open": _open,
    "export": _export,
    "repair": _repair,
    "rm": _rm,
    "push": _push,
}


def _open_complete(arguments: SessionsArguments) -> RecordedSession:
    session = open_session(arguments.folder)
    if not session.is_complete:
        raise RecordingError(f"{arguments.folder} is not complete", hint=f"worldsim sessions repair {arguments.folder}")
    return session


def _video_of(session: RecordedSession, episode: int) -> Path:
    if episode >= len(session.episodes):
        raise UsageError(f"--episode is {episode}", hint=f"below {len(session.episodes)}, counted from 0")
    return video_path(session.folder, episode)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _write_gif(session: RecordedSession, episode: int, target: Path) -> None:
    scale = upscale_factor(*session.header.frame_shape[:2])
    images = [Image.fromarray(upscale(frame, scale)) for frame in session.frames(episode)]
    duration_ms = 1000 / session.header.frames_per_s
    images[0].save(target, save_all=True, append_images=images[1:], duration=duration_ms, loop=0)


def _write_npz(session: RecordedSession, episode: int, target: Path) -> None:
    """Arrays frames [T, H, W, 3], actions [T, A] (the one that led to its frame), times, hashes."""
    rows = session.episodes[episode].rows
    spec = session.header.action_spec
    np.savez_compressed(
        target,
        frames=np.stack(list(islice(session.frames(episode), len(rows)))),
        actions=np.array([row.action for row in rows], np.float32),
        action_names=np.array([*spec.buttons, *spec.axes]),
        num_steps=np.array([row.num_steps for row in rows], np.int64),
        t_input_ns=np.array([row.t_input_ns for row in rows], np.int64),
        t_ready_ns=np.array([row.t_ready_ns for row in rows], np.int64),
        frame_hash=np.array([row.frame_hash for row in rows]),
        seed=session.episodes[episode].start.seed,
    )


def _table(sessions: list[dict[str, Any]]) -> Table | str:
    if not sessions:
        return "no sessions; worldsim play PRESET --record DIR makes one, or its key for recording"
    table = Table("session", "preset", "frames", "episodes", "seconds", "MB", "state", box=box.SIMPLE)
    for row in sessions:
        if "error" in row:
            table.add_row(row["folder"], "", "", "", "", "", row["error"])
            continue
        unfinished = "being recorded" if row["being_recorded"] else "unfinished: repair"
        values = (row["preset"], row["frames"], row["episodes"], row["seconds"], f"{row['bytes'] / 1e6:.1f}")
        table.add_row(row["folder"], *map(str, values), "complete" if row["complete"] else unfinished)
    return table


def _key_value_lines(result: dict[str, Any]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in result.items())


def _push_text(result: dict[str, Any]) -> str:
    if result["dry_run"]:
        return "nothing was uploaded (--dry-run)"
    return f"pushed: {result['commit_url']}\nworldsim train PRESET --data {result['repo']}"


FORMATTERS: dict[SessionsCommand, Callable[[dict[str, Any]], Table | str]] = {
    "list": lambda result: _table(result["sessions"]),
    "push": _push_text,
}
"""What an action says to people, where that is not a line for every value."""
