"""Reference view, autopilot, memory panel and context reset. UI thread; never blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import partial

import numpy as np
import numpy.typing as npt

from worldsim.actions.bindings import BINDINGS, Binding, Command
from worldsim.app.hud import InlineImage, PanelRow, Style, next_member
from worldsim.app.key_labels import key_for
from worldsim.core.images import difference, side_by_side
from worldsim.core.types import NO_ACTION, Action, Frame, Pose, Step
from worldsim.engine.autopilot import AutopilotPolicy, RecordedPolicy, ReferencePolicy, ScriptPolicy
from worldsim.engine.history import HistoryNode, PlayHistory
from worldsim.engine.interfaces import LoadedWorld, MapView, SupportsContextReset
from worldsim.engine.memory import Memory, RevisitScore
from worldsim.engine.reference_world import AlignedFrames, ReferencePhase, ReferenceStatus, ReferenceWorker
from worldsim.engine.session import Session, SessionState

MAX_TICKS_BEHIND = 3
"""The reference may lag this many ticks and still be shown; then both frames are that old."""
MEMORY_PANEL_PERIOD_S = 1.5
"""In world time. Rendering the memory panel takes a quarter of a frame, so it is not updated with every frame."""
MAP_PX = 128
MAP_LINES = 12
MARGIN_PX = 8
MIN_MAP_STRIDES = 24.0
"""Minimum extent of the map, so that a few steps on the spot do not fill it."""
MAP_BACKGROUND, OLD, NEW, HERE = (24, 28, 36), (70, 90, 120), (255, 214, 120), (255, 255, 255)
FLOOR, WALL = (56, 64, 78), (176, 186, 200)
"""Colors of the model's map where it is certain; elsewhere they fade into the background."""
KNOWN_THRESHOLD = 64
"""Of 255: cells known better than this are in the picture."""


class ViewMode(Enum):
    """Which frames are shown, in the order in which the key cycles."""

    GENERATED = "Generated"
    SIDE_BY_SIDE = "Reference | generated"
    REFERENCE = "Reference"
    DIFFERENCE = "Difference (black: equal)"


