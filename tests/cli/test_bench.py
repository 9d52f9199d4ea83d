"""`worldsim bench play`, `latency` and `soak`: JSON keys, early and late windows, former spellings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldsim.cli.bench import FrameCost, early_and_late, summary, with_subcommand
from worldsim.cli.bench_session import latency_summary, latency_text
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


def test_play_writes_the_documented_keys(tiny_preset_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    arguments = ["--frames", "24", "--steps", "2", "--device", "cpu", "--json", str(out)]
    assert main(["bench", "play", str(tiny_preset_folder), *arguments]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result.keys() >= PROMISED_KEYS
    assert (result["steps"], result["device"], result["dtype"], result["frames"]) == (2, "cpu", "float32", 24)
    parts = result["ms_denoise"] + result["ms_commit"] + result["ms_decode"]
    assert parts <= 1e3 / result["frames_per_s"], "the stages are part of the frame time"
    assert result["state_bytes"] > 0


def test_too_few_frames_are_an_error(tiny_preset_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "play", str(tiny_preset_folder), "--frames", "5"]) == 2
    assert "--frames is 5" in capsys.readouterr().err


def test_in_a_long_run_the_early_window_is_around_frame_100_and_the_late_window_is_last() -> None:
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


def test_latency_is_measured_with_and_without_prefetch(
    tiny_preset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "play.json"
    assert (
        main(["bench", "latency", str(tiny_preset_folder), "--seconds", "1.5", "--device", "cpu", "--json", str(out)])
        == 0
    )
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["frames_that_differ"] == 0 < result["frames_compared"]
    assert result["without_prefetch"]["hit_rate"] == 0 < result["with_prefetch"]["hit_rate"]
    assert result["ratios"]["ms_asked_p50"] < 1
    shown = capsys.readouterr().out
    assert "prefetch <= 3" in shown and "bit-exact" in shown


def test_mismatched_frames_are_reported() -> None:
    no_rounds = latency_summary([])
    result = {"play_s": 1.0, "touches": 2, "tick_ms": 50.0, "prefetch_depth": 3, "preset": "tiny", "ratios": {}}
    result |= {"without_prefetch": no_rounds, "with_prefetch": no_rounds, "frames_compared": 9, "frames_that_differ": 2}
    result["ratios"] = dict.fromkeys(no_rounds, None)
    assert "2 DIFFER" in latency_text(result)


@pytest.mark.parametrize("seconds", ["0", "9999"])
def test_latency_checks_the_duration(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "latency", "maze", "--seconds", seconds]) == 2
    assert "--seconds is" in capsys.readouterr().err


@pytest.mark.parametrize("session", ["idle", "play"])
def test_soak_compares_early_and_late_ticks(
    tiny_preset_folder: Path, tmp_path: Path, session: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "session.json"
    arguments = ["--input", session, "--frames", "60", "--device", "cpu", "--json", str(out)]
    assert main(["bench", "soak", str(tiny_preset_folder), *arguments]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert len(result["points"]) == 20 and result["points"][-1]["tick"] == 60
    for share in ("p50", "p95", "p99"):
        late, early = result["tick_cpu_ms_late"][share], result["tick_cpu_ms_early"][share]
        assert result["late_over_early"][share] == pytest.approx(late / early)
    assert result["full_at_tick"] == 60, "so few frames do not fill the rewind history"
    shown = capsys.readouterr().out
    assert ("no input" if session == "idle" else "synthetic input") in shown and "drift" in shown


@pytest.mark.parametrize(
    ("former", "current"),
    [
        ("maze", "play maze"),
        ("--frames 100 maze", "play --frames 100 maze"),
        ("maze --play 20 --prefetch 1", "latency maze --seconds 20 --prefetch 1"),
        ("maze --play=20", "latency maze --seconds=20"),
        ("maze --session idle --frames 60", "soak maze --input idle --frames 60"),
        ("maze --train --updates 6", "train maze --updates 6"),
        ("play maze", "play maze"),
        ("--help", "--help"),
        ("", ""),
    ],
)
def test_former_spellings_are_translated(former: str, current: str) -> None:
    assert with_subcommand(former.split()) == current.split()


def test_former_flags_that_exclude_each_other_are_an_error(tiny_preset_folder: Path) -> None:
    assert main(["bench", str(tiny_preset_folder), "--session", "idle", "--play", "2"]) == 2


def test_a_misspelled_subcommand_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "latncy", "maze"]) == 2
    assert capsys.readouterr().err == "error: no subcommand 'latncy' of bench\nhint: did you mean 'latency'?\n"
