"""The README's table: one row per architecture with all that was measured."""

from __future__ import annotations

from dataclasses import replace

from worldsim.evaluation.report.comparisons import main_table
from worldsim.evaluation.report.results import ComparisonRun, Results, RunScore

SAMPLE = {"frame": 100, "ms": 2.0, "ms_ratio": 1.0, "state_bytes": 24_000, "resident_ratio": 1.0}
COST = {
    "architectures": {
        "causal-full": {
            "training": [{"context_frames": 16, "ms": 2.0}, {"context_frames": 64, "ms": 12.0}],
            "generation": [SAMPLE, {**SAMPLE, "frame": 500, "ms_ratio": 4.0, "state_bytes": 96_000}],
        },
        "no-clean-prefix": {"training": [], "generation": [], "same_as": "full"},
    }
}


def run(architecture: str, value: float) -> ComparisonRun:
    scores = {
        "autoencoder": RunScore(value=33.0),
        "second_turn": RunScore(value=value, per_seed=(value - 1, value, value + 1)),
    }
    return ComparisonRun(architecture=architecture, seed=0, updates=1, train_s=1, frames=1, parameters=1, scores=scores)


def texts(results: Results) -> list[list[str]]:
    table = main_table(results)
    assert all(len(row) == len(table.head) for row in table.rows)
    return [[cell.text for cell in row] for row in table.rows]


def test_scores_and_costs_of_an_architecture_share_a_row() -> None:
    results = Results(runs=[run("full", 25.0), run("causal-full", 22.0)], costs=[COST])
    assert main_table(results).head[1:3] == ("revisit (second turn), PSNR", "minus `full`")
    assert main_table(results).head[3:5] == ("training step, 64 frames relative to 16", "last frame")
    full, causal = texts(results)
    assert full[0] == "`full`" and full[2:] == ["", "", "", "", "", ""]
    assert causal[2] == "-3.00 [-3.00, -3.00] worse"
    assert causal[3:] == ["x 6.0", "500", "x 4.00", "96 kB", "x 4.00"]


def test_training_variants_are_left_out_of_the_summary() -> None:
    assert [row[0] for row in texts(Results(runs=[run("full", 25.0), run("full+rollouts", 22.0)]))] == ["`full`"]


def test_the_summary_uses_the_longest_experiment() -> None:
    long = replace(run("full", 28.0), updates=3, experiment="3 updates")
    (full,) = texts(Results(runs=[run("full", 17.0), run("lstm", 16.0), long]))
    assert full[1].startswith("28.0")


def test_unmeasured_scores_and_costs_have_no_column() -> None:
    assert [len(row) for row in texts(Results(costs=[COST]))] == [6]
    assert [len(row) for row in texts(Results(runs=[run("full", 25.0)]))] == [3]
    assert texts(Results()) == []