class ReferencePanel:
    """Call `update` after every tick of the session; `frame`, `lines` and `rows` then return what to show."""

    def __init__(
        self, session: Session, wake: Callable[[], None] = lambda: None, *, actions: Sequence[Action] = ()
    ) -> None:
        """`wake` ends the window's sleep, from another thread. `actions` are replayed from the start, until a key."""
        self._session, self._wake = session, wake
        self._recorded = RecordedPolicy(actions) if actions else None
        self.autopilot = session.autopilot
        if self._recorded is not None:
            self.autopilot.hand_over(self._recorded, NO_ACTION)
        self.view_mode = ViewMode.GENERATED
        self.memory = Memory()
        self._reference: ReferenceWorker | None = None
        self._loaded: LoadedWorld | None = None
        self._is_memory_shown = self._is_reset_pending = False
        self._head: HistoryNode | None = None
        self._shown: tuple[object, ...] = ()
        self._picture: Frame | None = None
        self._rows: tuple[PanelRow, ...] = ()
        self._rows_frame_index = 0
        self._map_view: MapView | None = None

    def commands(self) -> dict[Command, Callable[[int], None]]:
        return {
            Command.VIEW_MODE: lambda _: self.next_view_mode(),
            Command.AUTOPILOT: lambda _: self.toggle_autopilot(),
            Command.MEMORY: lambda _: self._toggle_memory(),
            Command.RESET_CONTEXT: lambda _: self.reset_context(),
        }

    def close(self) -> None:
        if self._reference is not None:
            self._reference.close()

    # ---- keys

    def next_view_mode(self) -> None:
        wanted = next_member(self.view_mode)
        if wanted is ViewMode.GENERATED or self._start_reference():
            self.view_mode = wanted

    def toggle_autopilot(self) -> None:
        if self.autopilot.policy is not None:
            self.autopilot.take_control()
        elif self._loaded is not None:
            self.autopilot.hand_over(self._policy(self._loaded), self._session.inputs.expected() or NO_ACTION)

    def reset_context(self) -> None:
        """Recovers from drift: with frames of the reference world if it runs, else by rewinding to before the drift."""
        loaded, history = self._loaded, self._session.history
        if loaded is None or history is None or history.head is None or self._session.state is SessionState.REWINDING:
            return
        if self._reference is not None and isinstance(loaded.playable, SupportsContextReset):
            self._is_reset_pending = True
            return
        here = history.head
        last_known = _last_node_where(history, here, lambda drift: True)
        if last_known is not None and last_known.drift is not None and last_known.drift <= 1:
            key = self._key(Command.VIEW_MODE)
            hint = f" ({key} starts the reference world for a reset from its frames)" if loaded.reference else ""
            self._session.notify(f"no drift detected{hint}")
            return
        good = _last_node_where(history, here, lambda drift: drift <= 1)
        if good is None:
            self._session.notify("no frame without drift in history; restarting")
            self._session.reset()
            return
        back_s = (here.step.index - good.step.index) * self._session.world_tick_s
        self._session.notify(f"rewound {back_s:.1f} s to the last frame without drift")
        self._session.go_to(good)

    def _toggle_memory(self) -> None:
        self._is_memory_shown, self._rows = not self._is_memory_shown, ()

    # ---- every turn of the loop

    def update(self) -> None:
        """Passes a new head of the history to the memory scores and the reference world."""
        session = self._session
        loaded = session.status.loaded
        if loaded is not None and loaded is not self._loaded:
            self._loaded, self.memory = loaded, Memory(loaded.start_frames)
        head = session.history.head if session.history is not None else None
        if head is None or session.state in (SessionState.REWINDING, SessionState.LOADING):
            return
        if head is not self._head:
            if head.step.index == 0 and self._recorded is not None:
                self._recorded.restart()
            self._head = head
            self.memory.follow(head)
        if self._reference is not None:
            self._update_reference(self._reference, head)

    def _update_reference(self, reference: ReferenceWorker, head: HistoryNode) -> None:
        reference.follow(head)
        status = reference.status
        if status.phase is ReferencePhase.FAILED and status.error is not None:
            self._session.notify(": ".join(filter(None, (status.error.message, status.error.hint))))
            reference.close()
            self._reference, self.view_mode, self._is_reset_pending = None, ViewMode.GENERATED, False
            return
        pair = self._aligned_frames(head.step)
        if pair is None:
            return
        self.memory.compare(pair, status.step_length)
        if self._is_reset_pending and pair.generated is head.step and self._loaded is not None:
            make = partial(pair.context_override, self._loaded.action_spec)
            self._is_reset_pending = not self._session.reset_context(head, make)

    def frame(self, picture: Step) -> Frame:
        """The frame to show while play is at `picture`; the same array object while nothing has changed."""
        is_compared = self.view_mode is not ViewMode.GENERATED and self._session.state is not SessionState.REWINDING
        pair = self._aligned_frames(picture) if is_compared else None
        shown = (self.view_mode, picture if pair is None else pair)
        if self._picture is None or shown[0] is not self._shown[0] or shown[1] is not self._shown[1]:
            self._shown, self._picture = shown, _compose(self.view_mode, picture, pair)
        return self._picture

    def lines(self, bindings: tuple[Binding, ...]) -> tuple[str, ...]:
        """Shown above the status line, at every status level."""
        found = []
        if self.autopilot.policy is not None:
            key = key_for(Command.AUTOPILOT, bindings=bindings)
            found.append(f"autopilot: {self.autopilot.policy.name} · {key} or any movement key takes over")
        if self.view_mode is not ViewMode.GENERATED:
            found.append(self._reference_status(self._status))
        if self._is_reset_pending:
            found.append("context reset pending (reference catching up)")
        return tuple(found)

    def rows(self, bindings: tuple[Binding, ...]) -> tuple[PanelRow, ...]:
        """The memory panel, while it is on."""
        if not self._is_memory_shown:
            return ()
        head = self._head.step if self._head is not None else None
        now = head.index if head is not None else 0
        is_due = abs(now - self._rows_frame_index) * self._session.world_tick_s >= MEMORY_PANEL_PERIOD_S
        is_first_map = self._map_view is None and self._session.worker.map_view is not None
        if not self._rows or is_due or is_first_map:
            pair = self._aligned_frames(head) if head is not None else None
            self._map_view = self._session.worker.map_view
            self._rows = memory_rows(self.memory, pair.psnr_db if pair else None, bindings, self._map_view)
            self._rows_frame_index = now
            self._session.worker.request_map_view()
        return self._rows

    # ---- internal

    @property
    def _status(self) -> ReferenceStatus | None:
        return self._reference.status if self._reference is not None else None

    def _start_reference(self) -> bool:
        """Returns whether there is a reference world, or one is starting."""
        if self._reference is not None:
            return True
        if self._loaded is None or self._loaded.reference is None:
            self._session.notify("no reference world for this preset" if self._loaded else "the world is still loading")
            return False
        self._reference = ReferenceWorker(self._loaded.reference, self._loaded.action_spec, self._wake)
        self._reference.start()
        return True

    def _policy(self, loaded: LoadedWorld) -> AutopilotPolicy:
        if self._recorded is not None and self._recorded.peek() is not None:
            return self._recorded
        status = self._status
        can_walk = loaded.action_spec.pose_control is None  # explorers rely on collisions
        if can_walk and status is not None and status.explorer is not None:
            return ReferencePolicy(lambda: self._status or ReferenceStatus(), self._index_now)
        return ScriptPolicy(loaded.action_spec, self._session.seed)

    def _index_now(self) -> int:
        return self._head.step.index if self._head is not None else 0

    def _aligned_frames(self, picture: Step) -> AlignedFrames | None:
        """The newest frames of both worlds, unless too old to stand for `picture`."""
        pair = status.pair if (status := self._status) is not None else None
        return pair if pair is not None and 0 <= picture.index - pair.generated.index <= MAX_TICKS_BEHIND else None

    def _reference_status(self, status: ReferenceStatus | None) -> str:
        if self._session.state is SessionState.REWINDING:
            return f"{self.view_mode.value} · paused while rewinding"
        if status is None or status.phase is ReferencePhase.STARTING:
            return f"{self.view_mode.value} · starting the reference world ..."
        pair = self._aligned_frames(self._head.step) if self._head is not None else None
        if status.unreachable_reason:
            return f"{self.view_mode.value} · not available: {status.unreachable_reason}"
        if pair is None:
            return f"{self.view_mode.value} · catching up ({status.num_left} ticks)"
        return f"{self.view_mode.value} · PSNR {pair.psnr_db:.1f} dB"

    def _key(self, command: Command) -> str:
        return key_for(command, bindings=self._session.inputs.bindings)


