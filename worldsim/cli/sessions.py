"""`worldsim sessions`: list, show, open, export, repair, remove and push recorded sessions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from PIL import Image

from worldsim.cli.arguments import Flag, JsonOption, OfflineOption, SessionArgument, check_at_least
from worldsim.cli.output import CommandResult, Subcommand, run_subcommand, text_table
from worldsim.core.errors import MissingPackageError, RecordingError, StorageError, UsageError, WorldsimError
from worldsim.core.files import atomic_path
from worldsim.core.images import upscale
from worldsim.episodes.card import files_to_push
from worldsim.episodes.finalize import finalize
from worldsim.episodes.format import LEROBOT_VERSION, RECORDINGS_FOLDER, video_path
from worldsim.episodes.reader import RecordedSession, find_sessions, is_session, open_session
from worldsim.episodes.video import upscale_factor


@dataclass(frozen=True, kw_only=True)
class ListSessions:
    """List the sessions in a folder."""

    folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]] = RECORDINGS_FOLDER
    """Folder of sessions."""
    json: JsonOption = None

    def run(self) -> CommandResult:
        """A session that cannot be read is listed with its error."""
        rows: list[dict[str, Any]] = []
        for folder in find_sessions(self.folder):
            try:
                rows.append(session_summary(open_session(folder)))
            except WorldsimError as error:
                rows.append({"folder": str(folder), "complete": False, "error": error.message})
        return CommandResult(text=_sessions_table(rows), data={"sessions": rows})


@dataclass(frozen=True, kw_only=True)
class ShowSession:
    """Show a session's metadata."""

    folder: SessionArgument
    json: JsonOption = None

    def run(self) -> CommandResult:
        return _key_value_result(session_summary(open_session(self.folder)))


@dataclass(frozen=True, kw_only=True)
class OpenSession:
    """Open a session's video in the system's player."""

    folder: SessionArgument
    episode: int = 0
    """Episode, counted from 0."""
    json: JsonOption = None

    def run(self) -> CommandResult:
        path = _episode_video(_open_complete(self.folder), self.episode)
        opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
        if shutil.which(opener) is None:
            raise MissingPackageError(f"cannot open {path}: {opener} is not installed", hint="use any video player")
        subprocess.Popen([opener, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return _key_value_result({"folder": str(self.folder), "opened": str(path)})


@dataclass(frozen=True, kw_only=True)
class ExportSession:
    """Export an episode as a video, an animation or arrays."""

    folder: SessionArgument
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """File to write: .mp4, .gif or .npz."""
    episode: int = 0
    """Episode, counted from 0."""
    json: JsonOption = None

    def run(self) -> CommandResult:
        session, suffix = _open_complete(self.folder), self.out.suffix.lower()
        video = _episode_video(session, self.episode)
        writers: dict[str, Callable[[Path], object]] = {
            ".mp4": lambda target: shutil.copyfile(video, target),
            ".gif": lambda target: _write_gif(session, self.episode, target),
            ".npz": lambda target: _write_npz(session, self.episode, target),
        }
        if suffix not in writers:
            raise UsageError(f"{self.out} is not {', '.join(writers)}", hint=f"use {self.out.with_suffix('.mp4')}")
        with atomic_path(self.out) as temporary:
            writers[suffix](temporary)
        num_frames = len(session.episodes[self.episode].rows)
        return _key_value_result(
            {"folder": str(session.folder), "out": str(self.out), "episode": self.episode, "frames": num_frames}
        )


@dataclass(frozen=True, kw_only=True)
class RepairSession:
    """Finish a recording that was interrupted, from its journal."""

    folder: SessionArgument
    json: JsonOption = None

    def run(self) -> CommandResult:
        session = open_session(self.folder)
        if session.is_being_recorded:
            raise RecordingError(f"{self.folder} is still being recorded", hint="stop the recording first")
        if not session.is_complete:
            finalize(self.folder)
        return _key_value_result({**session_summary(open_session(self.folder)), "repaired": not session.is_complete})


@dataclass(frozen=True, kw_only=True)
class RemoveSession:
    """Delete a session."""

    folder: SessionArgument
    json: JsonOption = None

    def run(self) -> CommandResult:
        if not is_session(self.folder) or self.folder.is_symlink():
            raise RecordingError(f"{self.folder} is not a recorded session", hint="nothing was removed")
        try:
            is_being_recorded = open_session(self.folder).is_being_recorded
        except RecordingError:
            is_being_recorded = False  # damaged sessions can be deleted
        if is_being_recorded:
            raise RecordingError(f"{self.folder} is still being recorded", hint="stop the recording first")
        try:
            shutil.rmtree(self.folder)
        except OSError as error:
            raise StorageError(f"cannot remove {self.folder}: {error}", hint="check its permissions") from None
        return _key_value_result({"folder": str(self.folder), "removed": True})


@dataclass(frozen=True, kw_only=True)
class PushSession:
    """Upload a session to the Hub as a LeRobot dataset.

    Prints an upload plan first. Recordings that the dataset already has are replaced.
    """

    folder: SessionArgument
    repo: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="USER/DATASET")]]
    """Target dataset (created if missing)."""
    dry_run: Flag = False
    """Print the upload plan without uploading."""
    private: Flag = False
    """Make the dataset private if it is created."""
    offline: OfflineOption = False
    json: JsonOption = None

    def run(self) -> CommandResult:
        from worldsim.presets import hub
        from worldsim.presets.resolve import hub_ref

        target = hub_ref(self.repo)
        if target is None or target.revision is not None:
            raise UsageError(f"{self.repo!r} is not a dataset on the Hub", hint="USER/DATASET, without a revision")
        session = _open_complete(self.folder)
        hub.check_can_push(needs_token=not self.dry_run)
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
            "dry_run": self.dry_run,
        }
        if self.dry_run:
            return CommandResult(text="nothing was uploaded (--dry-run)", data=data)
        message = f"{session.num_frames} frames of {session.header.preset}"
        done = hub.upload(plan, message=message, private=self.private)
        data |= {"commit": done["commit"], "commit_url": done["commit_url"]}
        return CommandResult(text=f"pushed: {done['commit_url']}\nworldsim train PRESET --data {plan.repo}", data=data)


