"""Re-runs a recorded session: as a bit-exactness check, in the window, or with other weights. Torch-free.

Replay reads the video only to report by how much a frame differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from worldsim.core.errors import ReplayError
from worldsim.core.images import GAP_PX, psnr, side_by_side
from worldsim.core.types import NO_ACTION, Action, ActionSpec, Frame, Step
from worldsim.engine.interfaces import SimulatorProtocol, StageTimes, SupportsContextReset
from worldsim.episodes.format import EpisodeStart, SessionHeader, frame_hash
from worldsim.episodes.journal import RecordedEpisode
from worldsim.episodes.reader import RecordedSession
from worldsim.presets.store import Preset


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The first frame that differs. The two values are None if the recording has no image of it."""

    episode: int
    frame: int
    max_levels: int | None
    """Largest difference of a pixel value, out of 255."""
    psnr_db: float | None
    is_measured_exactly: bool
    """False if compared with the video, which is lossy."""


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    frames: int
    """Number of frames compared, including the differing one."""
    difference: Mismatch | None
    notes: tuple[str, ...] = field(default=())
    """Differences from the recording's environment."""

    @property
    def is_exact(self) -> bool:
        return self.difference is None


def check_origin(session: RecordedSession, now: SessionHeader, preset: Preset) -> tuple[str, ...]:
    """Differences in the environment that may change bits. Raises: ReplayError for other weights."""
    recorded = session.header
    if not preset.generates_frames_of(recorded.preset_sha256):
        raise ReplayError(
            f"the session was recorded with weights {recorded.preset_sha256[:12]}, {now.preset_ref} has "
            f"{now.preset_sha256[:12]}",
            hint="--preset NAME replays it with other weights and scores them",
        )
    names = ("worldsim", "worldsim_commit", "torch", "device", "dtype", "threads")
    return tuple(
        f"{name} was {getattr(recorded, name)}, is {getattr(now, name)}"
        for name in names
        if getattr(recorded, name) != getattr(now, name)
    )


class DeviceMap:
    """The same world on every device that a session was played on: usually only the header's."""

    def __init__(
        self, playable: SimulatorProtocol, on_device: Callable[[str], SimulatorProtocol] | None = None
    ) -> None:
        """`on_device`: opens it on a device of that name; without it, everything runs in `playable`."""
        self._worlds, self._on_device, self._device = {"": playable}, on_device, ""

    def at(self, device: str, *, with_memory: bool = True) -> SimulatorProtocol:
        """The world on `device`, with the state it has on the last one."""
        before = self._worlds[self._device]
        if self._on_device is None or device == self._device:
            return before
        if device not in self._worlds:
            self._worlds[device] = self._on_device(device)
        self._device, after = device, self._worlds[device]
        if with_memory:
            after.restore(before.snapshot())
        return after


def device_changes(session: RecordedSession) -> tuple[str, ...]:
    """Notes on episodes generated on another device than the header's, after a fault of that."""
    return tuple(
        f"episode {number}, from frame {episode.start.first_index} after its reset, was generated on "
        f"{episode.start.device}, not on {session.header.device}"
        for number, episode in enumerate(session.episodes)
        if episode.start.device
    )


def resimulate(
    playable: SimulatorProtocol | DeviceMap, episode: RecordedEpisode, spec: ActionSpec, num_steps: int | None = None
) -> Iterator[Frame]:
    """Generates the frames of an episode again. `num_steps`: overrides the recorded number.

    A learned world starts at the episode's last context reset, if there is one; a ground-truth world replays all of the
    actions.
    """
    worlds = playable if isinstance(playable, DeviceMap) else DeviceMap(playable)
    start, index = episode.start, 0
    devices = [run.device for run in start.prelude]
    world = worlds.at("" if start.first_index and not devices else (*devices, start.device)[0], with_memory=False)
    frame = world.reset(start.seed).frame
    if start.anchor is not None and isinstance(world, SupportsContextReset):
        world = worlds.at(_device_at(start, start.anchor.index), with_memory=False)
        assert isinstance(world, SupportsContextReset), "the same world on another device"
        frame, index = world.reset_context(start.anchor, start.seed).frame, start.anchor.index
    num_to_skip = index
    for run in start.prelude:
        action, num_skipped = _action(spec, run.action), min(num_to_skip, run.count)
        num_to_skip -= num_skipped
        if num_skipped < run.count:
            world = worlds.at(run.device)
            world.num_steps = num_steps or run.num_steps
        for _ in range(run.count - num_skipped):
            world.step(action)
    for position, row in enumerate(episode.rows):
        if start.first_index + position > index:
            world = worlds.at(start.device)
            world.num_steps = num_steps or row.num_steps
            frame = world.step(_action(spec, row.action)).frame
        yield frame


