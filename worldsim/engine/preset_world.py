"""Opens presets: the weights, the simulator, and what a recording, a save and the window need to know about them.

`open_preset` is what every command starts from; `PresetWorld` and `record` are the Python API behind `worldsim.open`
and `worldsim.record`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

import worldsim
from worldsim.actions.pose_control import key_spec, pose_step
from worldsim.core.devices import background_stream, choose_device, reserved_bytes
from worldsim.core.errors import UsageError
from worldsim.core.types import NO_ACTION, Action, ActionSpec, Step
from worldsim.engine.interfaces import LoadedWorld, Position, ReferenceSource
from worldsim.engine.recorder import Recorder
from worldsim.engine.reference_world import ReferenceWorldAtStarts
from worldsim.engine.save_files import SaveFiles
from worldsim.engine.simulator import Simulator
from worldsim.episodes.format import SessionHeader
from worldsim.presets.resolve import HubRef, bundled_presets, locate_preset
from worldsim.presets.store import Preset, load_preset, source_commit
from worldsim.worlds.recorded import RecordedWorldConfig

PRESET_THREADS = 0
"""As a number of threads: the preset's own."""

NO_DENOISING_REASON = "frames come from an explicit map, without denoising"


@dataclass(frozen=True, kw_only=True)
class OpenedPreset:
    """A loaded preset on a device, with its simulator."""

    preset: Preset
    simulator: Simulator
    ref: str
    device: str

    @cached_property
    def header(self) -> SessionHeader:
        """Origin to write into recordings and saves."""
        return session_header(self.preset, self.simulator, ref=self.ref, device=self.device)

    @cached_property
    def saves(self) -> SaveFiles:
        return SaveFiles(self.preset, self.header)

    @property
    def reference(self) -> ReferenceSource | None:
        """The preset's ground-truth world; None for a preset trained on recordings. Nothing is started yet."""
        config = self.preset.config
        if isinstance(config.world, RecordedWorldConfig):
            return None
        begin = partial(ReferenceWorldAtStarts, config.ground_truth_config, self.preset.starts)
        return ReferenceSource(open=begin, num_context=config.play.context_frames)

    def loaded_world(self, **overrides: Any) -> LoadedWorld:
        """What a `Worker` plays. `overrides`: other values for its fields, such as a `playable` with a fallback."""
        play = self.preset.config.play
        values: dict[str, Any] = {
            "playable": self.simulator,
            "title": self.preset.config.title,
            "ticks_per_s": play.ticks_per_s,
            "header": self.header,
            "snapshot_bytes": self.saves.state_bytes,
            "reference": self.reference,
            "start_frames": tuple(start.frames for start in self.preset.starts),
            "num_context": play.context_frames,
            "no_denoising_reason": "" if self.preset.model.uses_denoising else NO_DENOISING_REASON,
            "saves": self.saves,
            "background_stream": background_stream(self.device),
            "device_bytes": partial(reserved_bytes, self.device),
        }
        return LoadedWorld(**{**values, **overrides})


def open_preset(
    ref: str | Path, *, device: str = "cpu", num_steps: int | None = None, threads: int | None = None
) -> OpenedPreset:
    """`device` may be `auto`; `num_steps` None: the preset's own; `threads` None: torch keeps its number of threads.

    Raises: as `load_preset`; DeviceError, UsageError. Side effects: torch's number of threads.
    """
    device = choose_device(device)
    preset = load_preset(ref, device=device)
    if threads is not None:
        torch.set_num_threads(threads or preset.config.play.cpu_threads)
    simulator = Simulator(preset, device=device, num_steps=num_steps)
    return OpenedPreset(preset=preset, simulator=simulator, ref=str(ref), device=device)


def session_header(preset: Preset, simulator: Simulator, *, ref: str, device: str) -> SessionHeader:
    """Origin of what `simulator` generates, to write into recordings and saves."""
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


