"""The HUD's rows of text, without a window or a font."""

from __future__ import annotations

from dataclasses import replace

from worldsim.app.hud import MAX_LINE_COLUMNS, HudState, Panel, Placement, StatusLevel, Style, panels, status_line
from worldsim.app.metrics import FrameStats
from worldsim.core.errors import NonFiniteError, PresetError
from worldsim.engine.interfaces import StageTimes
from worldsim.engine.session import SessionState
from worldsim.engine.worker import WorkerCounters

PLAYING = HudState(
    state=SessionState.PLAYING,
    title="A maze",
    is_loaded=True,
    stats=FrameStats(generated_per_s=17.5, shown_per_s=17.4, ms_per_frame=12.34),
    counters=WorkerCounters(hits=9, misses=1, made=12, dropped=2, num_steps=2, times=StageTimes(ms_denoise=9.87)),
    help_rows=(("W / Up", "walk forward"), ("R", "reset")),
)


def text(found: tuple[Panel, ...], placement: Placement) -> str:
    return "\n".join(f"{row.left} {row.right}".strip() for p in found if p.placement is placement for row in p.rows)


def test_status_line_shows_rates_times_steps_and_prefetch() -> None:
    line = status_line(PLAYING)
    for part in ("17.5 gen fps", "17.4 shown fps", "12.3 ms/frame", "2 denoising steps", "prefetch 90%"):
        assert part in line


def test_no_hit_rate_before_the_first_request() -> None:
    assert "prefetch -" in status_line(replace(PLAYING, counters=WorkerCounters(num_steps=1)))
    assert "step" not in status_line(replace(PLAYING, has_denoising=False)), "a map has nothing to denoise"


def test_reference_world_is_named() -> None:
    hud = replace(PLAYING, counters=WorkerCounters(num_steps=0), status=StatusLevel.DETAIL)
    assert "reference world" in status_line(hud)
    assert "denoise" not in text(panels(hud), Placement.TOP_LEFT)


def test_status_levels_detail_and_off() -> None:
    assert text(panels(PLAYING), Placement.TOP_LEFT) == ""
    assert "9.9 ms" in text(panels(replace(PLAYING, status=StatusLevel.DETAIL)), Placement.TOP_LEFT)
    assert panels(replace(PLAYING, status=StatusLevel.OFF)) == ()


def test_help_shows_the_key_rows() -> None:
    assert "W / Up walk forward\nR reset" in text(panels(replace(PLAYING, is_help_shown=True)), Placement.CENTER)


def test_loading_shows_stage_and_elapsed_time() -> None:
    shown = text(panels(HudState(title="maze", stage="loading torch", stage_s=2.4)), Placement.CENTER)
    assert shown == "maze\nLoading torch ... (2 s)"


def test_error_shows_reason_hint_and_options() -> None:
    error = NonFiniteError("frame 7 came out as NaN", hint="reset the session")
    shown = text(panels(replace(PLAYING, state=SessionState.FAILED, error=error)), Placement.CENTER)
    expected = "World stopped\nFrame 7 came out as NaN\nReset the session\nR restart · Esc menu"
    assert shown == expected


def test_load_error_has_its_own_title() -> None:
    hud = HudState(state=SessionState.FAILED, error=PresetError("weights are cut short"))
    assert "Could not load the world" in text(panels(hud), Placement.CENTER)


def test_long_message_is_wrapped() -> None:
    hud = HudState(state=SessionState.FAILED, error=PresetError("word " * 60))
    assert max(map(len, text(panels(hud), Placement.CENTER).splitlines())) <= 64


def test_pause_names_the_resume_key() -> None:
    assert "P resume" in text(panels(replace(PLAYING, state=SessionState.PAUSED)), Placement.CENTER)


def test_no_message_during_play() -> None:
    assert text(panels(PLAYING), Placement.CENTER) == ""


def test_long_line_is_wrapped_without_breaking_paths() -> None:
    path = "recordings/maze-20261121-141504"
    expected = (
        f"the recording {path} has stopped: No space left on device; free space, then: worldsim sessions repair {path}"
    )
    (panel,) = (p for p in panels(replace(PLAYING, lines=(expected,))) if p.placement is Placement.BOTTOM)
    lines = [row.left for row in panel.rows if row.style is Style.STRONG]
    assert " ".join(lines) == expected.replace("the recording", "The recording")
    assert len(lines) == 2 and max(map(len, lines)) <= MAX_LINE_COLUMNS
    assert sum(path in line for line in lines) == 2
