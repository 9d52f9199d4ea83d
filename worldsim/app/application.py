"""The main loop of play: handle events, tick the session, draw if something changed, sleep until the next deadline.

UI thread; never calls torch, never waits for the model. Pace and state are the session's (`engine.session`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

import psutil
import pygame

from worldsim.actions.bindings import Binding, Command, apply_overrides, available_bindings
from worldsim.app.frame_pacing import FramePacer
from worldsim.app.hud import HudState, Panel, StatusLevel, next_member, panels, performance_rows
from worldsim.app.input import CommandRequest, InputHandler, handle_menu_event
from worldsim.app.key_labels import help_rows
from worldsim.app.key_overlay import KeyOverlay
from worldsim.app.menu import MenuPage, MenuStack, SettingsPages, pause_page
from worldsim.app.metrics import FrameCounter, SessionStats
from worldsim.app.overlays import Notifications, RecordingControl, SidePanel, time_line
from worldsim.app.reference_panel import ReferencePanel
from worldsim.app.renderer import Interpolation, Renderer, ScalingFilter
from worldsim.app.screenshot import take_screenshot
from worldsim.app.settings import Settings, SettingsFile
from worldsim.app.window import Window, is_input_event, needs_redraw
from worldsim.core.clock import Clock
from worldsim.core.types import Action, Frame, Step
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.session import Session, SessionState

_log = logging.getLogger(__name__)

HUD_PERIOD_S = 0.25
"""Update period of the numbers in the HUD: faster changes cannot be read."""
REWINDING_HUD_PERIOD_S = 0.1
PERFORMANCE_PANEL_PERIOD_S = 0.5
"""Rendering the large performance panel takes some milliseconds."""
HIDDEN_POLL_S = 5.0
"""Longest sleep while the window is hidden. Events and the model thread wake it earlier."""


class ExitAction(Enum):
    """What follows after `run`."""

    QUIT = "quit"
    TITLE = "title"


class Application:
    """`run` returns when the player quits, or after `max_frames` generated frames were shown."""

    def __init__(
        self,
        session: Session,
        window: Window,
        renderer: Renderer,
        *,
        clock: Clock,
        title: str,
        max_frames: int | None = None,
        settings: SettingsFile | None = None,
        has_title: bool = False,
        num_steps: int | None = None,
        actions: Sequence[Action] = (),
    ) -> None:
        """Without `settings` the defaults apply, and the menu has no settings page. `has_title`: the menu leads back to
        the title screen. `num_steps` replaces the preset's denoising steps. `actions` are replayed from the start,
        until a key takes control."""
        self._session, self._window, self._renderer = session, window, renderer
        self._clock, self._title = clock, title
        self._max_frames = max_frames
        self._input = InputHandler(session.inputs, window.capture_mouse)
        self._side_panel, self._recording = SidePanel(session, clock), RecordingControl(session, clock)
        self._reference_panel = ReferencePanel(session, lambda: window.wake(), actions=actions)
        self._handlers = {**self._command_handlers(), **self._reference_panel.commands()}
        self._pacer, self._frame_counter = FramePacer(window, renderer, clock), FrameCounter(clock)
        self._notifications = Notifications(session, clock)
        self._process = psutil.Process()
        self._is_running, self.exit_action = True, ExitAction.QUIT
        self._menus, self._has_title = MenuStack(), has_title
        self._settings_pages = (
            SettingsPages(self._menus, settings, self._apply, self._no_denoising_reason) if settings else None
        )
        self._settings = settings.current if settings else Settings()
        self._bindings = apply_overrides(())
        self._loaded: LoadedWorld | None = None
        self._preset_num_steps, self._initial_num_steps = 0, num_steps
        self._status, self._is_help_shown, self._is_key_overlay_shown = StatusLevel.LINE, False, False
        self._panels: tuple[Panel, ...] = ()
        self._key_overlay, self._key_overlay_panels = KeyOverlay(), tuple[Panel, ...]()
        self._hud_due_ns = self._stage_ns = clock.now_ns()
        self._stage = ""
        self._picture: Step | None = None
        self._shown: Frame | None = None
        self._unshown: Step | None = None
        """A new frame whose aligned reference frame has not arrived yet."""
        self._is_stale = self._was_visible = True
        self._bind(self._settings)

    def run(self) -> SessionStats:
        last_ns = self._clock.now_ns()
        while self._is_running:
            events = self._window.wait(self._sleep_s())
            for event in events:
                requests = self._requests(event)
                for request in requests:
                    self._execute(request)
                if not requests and is_input_event(event):
                    self._pacer.meter.on_input(self._clock.now_ns())
            self._update_visibility()
            if self._menus.is_open and self._is_playing:
                self._session.toggle_pause()
            now_ns = self._clock.now_ns()
            steps = self._session.tick((now_ns - last_ns) / 1e9)
            last_ns = now_ns
            self._update_loaded()
            self._reference_panel.update()
            self._draw_if_new(steps, is_stale=self._is_stale or needs_redraw(events))
            self._stop_if_done()
        return self.report()

    def close(self) -> None:
        """Stops the reference world. It may take a second: close the window first."""
        self._reference_panel.close()

    def notify(self, text: str) -> None:
        """Shows a message for some seconds, and logs it once."""
        self._notifications.post(text)

    def report(self) -> SessionStats:
        return self._frame_counter.report(self._session.worker.counters, self._pacer.meter.stats)

    # ---- events and commands

    def _requests(self, event: pygame.event.Event) -> list[CommandRequest]:
        """An open menu takes every event except those that quit."""
        if not self._menus.is_open or self._input.is_quit_event(event):
            return self._input.handle([event])
        before = self._menus.panel()
        handle_menu_event(
            self._menus, event, partial(self._renderer.row_at, before, self._window.size_px), self._input.gamepad
        )
        if not self._menus.is_open or self._menus.panel() != before:
            self._hud_due_ns, self._is_stale = self._clock.now_ns(), True
        return []

    def _execute(self, request: CommandRequest) -> None:
        command, argument = request
        self._hud_due_ns, self._is_stale = self._clock.now_ns(), True
        self._handlers[command](argument)

    def _command_handlers(self) -> dict[Command, Callable[[int], None]]:
        session = self._session
        return {
            Command.RESET: lambda _: session.reset(),
            Command.NEXT_SEED: lambda _: session.reset(session.seed + 1),
            Command.PAUSE: lambda _: session.toggle_pause(),
            Command.ESCAPE: lambda _: None if self._input.free_mouse() else self._open_menu(),
            Command.SINGLE_STEP: lambda _: session.single_step(),
            Command.SPEED: session.change_speed,
            Command.REWIND: lambda argument: session.rewind(argument > 0),
            Command.BRANCH: self._side_panel.change_branch,
            Command.BRANCHES: lambda _: self._side_panel.toggle_branches(),
            Command.SAVE: lambda _: self._side_panel.with_slot(session.save),
            Command.SLOT: lambda _: self._side_panel.next_slot(),
            Command.LOAD: lambda _: self._side_panel.with_slot(session.load),
            Command.NUM_STEPS: session.set_num_steps,
            Command.HELP: lambda _: self._toggle_help(),
            Command.STATUS: lambda _: self._next_status(),
            Command.FILTER: lambda _: self._next_filter(),
            Command.KEY_OVERLAY: lambda _: self._toggle_key_overlay(),
            Command.SCREENSHOT: lambda _: self._take_screenshot(),
            Command.RECORD: lambda _: self._recording.toggle(),
            Command.FULL_SCREEN: lambda _: self._window.toggle_full_screen(),
            Command.QUIT: lambda _: self._stop(),
        }

    def _toggle_help(self) -> None:
        self._is_help_shown = not self._is_help_shown

    def _toggle_key_overlay(self) -> None:
        self._is_key_overlay_shown = not self._is_key_overlay_shown

    def _next_status(self) -> None:
        self._status = next_member(self._status)

    def _next_filter(self) -> None:
        self._renderer.scaling_filter = next_member(self._renderer.scaling_filter)

    def _take_screenshot(self) -> None:
        if self._picture is not None and self._loaded is not None:
            self._notifications.post(take_screenshot(self._session, self._picture, self._loaded.title))

    def _stop(self) -> None:
        self._is_running = False

    def _stop_if_done(self) -> None:
        if self._max_frames is None:
            return
        if self._frame_counter.num_generated >= self._max_frames or self._session.state is SessionState.FAILED:
            self._stop()

    # ---- menu and settings

    def _open_menu(self) -> None:
        for request in self._input.release_all():
            self._execute(request)
        self._menus.open(self._pause_page, on_back=self._resume)

    def _pause_page(self) -> MenuPage:
        entries: list[tuple[str, Callable[[], None]]] = [("Resume", self._resume), ("Restart", self._reset)]
        if self._settings_pages is not None:
            entries.append(("Settings", self._settings_pages.open))
        if self._has_title:
            entries.append(("Title screen", self._leave_for_title))
        return pause_page((*entries, ("Quit", self._stop)))

    def _resume(self) -> None:
        self._menus.close()
        if self._session.state is SessionState.PAUSED:
            self._session.toggle_pause()

    def _reset(self) -> None:
        self._menus.close()
        self._session.reset()

    def _leave_for_title(self) -> None:
        self.exit_action = ExitAction.TITLE
        self._stop()

    def _apply(self, before: Settings, after: Settings) -> None:
        """Applies changed settings that have an immediate effect."""
        self._settings = after
        self._bind(after)
        apply_display_settings(before, after, self._window, self._renderer)
        is_motion_new = after.frame_interpolation == "motion" != before.frame_interpolation
        if is_motion_new and not self._renderer.supports_motion_interpolation:
            self._notifications.post("motion interpolation needs a GPU; blending frames instead")
        if after.denoising_steps != before.denoising_steps and (after.denoising_steps or self._preset_num_steps):
            self._session.set_num_steps(after.denoising_steps or self._preset_num_steps)
        self._session.recorder.is_lossless = after.lossless_recording
        is_recording = self._session.recorder.is_recording
        if before.always_record is not after.always_record is not is_recording:
            self._recording.toggle()

    def _no_denoising_reason(self) -> str:
        return self._loaded.no_denoising_reason if self._loaded else ""

    def _bind(self, settings: Settings) -> None:
        self._bindings = apply_overrides(settings.key_overrides, mouse_sensitivity=settings.mouse_sensitivity)
        self._input.bind(self._bindings, dead_zone=settings.stick_dead_zone)
        if self._loaded is not None:
            self._session.inputs.bindings = self._available_bindings(self._loaded)

    def _available_bindings(self, loaded: LoadedWorld) -> tuple[Binding, ...]:
        return available_bindings(loaded.action_spec, has_num_steps=loaded.has_num_steps, bindings=self._bindings)

    # ---- following the session and the window

    @property
    def _is_playing(self) -> bool:
        return self._session.state is SessionState.PLAYING

    def _update_visibility(self) -> None:
        """Hiding the window releases all keys and pauses; play resumes only on request."""
        was_visible, self._was_visible = self._was_visible, self._window.is_visible
        if was_visible and not self._was_visible:
            for request in self._input.release_all():
                self._execute(request)
            if self._is_playing and self._max_frames is None:
                self._session.toggle_pause()

    def _update_loaded(self) -> None:
        """Once the world is loaded: its default denoising steps, and the keys that have an effect in it."""
        loaded = self._session.status.loaded
        if loaded is None or loaded is self._loaded:
            return
        self._loaded, self._preset_num_steps = loaded, loaded.playable.num_steps if loaded.has_num_steps else 0
        self._bind(self._settings)
        if self._initial_num_steps is not None and self._preset_num_steps:
            self._session.set_num_steps(self._initial_num_steps)
        elif self._initial_num_steps is not None and loaded.no_denoising_reason:
            self._notifications.post(f"denoising steps have no effect: {loaded.no_denoising_reason}")

    def _update_stage(self, now_ns: int) -> None:
        """Logs a new stage or state once, and shows it at once."""
        state = self._session.state
        label = self._session.status.stage if state is SessionState.LOADING else state.value
        if label == self._stage:
            return
        self._stage, self._stage_ns, self._hud_due_ns = label, now_ns, now_ns
        _log.info(label)

    # ---- drawing

    def _sleep_s(self) -> float:
        """Time until the next tick, HUD update or interpolated frame. Events and the model thread wake it earlier."""
        until_hud_s = max(0.0, (self._hud_due_ns - self._clock.now_ns()) / 1e9)
        due_s = self._session.next_due_s
        if not self._was_visible:
            return HIDDEN_POLL_S if due_s is None else due_s
        interpolation_due_s = self._pacer.next_due_s(due_s)
        return min(s for s in (until_hud_s, due_s, interpolation_due_s) if s is not None)

    def _draw_if_new(self, steps: list[Step], *, is_stale: bool) -> None:
        now_ns = self._clock.now_ns()
        self._update_stage(now_ns)
        is_picture_new = self._update_picture(steps)
        self._unshown = steps[-1] if steps else self._unshown
        if self._notifications.update():
            self._hud_due_ns = now_ns
            self._side_panel.refresh()
        if now_ns >= self._hud_due_ns:
            self._hud_due_ns = now_ns + round(self._hud_period_s * 1e9)
            self._pacer.meter.sample(now_ns, self._session.worker.counters, self._frame_counter.num_generated)
            new_panels = panels(self._hud_state(now_ns))
            is_stale = is_stale or new_panels != self._panels
            self._panels = new_panels
        is_covered = self._is_help_shown or self._menus.is_open
        key_panels = self._key_overlay_now() if self._is_key_overlay_shown and not is_covered else ()
        is_stale, self._is_stale = is_stale or key_panels != self._key_overlay_panels, False
        self._key_overlay_panels = key_panels
        if not self._was_visible:
            self._is_stale = True
        elif self._pacer.is_due(is_picture_new, is_stale, self._session.next_due_s, is_playing=self._is_playing):
            self._pacer.draw((*key_panels, *self._panels))
        else:
            return
        if self._unshown is not None and is_picture_new:
            self._pacer.meter.on_frame_shown(self._unshown, self._clock.now_ns())
            self._frame_counter.on_frame_shown(self._unshown.index, self._session.worker.counters)
            self._unshown = None

    @property
    def _hud_period_s(self) -> float:
        if self._session.state is SessionState.REWINDING:
            return REWINDING_HUD_PERIOD_S
        return PERFORMANCE_PANEL_PERIOD_S if self._status is StatusLevel.PERFORMANCE else HUD_PERIOD_S

    def _update_picture(self, steps: list[Step]) -> bool:
        """Returns: whether the frame to show has changed."""
        session, previous, is_playing = self._session, self._picture, self._is_playing
        for step in steps if is_playing else ():
            self._pacer.meter.on_tick(step, session.tick_s)
        if not is_playing:
            self._pacer.end_transition()
            self._pacer.meter.on_pause()
        self._picture = picture = session.shown_step
        if picture is None:
            return False
        shown, self._shown = self._shown, self._reference_panel.frame(picture)
        if self._shown is shown:
            return False
        is_next = is_playing and previous is not None and picture.index == previous.index + 1
        self._pacer.show(self._shown, period_s=session.tick_s if is_next else None)
        return True

    def _key_overlay_now(self) -> tuple[Panel, ...]:
        is_pose_controlled = self._loaded is not None and self._loaded.action_spec.pose_control is not None
        action = self._session.last_action if is_pose_controlled or self._picture is None else self._picture.action
        return (self._key_overlay.panel(self._session.inputs, action),)

    def _hud_state(self, now_ns: int) -> HudState:
        session, loaded, bindings = self._session, self._session.status.loaded, self._bindings
        counters, stats = session.worker.counters, self._pacer.meter.stats
        is_measured = self._status is StatusLevel.PERFORMANCE
        lines = (self._notifications.text, time_line(session), *self._reference_panel.lines(bindings))
        return HudState(
            state=session.state,
            title=loaded.title if loaded else self._title,
            is_loaded=loaded is not None,
            stage=session.status.stage,
            stage_s=(now_ns - self._stage_ns) / 1e9,
            error=session.error,
            status=self._status,
            is_help_shown=self._is_help_shown,
            help_rows=tuple(
                help_rows(self._available_bindings(loaded) if loaded else bindings, has_pad=self._input.gamepad.is_used)
            ),
            stats=stats,
            counters=counters,
            performance_rows=performance_rows(stats, counters, self._process.memory_info().rss) if is_measured else (),
            can_rewind=session.has_started and session.history is not None,
            has_denoising=loaded is None or loaded.has_num_steps,
            frame_index=self._picture.index if self._picture else 0,
            seed=session.seed,
            renderer=self._renderer.name,
            lines=(*filter(None, lines), self._recording.line),
            side_rows=self._side_panel.rows(now_ns, bindings) or self._reference_panel.rows(bindings),
            menu=self._menus.panel() if self._menus.is_open else None,
            bindings=bindings,
        )


def apply_display_settings(before: Settings, after: Settings, window: Window, renderer: Renderer) -> None:
    """Applies only what changed, because keys may have changed the filter and full screen since."""
    if after.scaling_filter != before.scaling_filter:
        renderer.scaling_filter = ScalingFilter[after.scaling_filter.upper()]
    renderer.integer_scale, renderer.interpolation = after.integer_scale, Interpolation(after.frame_interpolation)
    if after.full_screen != before.full_screen and after.full_screen is not window.is_full_screen:
        window.toggle_full_screen()