def _absolute_ref(ref: str, folder: Path) -> str:
    """A reference to the same preset from any directory and at any time: a full path, or a repository at its commit."""
    if ref in bundled_presets():
        return ref
    location = locate_preset(ref)
    if isinstance(location, HubRef):
        return str(HubRef(repo=location.repo, revision=folder.name))  # the Hub's cache names folders by commit
    return str(folder.absolute())


class PresetWorld:
    """A preset opened for play from Python: reset it, step it, go back to a snapshot. A context manager.

    Where poses are the inputs, actions may name poses or the usual keys, which then move the camera.
    """

    def __init__(self, opened: OpenedPreset, *, seed: int = 0) -> None:
        self._opened = opened
        self._is_closed = False
        self.recorder = Recorder(opened.header)
        self.last_step = self.reset(seed)
        """The newest frame; after opening, the start."""

    @property
    def action_spec(self) -> ActionSpec:
        """Names of the buttons and axes."""
        return key_spec(self._opened.simulator.action_spec)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return self._opened.simulator.frame_shape

    @property
    def num_steps(self) -> int:
        """Denoising steps per frame."""
        return self._opened.simulator.num_steps

    @num_steps.setter
    def num_steps(self, value: int) -> None:
        self._opened.simulator.num_steps = value

    def reset(self, seed: int = 0) -> Step:
        """Returns to a recorded start, chosen by `seed`, which also seeds the noise. Returns its frame, index 0."""
        return self._add(self._simulator.reset(seed), seed)

    def step(self, action: Action = NO_ACTION) -> Step:
        """Generates the next frame. Raises: ConfigError for an unknown button or axis, UsageError when closed."""
        simulator = self._simulator
        if not any(name in simulator.action_spec.axes for name, _ in action.axes):
            self.action_spec.check(action)
        step = simulator.step(pose_step(simulator.action_spec, action, self.last_step.action))
        return self._add(step, self._seed)

    def snapshot(self) -> Position:
        """The current state. It is a reference, so it costs nothing."""
        return self.recorder.position(self._simulator.snapshot())

    def restore(self, snapshot: Position) -> None:
        """Goes back to a snapshot: the same actions from there give the same frames, bit for bit."""
        self._simulator.restore(snapshot.snapshot)
        self._seed, self.last_step = snapshot.seed, snapshot.step
        self.recorder.continue_from(snapshot)

    def load(self, path: Path) -> None:
        """Continues from a saved state (F5 in the window). Raises: StateError."""
        self.restore(self._opened.saves.read(path))

    def close(self) -> None:
        """Finishes a recording and releases the state. Further use raises UsageError."""
        self._is_closed = True
        self.recorder.close()
        self._opened.simulator.close()

    def __enter__(self) -> PresetWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _simulator(self) -> Simulator:
        if self._is_closed:
            raise UsageError("this world is closed", hint="open it again with worldsim.open(...)")
        return self._opened.simulator

    def _add(self, step: Step, seed: int) -> Step:
        self.recorder.wait_for_room()
        self.recorder.add(step, seed)
        self._seed, self.last_step = seed, step
        return step


@contextmanager
def record(world: PresetWorld | str | Path, folder: str | Path, *, lossless: bool = False) -> Iterator[PresetWorld]:
    """Records every reset, step and restore until the end of the block; the files are finished even after an exception.

    `world`: an open world, recorded from its newest frame on, or a preset, which is opened and closed here. Raises:
    UsageError if `folder` is not new, or `world` is being recorded already; StorageError.
    """
    with ExitStack() as stack:
        if not isinstance(world, PresetWorld):
            world = stack.enter_context(PresetWorld(open_preset(world)))
        recorder = world.recorder
        if recorder.is_recording:
            raise UsageError(
                "this world is being recorded already", hint="leave the other `with worldsim.record` first"
            )
        recorder.is_lossless = lossless
        recorder.start(Path(folder))
        try:
            yield world
        finally:
            recorder.close()
        if recorder.error is not None:
            raise recorder.error
