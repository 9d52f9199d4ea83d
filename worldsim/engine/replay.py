"""A recorded session made again: proved equal frame by frame, played in the window, or run under other weights.

Owns: the header of what is recorded, the check. Does not own: files (`episodes.reader`), the window, scores against
another world (`evaluation.side_by_side`).
Replay never reads the video, but to say by how much a frame differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

import worldsim
from worldsim.core.errors import ReplayError
from worldsim.core.images import psnr
from worldsim.core.types import NO_ACTION, Action, ActionSpec, Frame, Step
from worldsim.engine.interfaces import SimulatorProtocol, StageTimes, SupportsContextReset
from worldsim.engine.simulator import Simulator
from worldsim.episodes.format import EpisodeStart, SessionHeader, frame_hash
from worldsim.episodes.journal import RecordedEpisode
from worldsim.episodes.reader import RecordedSession
from worldsim.presets.resolve import HubRef, bundled_presets, locate_preset
from worldsim.presets.store import Preset, source_commit


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The first frame that came out otherwise. The two values are None where the recording has no picture of it."""

    episode: int
    frame: int
    max_levels: int | None
    """Largest difference of a pixel, of 255."""
    psnr_db: float | None
    is_measured_exactly: bool
    """False: against the video, which is not lossless."""


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    frames: int
    """Compared, the differing one included."""
    difference: Mismatch | None
    notes: tuple[str, ...] = field(default=())
    """What is not as it was when the session was recorded."""

    @property
    def is_exact(self) -> bool:
        return self.difference is None


def session_header(preset: Preset, simulator: Simulator, *, ref: str, device: str) -> SessionHeader:
    """What a recording of `simulator` says of its origin."""
    return SessionHeader(
        preset=preset.config.name,
        preset_ref=_absolute_ref(ref, preset.folder),
        preset_sha256=preset.sha256,
        preset_commit=preset.metadata.get("source_commit", "unknown"),
        worldsim=worldsim.__version__,
        worldsim_commit=source_commit(),
        torch=torch.__version__,
        device=device,
        threads=torch.get_num_threads(),
        num_steps=simulator.num_steps,
        frames_per_s=preset.config.play.ticks_per_s,
        frame_shape=simulator.frame_shape,
        action_spec=simulator.action_spec,
    )


def check_origin(session: RecordedSession, now: SessionHeader) -> tuple[str, ...]:
    """What differs between then and now and may change bits. Raises: ReplayError for other weights."""
    then = session.header
    if then.preset_sha256 != now.preset_sha256:
        raise ReplayError(
            f"the session was recorded with weights {then.preset_sha256[:12]}, {now.preset_ref} has "
            f"{now.preset_sha256[:12]}",
            hint="--preset NAME replays it with other weights and scores them",
        )
    names = ("worldsim", "worldsim_commit", "torch", "device", "dtype", "threads")
    return tuple(
        f"{name} was {getattr(then, name)}, is {getattr(now, name)}"
        for name in names
        if getattr(then, name) != getattr(now, name)
    )


class DeviceMap:
    """The same world wherever a session was played: as a rule on one device, the header's."""

    def __init__(
        self, playable: SimulatorProtocol, on_device: Callable[[str], SimulatorProtocol] | None = None
    ) -> None:
        """`on_device`: makes it on a device of that name; without, all is made in `playable`."""
        self._made, self._on_device, self._device = {"": playable}, on_device, ""

    def at(self, device: str, *, with_memory: bool = True) -> SimulatorProtocol:
        """The world there, with what it remembers where it was last."""
        before = self._made[self._device]
        if self._on_device is None or device == self._device:
            return before
        if device not in self._made:
            self._made[device] = self._on_device(device)
        self._device, now = device, self._made[device]
        if with_memory:
            now.restore(before.snapshot())
        return now


def device_changes(session: RecordedSession) -> tuple[str, ...]:
    """In words, which episodes were made elsewhere than the header says: the device had no room left, or was lost."""
    return tuple(
        f"episode {number}, from frame {episode.start.first_index} after its reset on, was made on "
        f"{episode.start.device}, not on {session.header.device}"
        for number, episode in enumerate(session.episodes)
        if episode.start.device
    )