def _last_node_where(history: PlayHistory, node: HistoryNode, is_wanted: Callable[[float], bool]) -> HistoryNode | None:
    """The last node, `node` included, whose drift is known and accepted by `is_wanted`."""
    now: HistoryNode | None = node
    while now is not None and (now.drift is None or not is_wanted(now.drift)):
        now = history.parent_of(now)
    return now


def _compose(mode: ViewMode, picture: Step, pair: AlignedFrames | None) -> Frame:
    """Without a pair: the generated frame, with black beside it in SIDE_BY_SIDE."""
    if mode is ViewMode.SIDE_BY_SIDE:
        reference = np.zeros_like(picture.frame) if pair is None else pair.reference.frame
        return side_by_side(reference, picture.frame if pair is None else pair.generated.frame)
    if mode is ViewMode.GENERATED or pair is None:
        return picture.frame
    return (
        pair.reference.frame if mode is ViewMode.REFERENCE else difference(pair.reference.frame, pair.generated.frame)
    )


def memory_rows(
    memory: Memory,
    truth_psnr_db: float | None,
    bindings: tuple[Binding, ...] = BINDINGS,
    map_view: MapView | None = None,
) -> tuple[PanelRow, ...]:
    """`truth_psnr_db`: of the newest frame against the reference world, while it runs. `map_view`: the model's map."""
    level = memory.drift.level
    style = Style.ERROR if level is not None and level > 1 else Style.PLAIN
    rows = [
        PanelRow("Memory", style=Style.STRONG),
        PanelRow("revisit PSNR", _format_revisits(memory.revisits)),
        PanelRow("drift", "not enough frames yet" if level is None else f"{level:.2f} (ok < 1)", style=style),
    ]
    if memory.reference_revisits.num_scores:
        rows.insert(2, PanelRow("reference", _format_revisits(memory.reference_revisits)))
    if truth_psnr_db is not None:
        rows.append(PanelRow("PSNR to reference", f"{truth_psnr_db:.1f} dB"))
    if memory.path:
        pixels = path_map([pose for _, pose in memory.path], map_view)
        rows.append(PanelRow("", image=InlineImage(MAP_PX, MAP_PX, pixels, MAP_LINES)))
    key = key_for(Command.RESET_CONTEXT, bindings=bindings)
    return (*rows, PanelRow(f"{key} reset context", style=Style.MUTED))


