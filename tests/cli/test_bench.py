"""`worldsim bench`: the keys others rely on, and windows that are where they are said to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldsim.cli.bench import FrameCost, early_and_late, summary
from worldsim.cli.bench_latency import summary as summary_of_play
from worldsim.cli.bench_latency import text
from worldsim.cli.main import main
from worldsim.engine.simulator import StageTimes

PROMISED_KEYS = {
    "frames_per_s",
    "ms_per_frame_p50",
    "ms_per_frame_p95",
    "late_over_early",
    "rss_late_over_early",
    "ms_denoise",
    "ms_commit",
    "ms_decode",
    "steps",
    "device",
    "dtype",
}


def cost(ms: float, rss_bytes: int = 100) -> FrameCost:
    return FrameCost(
        ms=ms, rss_bytes=rss_bytes, times=StageTimes(ms_denoise=ms / 2, ms_commit=ms / 4, ms_decode=ms / 4)
    )


def test_the_promised_keys_are_there(tiny_preset_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    arguments = ["--frames", "24", "--steps", "2", "--device", "cpu", "--json", str(out)]
    assert main(["bench", str(tiny_preset_folder), *arguments]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result.keys() >= PROMISED_KEYS
    assert (result["steps"], result["device"], result["dtype"], result["frames"]) == (2, "cpu", "float32", 24)
    parts = result["ms_denoise"] + result["ms_commit"] + result["ms_decode"]
    assert parts <= 1e3 / result["frames_per_s"], "the stages are parts of the frame"
    assert result["state_bytes"] > 0


def test_a_run_too_short_to_compare_is_refused(tiny_preset_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tiny_preset_folder), "--frames", "5"]) == 2
    assert "--frames is 5" in capsys.readouterr().err


def test_in_a_long_run_the_early_window_is_around_frame_100_and_the_late_one_ends_it() -> None:
    costs = [cost(float(index)) for index in range(5000)]
    early, late = early_and_late(costs)
    assert [early[0].ms, early[-1].ms] == [50, 149]
    assert [late[0].ms, late[-1].ms] == [4900, 4999]


@pytest.mark.parametrize("num_frames", [20, 40, 199, 250])
def test_in_a_short_run_the_windows_do_not_overlap(num_frames: int) -> None:
    early, late = early_and_late([cost(float(index)) for index in range(num_frames)])
    assert len(early) == len(late) > 0
    assert early[-1].ms < late[0].ms
    assert early[0].ms > 0, "the first frames warm up"


def test_growing_time_and_memory_show_in_the_ratios() -> None:
    costs = [cost(2.0, 100)] * 500 + [cost(3.0, 120)] * 500
    result = summary(costs)
    assert result["late_over_early"] == 1.5
    assert result["rss_late_over_early"] == 1.2
    assert result["frames_per_s"] == pytest.approx(400)
    assert result["ms_per_frame_p50"] == 2.5
    assert result["ms_per_frame_p95"] == 3.0
    assert result["ms_denoise"] == pytest.approx(1.25)


def test_play_is_measured_with_and_without_prefetch(
    tiny_preset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "play.json"
    assert main(["bench", str(tiny_preset_folder), "--play", "1.5", "--device", "cpu", "--json", str(out)]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["frames_that_differ"] == 0 < result["frames_compared"]
    assert result["without_prefetch"]["hit_rate"] == 0 < result["with_prefetch"]["hit_rate"]
    assert result["ratios"]["ms_asked_p50"] < 1
    shown = capsys.readouterr().out
    assert "up to 3 ahead" in shown and "all the same, bit for bit" in shown


def test_frames_that_differ_are_not_hidden() -> None:
    way = summary_of_play([])
    result = {"play_s": 1.0, "touches": 2, "tick_ms": 50.0, "prefetch_depth": 3, "preset": "tiny", "ratios": {}}
    result |= {"without_prefetch": way, "with_prefetch": way, "frames_compared": 9, "frames_that_differ": 2}
    result["ratios"] = dict.fromkeys(way, None)
    assert "2 DIFFER" in text(result)


@pytest.mark.parametrize("play", ["0", "9999"])
def test_a_play_that_is_too_short_or_too_long_is_refused(play: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "maze", "--play", play]) == 2
    assert "--play is" in capsys.readouterr().err


@pytest.mark.parametrize("session", ["idle", "play"])
def test_a_session_is_measured_early_and_late(
    tiny_preset_folder: Path, tmp_path: Path, session: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "session.json"
    arguments = ["--session", session, "--frames", "60", "--device", "cpu", "--json", str(out)]
    assert main(["bench", str(tiny_preset_folder), *arguments]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert len(result["points"]) == 20 and result["points"][-1]["tick"] == 60
    for share in ("p50", "p95", "p99"):
        late, early = result["tick_cpu_ms_late"][share], result["tick_cpu_ms_early"][share]
        assert result["late_over_early"][share] == pytest.approx(late / early)
    assert result["full_at_tick"] == 60, "with so few frames there is room for more"
    shown = capsys.readouterr().out
    assert ("standing still" if session == "idle" else "a person") in shown and "drift" in shown


def test_two_kinds_of_play_at_once_are_refused(tiny_preset_folder: Path) -> None:
    assert main(["bench", str(tiny_preset_folder), "--session", "idle", "--play", "2"]) == 2