def check(
    session: RecordedSession,
    playable: SimulatorProtocol,
    on_frame: Callable[[int], None] = lambda num_frames: None,
    on_device: Callable[[str], SimulatorProtocol] | None = None,
) -> ReplayResult:
    """Generates every frame again and compares it with the recorded hash, up to the first that differs.

    `on_device` opens the same world on another device, for episodes that were played there.
    """
    num_frames, worlds = 0, DeviceMap(playable, on_device)
    for index, episode in enumerate(session.episodes):
        frames = resimulate(worlds, episode, session.header.action_spec)
        for position, (frame, row) in enumerate(zip(frames, episode.rows, strict=True)):
            num_frames += 1
            on_frame(num_frames)
            if frame_hash(frame) != row.frame_hash:
                return ReplayResult(frames=num_frames, difference=_difference(session, index, position, frame))
    return ReplayResult(frames=num_frames, difference=None)


class ReplayWorld:
    """A recorded session as a simulator: `reset(n)` begins its episode n, and `step` ignores its action for the
    recorded one. It stops at the last frame of an episode."""

    def __init__(self, session: RecordedSession, playable: SimulatorProtocol, num_steps: int | None = None) -> None:
        self._session, self._playable, self._num_steps_override = session, playable, num_steps
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
        frames = resimulate(self._playable, self._episode, self._session.header.action_spec, self._num_steps_override)
        self._last = Step(index=0, action=NO_ACTION, frame=next(frames))
        return self._last

    def step(self, action: Action) -> Step:
        assert self._last is not None, "reset comes before step"
        position = self._last.index + 1
        if position >= len(self._episode.rows):
            return self._last
        row = self._episode.rows[position]
        self._playable.num_steps = self._num_steps_override or row.num_steps
        step = self._playable.step(_action(self._session.header.action_spec, row.action))
        self._last = Step(index=position, action=action, frame=step.frame, estimated_pose=step.estimated_pose)
        return self._last

    def snapshot(self) -> tuple[RecordedEpisode, Step | None, object]:
        return self._episode, self._last, self._playable.snapshot()

    def restore(self, snapshot: tuple[RecordedEpisode, Step | None, object]) -> None:
        self._episode, self._last, inner = snapshot
        self._playable.restore(inner)

    def close(self) -> None:
        self._playable.close()


def _device_at(start: EpisodeStart, index: int) -> str:
    """The device on which frame `index` after the reset was generated."""
    for run in start.prelude:
        if index < run.count:
            return run.device
        index -= run.count
    return start.device


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


class SideBySideSimulator:
    """Two worlds as one simulator under the same actions, with their frames side by side."""

    def __init__(self, left: SimulatorProtocol, right: SimulatorProtocol) -> None:
        assert left.frame_shape == right.frame_shape, f"{left.frame_shape} is not {right.frame_shape}"
        self._left, self._right = left, right
        self.action_spec: ActionSpec = left.action_spec
        height_px, width_px, channels = left.frame_shape
        self.frame_shape = (height_px, 2 * width_px + GAP_PX, channels)
        self.num_steps = 0

    @property
    def last_times(self) -> StageTimes:
        return self._right.last_times

    def reset(self, seed: int) -> Step:
        return self._both(self._left.reset(seed), self._right.reset(seed))

    def step(self, action: Action) -> Step:
        return self._both(self._left.step(action), self._right.step(action))

    def snapshot(self) -> tuple[Any, Any]:
        return self._left.snapshot(), self._right.snapshot()

    def restore(self, snapshot: tuple[Any, Any]) -> None:
        self._left.restore(snapshot[0])
        self._right.restore(snapshot[1])

    def close(self) -> None:
        self._left.close()
        self._right.close()

    def _both(self, left: Step, right: Step) -> Step:
        return replace(left, frame=side_by_side(left.frame, right.frame))