def _extent_with_map(
    low_2: npt.NDArray[np.float64], high_2: npt.NDArray[np.float64], view: MapView
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The lowest and highest x, y of a path and of the known cells."""
    rows, columns = np.nonzero(view.known > KNOWN_THRESHOLD)
    if not len(rows):
        return low_2, high_2
    known_N2 = (np.stack((columns, rows), 1) / (len(view.known) - 1) * 2 - 1) * view.reach
    return np.minimum(low_2, known_N2.min(0)), np.maximum(high_2, known_N2.max(0))


def _draw_map(pixels: npt.NDArray[np.uint8], view: MapView, center_2: npt.NDArray[np.float64], scale: float) -> None:
    """Side effects: draws the cells of the map on `pixels`, `scale` pixels per tick of walking."""
    offsets = (np.arange(MAP_PX) + 0.5 - MAP_PX / 2) / scale
    cells = len(view.known)
    columns, rows = (
        np.rint(((center + offsets) / view.reach + 1) / 2 * (cells - 1)).astype(int) for center in center_2
    )
    is_inside = ((rows >= 0) & (rows < cells))[:, None] & ((columns >= 0) & (columns < cells))
    at = np.ix_(rows.clip(0, cells - 1), columns.clip(0, cells - 1))
    wall, known = (part[at][..., None] / 255 for part in (view.wall, view.known))
    colors = np.array(FLOOR) * (1 - wall) + np.array(WALL) * wall
    shown = np.array(MAP_BACKGROUND) * (1 - known) + colors * known
    pixels[:] = np.where(is_inside[..., None], shown, pixels)[::-1].astype(np.uint8)


def _format_revisits(revisits: RevisitScore) -> str:
    if revisits.last_db is None or revisits.mean_db is None:
        return "no revisits yet"
    return f"{revisits.last_db:.1f} dB (mean of {revisits.num_scores}: {revisits.mean_db:.1f})"


def path_map(poses: Iterable[Pose], map_view: MapView | None = None) -> bytes:
    """RGB bytes, `MAP_PX` squared: the path from old (dark) to new (bright), and the camera's heading. +y is up.

    Under it, what the model's map knows: the floor, and walls in light gray; the rest is dark.
    """
    points = np.array([(pose.x, pose.y, pose.angle_rad) for pose in poses], np.float64)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    if map_view is not None:
        low, high = _extent_with_map(low, high, map_view)
    center = (low + high) / 2
    scale = (MAP_PX - 2 * MARGIN_PX) / max(MIN_MAP_STRIDES, float((high - low).max()))
    cells = ((points[:, :2] - center) * scale + MAP_PX / 2).astype(int)
    fraction = np.linspace(0.0, 1.0, len(points))[:, None]
    pixels = np.empty((MAP_PX, MAP_PX, 3), np.uint8)
    pixels[:] = MAP_BACKGROUND
    if map_view is not None:
        _draw_map(pixels, map_view, center, scale)
    pixels[MAP_PX - 1 - cells[:, 1], cells[:, 0]] = (1 - fraction) * OLD + fraction * NEW
    (column, row), angle_rad, ahead = cells[-1], points[-1, 2], np.arange(0.0, 8.0)
    columns = (column + ahead * math.cos(angle_rad)).astype(int)
    rows = (MAP_PX - 1 - row - ahead * math.sin(angle_rad)).astype(int)
    pixels[rows.clip(0, MAP_PX - 1), columns.clip(0, MAP_PX - 1)] = HERE
    return pixels.tobytes()