SUBCOMMANDS: dict[str, type[Subcommand]] = {
    "list": ListSessions,
    "show": ShowSession,
    "open": OpenSession,
    "export": ExportSession,
    "repair": RepairSession,
    "rm": RemoveSession,
    "push": PushSession,
}


def run(argv: Sequence[str]) -> int:
    return run_subcommand(SUBCOMMANDS, argv, command="sessions")


def session_summary(session: RecordedSession) -> dict[str, Any]:
    """The JSON of `show`."""
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


def _open_complete(folder: Path) -> RecordedSession:
    session = open_session(folder)
    if not session.is_complete:
        raise RecordingError(f"{folder} is not complete", hint=f"worldsim sessions repair {folder}")
    return session


def _episode_video(session: RecordedSession, episode: int) -> Path:
    check_at_least(episode, 0, "--episode")
    if episode >= len(session.episodes):
        raise UsageError(f"--episode is {episode}", hint=f"at most {len(session.episodes) - 1}")
    return video_path(session.folder, episode)


def _write_gif(session: RecordedSession, episode: int, target: Path) -> None:
    scale = upscale_factor(*session.header.frame_shape[:2])
    images = [Image.fromarray(upscale(frame, scale)) for frame in session.frames(episode)]
    duration_ms = 1000 / session.header.frames_per_s
    images[0].save(target, save_all=True, append_images=images[1:], duration=duration_ms, loop=0)


def _write_npz(session: RecordedSession, episode: int, target: Path) -> None:
    """Arrays: frames [T, H, W, 3], actions [T, A] (action[t] led to frame t), times, hashes."""
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


def _sessions_table(sessions: list[dict[str, Any]]) -> str:
    if not sessions:
        return "no sessions; worldsim play PRESET --record DIR records one (F9 in the window)"
    rows = [("session", "preset", "frames", "episodes", "seconds", "MB", "state")]
    for row in sessions:
        if "error" in row:
            rows.append((row["folder"], "", "", "", "", "", row["error"]))
            continue
        unfinished = "being recorded" if row["being_recorded"] else "unfinished (repair it)"
        state = "complete" if row["complete"] else unfinished
        counts = (str(row["frames"]), str(row["episodes"]), str(row["seconds"]), f"{row['bytes'] / 1e6:.1f}")
        rows.append((row["folder"], row["preset"], *counts, state))
    return text_table(rows, align="llrrrr")


def _key_value_result(data: dict[str, Any]) -> CommandResult:
    return CommandResult(text="\n".join(f"{key}: {value}" for key, value in data.items()), data=data)