def resimulate(
    playable: SimulatorProtocol | DeviceMap, episode: RecordedEpisode, spec: ActionSpec, num_steps: int | None = None
) -> Iterator[Frame]:
    """The frames of an episode, made again. `num_steps`: another number than was recorded.

    Where true pictures took the place of memory they do so again, and nothing before them has to be made; a true world
    walks all of the way.
    """
    places = playable if isinstance(playable, DeviceMap) else DeviceMap(playable)
    start, index = episode.start, 0
    devices = [run.device for run in start.prelude]
    world = places.at("" if start.first_index and not devices else (*devices, start.device)[0], with_memory=False)
    frame = world.reset(start.seed).frame
    if start.anchor is not None and isinstance(world, SupportsContextReset):
        world = places.at(_device_at(start, start.anchor.index), with_memory=False)
        assert isinstance(world, SupportsContextReset), "the same world as before, elsewhere"
        frame, index = world.reset_context(start.anchor, start.seed).frame, start.anchor.index
    num_left_out = index
    for run in start.prelude:
        action, num_known = _action(spec, run.action), min(num_left_out, run.count)
        num_left_out -= num_known
        if num_known < run.count:
            world = places.at(run.device)
            world.num_steps = num_steps or run.num_steps
        for _ in range(run.count - num_known):
            world.step(action)
    for position, row in enumerate(episode.rows):
        if start.first_index + position > index:
            world = places.at(start.device)
            world.num_steps = num_steps or row.num_steps
            frame = world.step(_action(spec, row.action)).frame
        yield frame


def check(
    session: RecordedSession,
    playable: SimulatorProtocol,
    on_frame: Callable[[int], None] = lambda num_frames: None,
    on_device: Callable[[str], SimulatorProtocol] | None = None,
) -> ReplayResult:
    """Makes every frame anew and compares it with the recorded hash, up to the first that differs.

    `on_device` makes the same world on another device, for what was played there.
    """
    num_frames, places = 0, DeviceMap(playable, on_device)
    for index, episode in enumerate(session.episodes):
        frames = resimulate(places, episode, session.header.action_spec)
        for position, (frame, row) in enumerate(zip(frames, episode.rows, strict=True)):
            num_frames += 1
            on_frame(num_frames)
            if frame_hash(frame) != row.frame_hash:
                return ReplayResult(frames=num_frames, difference=_difference(session, index, position, frame))
    return ReplayResult(frames=num_frames, difference=None)


class ReplayWorld:
    """A recorded session as a simulator: `reset(n)` begins its episode n, `step` takes the recorded action, not the
    given one.

    After the last frame of an episode it stays where it is.
    """

    def __init__(self, session: RecordedSession, playable: SimulatorProtocol, num_steps: int | None = None) -> None:
        self._session, self._playable, self._asked_num_steps = session, playable, num_steps
        self.action_spec = ActionSpec(buttons=())
        self.frame_shape = playable.frame_shape
        self.num_steps = 0
        self._episode = session.episodes[0]
        self._last: Step | None = None

    @property
    def last_times(self) -> StageTimes:
        return self._playable.last_times

    def reset(self, seed: int) -> Step:
        self._episode = self._session.episodes[seed % len(self._session.episodes)]
        frames = resimulate(self._playable, self._episode, self._session.header.action_spec, self._asked_num_steps)
        self._last = Step(index=0, action=NO_ACTION, frame=next(frames))
        return self._last

    def step(self, action: Action) -> Step:
        assert self._last is not None, "reset comes before step"
        position = self._last.index + 1
        if position >= len(self._episode.rows):
            return self._last
        row = self._episode.rows[position]
        self._playable.num_steps = self._asked_num_steps or row.num_steps
        made = self._playable.step(_action(self._session.header.action_spec, row.action))
        self._last = Step(index=position, action=action, frame=made.frame, estimated_pose=made.estimated_pose)
        return self._last

    def snapshot(self) -> tuple[RecordedEpisode, Step | None, object]:
        return self._episode, self._last, self._playable.snapshot()

    def restore(self, snapshot: tuple[RecordedEpisode, Step | None, object]) -> None:
        self._episode, self._last, inner = snapshot
        self._playable.restore(inner)

    def close(self) -> None:
        self._playable.close()


def _device_at(start: EpisodeStart, index: int) -> str:
    """Where play went on from frame `index` after the reset."""
    for run in start.prelude:
        if index < run.count:
            return run.device
        index -= run.count
    return start.device


def _absolute_ref(ref: str, folder: Path) -> str:
    """`ref` as it names the same preset from any directory and later: a folder in full, a repository at its commit."""
    if ref in bundled_presets():
        return ref
    place = locate_preset(ref)
    if isinstance(place, HubRef):
        return str(HubRef(repo=place.repo, revision=folder.name))  # folders of the Hub's cache are named by commits
    return str(folder.absolute())


def _action(spec: ActionSpec, vector: tuple[float, ...]) -> Action:
    return spec.decode(np.asarray(vector, np.float32))


def _difference(session: RecordedSession, episode: int, position: int, frame: Frame) -> Mismatch:
    recorded = next(islice(session.frames(episode), position, None), None)
    if not session.episodes[episode].rows[position].has_image or recorded is None or recorded.shape != frame.shape:
        recorded = None
    return Mismatch(
        episode=episode,
        frame=position,
        max_levels=None if recorded is None else int(np.abs(recorded.astype(int) - frame).max()),
        psnr_db=None if recorded is None else float(psnr(recorded, frame)),
        is_measured_exactly=session.is_lossless,
    )
