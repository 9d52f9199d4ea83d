"""The page shows the results, and no text of a result becomes markup."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from worldsim.evaluation.report.evaluations import score_tables
from worldsim.evaluation.report.html_page import NO_NOTES, NO_SHEETS, render
from worldsim.evaluation.report.results import ComparisonRun, Note, Results, RunScore, read_published_results
from worldsim.models.sequence.architectures import ARCHITECTURES, REFERENCE_ARCHITECTURE


def run(architecture: str, value: float, seed: int = 0, **fields: Any) -> ComparisonRun:
    score = RunScore(value=value, per_seed=(value - 1, value, value + 1))
    about = {"updates": 4000, "train_s": 600.0, "frames": 64_000, "parameters": 443_211, **fields}
    return ComparisonRun(architecture=architecture, seed=seed, scores={"retrieval_psnr": score}, **about)


def page(results: Results) -> str:
    return render(results, command=["worldsim", "report", "a b.json"], today=date(2026, 11, 21))


def rows(html: str, first: str) -> list[list[str]]:
    """The cells of every row whose first cell is `first`."""
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    return [cells for cells in found if cells and cells[0] == first]


EVALUATION = {
    "preset": "maze",
    "seeds": [900000, 900001],
    "steps": 1,
    "rollout": [
        {"horizon": n, "psnr": psnr, "psnr_low": psnr - 1, "psnr_high": psnr + 1, "psnr_autoencoder": 32.6}
        for n, psnr in ((1, 29.94), (10, 27.6), (60, 21.4))
    ],
    "retrieval": {"psnr": 24.2, "psnr_copy": None, "frames": 64},
    "fidelity": {"turn": {"value": 0.93, "low": 0.9, "high": 0.96, "per_seed": [1, 0.86]}},
    "left_out": {"drift": "no reference world"},
    "seconds": {"walks": 28.65},
    "config": {"model": {"width": 19219}},
    "command": "worldsim eval maze",
    "versions": {"torch": "2.13.0"},
}
SAMPLE = {"frame": 100, "ms": 2.0, "ms_ratio": 1.0, "state_bytes": 24_000, "resident_ratio": 1.0}
COST = {
    "kind": "cost",
    "note": "Untrained weights.",
    "architectures": {
        "full": {
            "training": [{"context_frames": 16, "ms": 10.0}, {"context_frames": 64, "ms": 35.0}],
            "generation": [SAMPLE, {**SAMPLE, "frame": 100_000, "ms": 2.02, "ms_ratio": 1.013}],
        },
        "causal-full": {
            "training": [],
            "generation": [SAMPLE, {**SAMPLE, "frame": 500, "ms_ratio": 4.0, "state_bytes": 120_000}],
            "stopped": "stopped at frame 500",
        },
        "no-clean-prefix": {"training": [], "generation": [], "same_as": "full"},
    },
}


def test_evaluation_scores_are_shown_with_interval_ceiling_and_curve() -> None:
    html = page(Results(evaluations=[EVALUATION], origins=[("maze.json", EVALUATION)]))
    assert rows(html, "rollout@1") == [["rollout@1", "29.9 [28.9, 30.9]", "32.6"]]
    retrieval = "retrieval (return path)"
    assert retrieval in [cells[0] for cells in rows(html, retrieval)]
    assert rows(html, retrieval)[1:] == [[retrieval, "24.2", ""], [retrieval, "frames", "64"]]
    assert rows(html, "turn") == [] and "0.930 [0.900, 0.960]" in html
    assert "drift was skipped: no reference world" in html and "28.65" not in html and "19219" not in html
    assert html.count("<svg") == 1 and "rollout: PSNR by distance" in html
    assert rows(html, "maze.json") == [["maze.json", "worldsim eval maze", "[900000, 900001]", "torch 2.13.0"]]


def test_missing_results_are_reported_in_one_line_each() -> None:
    html = page(Results())
    for line in ("No evaluation.", "No comparison.", "No cost measurement.", NO_SHEETS, NO_NOTES):
        assert line in html
    assert "<svg" not in html


def test_differences_are_marked_significant_or_not() -> None:
    runs = [run("full", 25.0), run("full", 25.2, 1), run("mamba2", 21.0), run("mamba2", 21.2, 1)]
    runs += [run("block-1", 25.3), run("block-1", 24.8, 1)]
    html = page(Results(runs=runs))
    assert "Every run: 4,000 training steps on 64,000 frames." in html
    (worse,) = [row for row in rows(html, "mamba2") if "vs." in row[2]]
    assert worse[1:3] == ["full", "2 vs. 2"] and worse[3].startswith("-4.00 [") and worse[3].endswith("worse")
    (equal,) = [row for row in rows(html, "block-1") if "vs." in row[2]]
    assert equal[3].endswith("not significant")
    scores = [row[0] for row in re.findall(r"<tr><td>(full|block-1|mamba2)</td><td>(443,211)", html)]
    assert scores == sorted(scores, key=list(ARCHITECTURES).index)


def test_runs_with_unequal_budgets_are_reported_as_such() -> None:
    html = page(Results(runs=[run("full", 25.0), run("mamba2", 24.0, updates=9000)]))
    assert "Training budgets differ: 4,000 training steps on 64,000 frames; 9,000 training steps" in html


def test_experiments_are_not_mixed() -> None:
    runs = [run("full", 25.0, experiment="spins"), run("mamba2", 21.0, experiment="mazes")]
    html = page(Results(runs=runs))
    assert "equal training: spins" in html and "equal training: mazes" in html
    assert "vs." not in "".join(cell for row in rows(html, "mamba2") for cell in row)
    assert f"nothing is compared with them: {REFERENCE_ARCHITECTURE}." in html


def test_published_results_are_shown_beside_ours_with_their_scale() -> None:
    html = page(Results(runs=[run("full", 25.0)]))
    retrieval = rows(html, "Ours")[0]
    assert retrieval[:7] == ["Ours", "full", "0.898", "not measured", "0.069", "not measured", "30.8"]
    assert retrieval[7].startswith("25.0 [")
    assert "200 million parameters" in html


def test_a_comparison_without_the_published_task_is_labeled_with_its_own_metric() -> None:
    scores = {"second_turn": RunScore(value=24.0), "autoencoder": RunScore(value=32.5)}
    html = page(Results(runs=[replace(run("full", 25.0), scores=scores), replace(run("mamba2", 1.0), scores=scores)]))
    assert "<th>PSNR, ours (revisit (second turn), PSNR)</th>" in html and rows(html, "Ours")[0][7] == "24.0"
    assert "References, the same for all: autoencoder (ceiling) 32.5." in html
    assert [row[3:] for row in rows(html, "mamba2") if "vs." in row[2]] == [["+0.000 (no per-episode scores)"]]


def test_a_training_variant_is_compared_with_the_same_architecture() -> None:
    html = page(Results(runs=[run("full", 25.0), run("block-1", 28.0), run("block-1+rollouts", 27.0)]))
    (way,) = [row for row in rows(html, "block-1+rollouts") if "vs." in row[2]]
    assert way[1] == "block-1" and way[3].startswith("-1.00 [")
    both = page(Results(runs=[run("block-1+noise", 28.0), run("block-1+noise+rollouts", 30.0)]))
    (two_ways,) = [row for row in rows(both, "block-1+noise+rollouts") if "vs." in row[2]]
    assert two_ways[1] == "block-1+noise" and two_ways[3].startswith("+2.00 [")
    alone = page(Results(runs=[run("full", 25.0), run("block-1+rollouts", 27.0)]))
    assert "nothing is compared with them: block-1." in alone and "1 vs. 1" not in alone


def test_quality_against_steps_is_a_mean_over_training_seeds() -> None:
    curves = [{"second_turn": ((1.0, 20.0), (8.0, 22.0))}, {"second_turn": ((1.0, 21.0), (8.0, 24.0))}]
    html = page(Results(runs=[run("full", 25.0, seed, by_steps=curve) for seed, curve in enumerate(curves)]))
    assert "<th>revisit (second turn), PSNR, 8</th>" in html
    assert ["full", "20.50", "23.00"] in rows(html, "full")


def test_curves_by_distance_are_means_over_training_seeds() -> None:
    curves = [{"retrieval_psnr": ((10.0, 20.0), (20.0, 18.0))}, {"retrieval_psnr": ((10.0, 22.0), (20.0, 16.0))}]
    html = page(Results(runs=[run("full", 25.0, seed, by_distance=curve) for seed, curve in enumerate(curves)]))
    assert "full: 21 at 10" in html and "full: 17 at 20" in html


def test_costs_show_constant_and_growing_quantities() -> None:
    html = page(Results(costs=[COST]))
    (full,) = rows(html, "full")
    assert full[1:] == [
        "35.0 ms", "x 3.5 for a clip x 4", "100,000", "2.02 ms", "x 1.01", "24 kB", "x 1.00", "x 1.000"
    ]  # fmt: skip
    (growing,) = rows(html, "causal-full")
    assert growing[5:8] == ["x 4.00", "120 kB", "x 5.00"]
    assert "causal-full: stopped at frame 500." in html and "no-clean-prefix: same network as full" in html
    assert html.count("<svg") == 3


def test_text_of_results_is_escaped() -> None:
    evil = "<script>alert(1)</script>\"'&"
    evaluation = {"preset": evil, "seeds": evil, evil: {"psnr": 1.0}, "command": evil}
    cost = {**COST, "note": evil, "device": evil, "architectures": {evil: COST["architectures"]["full"]}}  # type: ignore[index]
    html = page(
        Results(
            evaluations=[evaluation],
            costs=[cost],
            runs=[run(evil, 2.0, experiment=evil, by_distance={evil: ((1.0, 2.0), (2.0, 3.0))})],
            origins=[(evil, evaluation)],
            notes=[Note(title=evil, text=evil), Note(title=evil, text=evil, is_markdown=True)],
            sheets=[(evil, b"\x89PNG\r\n")],
        )
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;") > 8


def test_markdown_notes_are_rendered_without_links() -> None:
    text = "# Tried\n\n| phase | result |\n| --- | --- |\n| 3 | **worse** |\n\n![x](http://a.b/c.png) [y](javascript:z)"
    html = page(Results(notes=[Note(title="log", text=text, is_markdown=True), Note(title="raw", text="a **b**")]))
    assert "<h1>Tried</h1>" in html and "<td><strong>worse</strong></td>" in html and "a **b**" in html
    assert "<img" not in html and 'href="javascript' not in html and 'href="http' not in html


def test_the_page_is_self_contained() -> None:
    html = page(Results(evaluations=[EVALUATION], costs=[COST], sheets=[("sheet", b"\x89PNG\r\n")]))
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html) and "url(" not in html


@pytest.mark.parametrize("table", read_published_results().tables, ids=lambda table: table.name)
def test_every_row_of_the_published_tables_is_complete(table: Any) -> None:
    for row in table.rows:
        assert len(row.values) == len(table.metrics)
        assert row.architecture in {*ARCHITECTURES, "causal-full"}
        assert 0 < row.values[0] < 1 < 10 < row.values[2]


def test_unknown_tasks_are_found() -> None:
    evaluation = {
        "preset": "x",
        "world": {"maps": 3},
        "elapsed_s": 4.0,
        "tasks": {
            "reasoning": {"seen": {"psnr": 22.0}, "unseen": {"psnr": 15.0}},
            "drift": [{"distance": 5, "fog": 0.5}],
        },
    }
    tables = score_tables(evaluation)
    reasoning = "reasoning (random continuation)"
    assert list(tables) == [reasoning, "drift"]
    assert [(label, scores["psnr"].value) for label, _, scores in tables[reasoning]] == [("seen", 22), ("unseen", 15)]
    assert [(label, at) for label, at, _ in tables["drift"]] == [("frame 5", 5.0)]
